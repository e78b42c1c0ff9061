// The files by which a control node is known to Postgres, etcd and its neighbours: those that its settings name, or those
// of the identity that it has joined with.
import { API_VERSION } from '#shared/api/info.ts'
import { systemClock } from '#shared/node/clock.ts'
import { type Identity, identityFiles } from '#shared/node/identity.ts'
import { keepRenewed, obtainIdentity, renewAtLeader } from '#shared/node/join.ts'
import type { Log } from '#shared/node/log.ts'
import type { GivenNodeSettings, NodeSettings } from '../settings.ts'

/** Waits for a seed where there is neither; undefined when the signal is aborted meanwhile. Throws as `obtainIdentity` does. */
export async function withNodeFiles(
  given: GivenNodeSettings,
  signal: AbortSignal,
  log: Log,
): Promise<NodeSettings | undefined> {
  const { node_ca_file, node_cert_file, node_key_file, data_dir: dataDirectory, name } = given
  if (node_ca_file !== undefined && node_cert_file !== undefined && node_key_file !== undefined)
    return { ...given, node_ca_file, node_cert_file, node_key_file }
  const identity = await obtainIdentity(
    {
      dataDirectory,
      kinds: [given.dr_nodes.includes(name) ? 'dr' : 'standby'],
      name,
      version: API_VERSION,
      clock: systemClock,
      report: (message) => log.info(message),
    },
    signal,
  )
  if (identity === undefined) return undefined
  const files = identityFiles(dataDirectory)
  return {
    ...given,
    node_ca_file: files.authorities,
    node_cert_file: files.certificate,
    node_key_file: files.key,
  }
}

/** Whether the files are those of the identity, which the supervisor keeps renewed. */
export const usesIdentity = ({ data_dir, node_cert_file }: NodeSettings): boolean =>
  node_cert_file === identityFiles(data_dir).certificate

/** Has the certificate renewed by whoever leads, until the signal is aborted; nothing where others make the files. */
export async function renewNodeFiles(
  settings: NodeSettings,
  onRenewed: (identity: Identity) => Promise<void>,
  signal: AbortSignal,
  log: Log,
): Promise<void> {
  if (!usesIdentity(settings)) return
  await keepRenewed(
    {
      dataDirectory: settings.data_dir,
      renew: () => renewAtLeader(settings.data_dir, signal),
      onRenewed: (identity) => {
        onRenewed(identity).catch((error: unknown) =>
          log.error(
            'the renewed certificate is not in use everywhere: start this node again before it runs out',
            {
              error: error instanceof Error ? error.message : String(error),
            },
          ),
        )
      },
      clock: systemClock,
      report: (message) => log.info(message),
      alarm: (message) => log.error(message),
    },
    signal,
  )
}
