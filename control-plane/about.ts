// What a control node says of itself beside its health, and of its neighbours: the same whether it leads or not (cluster 9, 10).
import { type ClusterNames, nodeInfo } from '#shared/api/info.ts'
import type { NodeIo } from '#shared/api/node.ts'
import { createRemoteHealth } from '#shared/api/remote-health.ts'
import type { Json } from '#shared/base/json.ts'
import { identityFiles } from '#shared/node/identity.ts'
import { keyFilesInClear, shownCertificate, shownNodeCertificate } from '#shared/node/keys.ts'
import type { TlsFiles } from '#shared/node/listen.ts'
import { apiSettingsOf, type NamedUrl } from '#shared/node/settings.ts'
import type { LeaderSettings, NodeSettings } from './settings.ts'

export type About = {
  readonly info: (role: 'master' | 'standby', cluster?: ClusterNames) => Promise<Json>
  readonly remoteHealth: NodeIo['remoteHealth']
}

/** Of a Leader that stands alone. Throws `settings_invalid`. */
export const aboutLeader = (settings: LeaderSettings, tls: TlsFiles | undefined): About =>
  aboutNode(settings, tls, settings.remote_health, identityFiles(settings.data_dir).certificate)

/** Of a node in a cluster. Throws `settings_invalid`. */
export const aboutClusterNode = (settings: NodeSettings, tls: TlsFiles | undefined): About =>
  aboutNode(settings, tls, [...neighbours(settings), ...settings.remote_health], settings.node_cert_file)

function aboutNode(
  settings: LeaderSettings,
  tls: TlsFiles | undefined,
  others: readonly NamedUrl[],
  nodeCertFile: string,
): About {
  const apiSettings = apiSettingsOf(settings)
  const { tls_cert_file: file } = settings
  const clientFacing =
    tls === undefined ? [] : [shownCertificate('client-facing', 'tls_cert_file', file!, tls.cert)]
  return {
    async info(role, cluster) {
      const internal = await shownNodeCertificate(nodeCertFile)
      return nodeInfo({
        role,
        name: settings.name,
        settings: apiSettings,
        balancers: settings.balancers,
        origins: settings.origins,
        certificates: [...clientFacing, ...internal],
        unprotectedKeyFiles: keyFilesInClear(tls) + internal.length,
        cluster,
      })
    },
    remoteHealth: createRemoteHealth(others),
  }
}

/** The control nodes, at the host of their Postgres and the health port of this node; another place is a setting. */
function neighbours({ nodes, name: own, health_port }: NodeSettings): NamedUrl[] {
  if (health_port === 0) return []
  return nodes
    .filter(({ name }) => name !== own)
    .map(({ name, host }) => ({
      name,
      url: `http://${host.includes(':') ? `[${host}]` : host}:${health_port}`,
    }))
}
