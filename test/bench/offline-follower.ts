// A Follower that starts from its own disk with the Leader away: what reading costs, without replication's help.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { toBase64, toHex } from '#shared/base/bytes.ts'
import { randomBytes } from '#shared/base/native-crypto.ts'
import { Client, freePorts, NodeProcess } from '../support/nodes.ts'
import type { TrustedProvider } from './dataset.ts'
import { installDataset } from './install.ts'
import { cores } from './measure.ts'

export type OfflineFollower = {
  readonly node: NodeProcess
  readonly port: number
  /** Of every host of the dataset. */
  readonly apiKey: string
  /** Starts it, pinned to the subject's core, and logs in as a host of the dataset. */
  start(): Promise<Client>
  remove(): Promise<void>
}

/** `jwt`: a provider on this machine, whose tokens it takes. */
export async function offlineFollower(
  secrets: number,
  pinned: readonly string[],
  { hosts = 100, jwt }: { readonly hosts?: number; readonly jwt?: TrustedProvider } = {},
): Promise<OfflineFollower> {
  const directory = mkdtempSync(join(tmpdir(), 'holdfast-bench-'))
  const dataKey = randomBytes(32)
  const dataKeyFile = join(directory, 'data.key')
  const bearerFile = join(directory, 'bearer')
  writeFileSync(dataKeyFile, `${toBase64(dataKey)}\n`, { mode: 0o600 })
  writeFileSync(bearerFile, `${toHex(randomBytes(32))}\n`, { mode: 0o600 })
  const dataDirectory = join(directory, 'edge-1')
  mkdirSync(dataDirectory, { mode: 0o700 })
  const apiKey = toHex(randomBytes(32))
  await installDataset(dataDirectory, dataKey, {
    account: 'acme',
    hosts,
    secrets,
    apiKey,
    ...(jwt === undefined ? {} : { jwt }),
  })
  const [port, nobody] = await freePorts(2)
  const node = new NodeProcess(
    ['follower'],
    {
      HOLDFAST_ACCOUNT: 'acme',
      HOLDFAST_NAME: 'edge-1',
      HOLDFAST_DATA_DIR: dataDirectory,
      HOLDFAST_DATA_KEY_FILE: dataKeyFile,
      HOLDFAST_BEARER_FILE: bearerFile,
      HOLDFAST_HOST: '127.0.0.1',
      HOLDFAST_PORT: String(port),
      HOLDFAST_LEADER_URL: `http://127.0.0.1:${nobody}`,
      HOLDFAST_SERVER_THREADS: '1',
      ...(jwt === undefined ? {} : { HOLDFAST_AUTHN_PRIVATE_NETWORKS: '127.0.0.1/32' }),
    },
    port!,
    pinned,
  )
  return {
    node,
    port: port!,
    apiKey,
    async start() {
      node.start()
      await node.ready()
      return new Client(node.url, 'acme').login('host/app/host-1', apiKey)
    },
    async remove() {
      await node.kill()
      rmSync(directory, { recursive: true, force: true })
    },
  }
}

export const subjectPin = (): string[] => ['taskset', '-c', String(cores.subject)]
