import { z } from 'zod'
import { limits } from '#shared/base/limits.ts'
import { logLevels } from '#shared/node/log.ts'
import { apiTable, directoryTable, doorTable, forms, port, type SettingsOf } from '#shared/node/settings.ts'

export const leaderTable = {
  ...apiTable,
  name: { doc: 'Name of this node', form: forms.text.default('leader-1') },
  host: { doc: 'Address to listen at', form: forms.text.default('127.0.0.1') },
  port: { doc: 'Port to listen at', form: port.default(8080) },
  url: { doc: 'Address under which clients reach this node; told to Followers', form: forms.text.optional() },
  data_dir: {
    doc: 'Folder of keys, the embedded Postgres and audit files',
    form: forms.text.default('./data/leader'),
  },
  data_key_file: { doc: 'File with the data key: 32 bytes in base64', form: forms.text },
  postgres_bin: {
    doc: 'Folder of Postgres programs, instead of the embedded ones',
    form: forms.text.optional(),
  },
  followers: {
    doc: 'Followers that may connect: name=file-with-bearer, separated by commas',
    form: forms.list.default([]),
  },
  edge_followers: {
    doc: 'Followers that this Leader dials: name=https://host#file-with-bearer, separated by commas',
    form: forms.list.default([]),
  },
  edge_ca_file: {
    doc: 'File with the certificates that theirs are checked against, PEM; default: those of the system',
    form: forms.text.optional(),
  },
  edge_heartbeat: {
    doc: 'Seconds between heartbeats to a Follower that is dialled, while there is nothing else to tell it; 1: as to all others',
    form: forms.count.min(1).max(limits.edgeHeartbeatSecondsMax).default(limits.edgeHeartbeatSeconds),
  },
  node_host: {
    doc: 'Address at which other nodes are listened for; default: host',
    form: forms.text.optional(),
  },
  node_port: {
    doc: 'Port for other nodes, mutual TLS: they join and stream there; default: none joins',
    form: port.optional(),
  },
  node_addresses: {
    doc: 'Where nodes reach the node port of whoever leads: host:port, separated by commas; default: node_host:node_port',
    form: forms.list.default([]),
  },
  node_certificate_life: {
    doc: 'Life of nodes’ certificates, seconds; they are renewed at two thirds',
    form: forms.count
      .min(3)
      .max(limits.authorityLifeMs / 1000)
      .default(limits.certificateLifeMs / 1000),
  },
  audit_json_file: { doc: 'JSON audit file; default: audit.json in data_dir', form: forms.text.optional() },
  audit_text_file: { doc: 'Text audit file; default: audit.log in data_dir', form: forms.text.optional() },
  ...directoryTable,
  ...doorTable,
  log_level: { doc: `One of ${logLevels.join(', ')}`, form: z.enum(logLevels).default('info') },
} as const

export type LeaderSettings = SettingsOf<typeof leaderTable>

/** How a leadership ends that is not renewed. */
const ttl = {
  doc: 'Life of the Leader’s lease, seconds: another one is chosen when it was not renewed for so long',
  form: z.coerce.number().int().min(5).max(600).default(15),
}

/** Of `holdfast leader`: with a Postgres of its own, or on a managed one. */
export const aloneTable = {
  ...leaderTable,
  database_url_file: {
    doc: 'File with the URL of a managed Postgres, which this node leads on instead of its own, with others that wait',
    form: forms.text.optional(),
  },
  ttl,
} as const

export type AloneSettings = SettingsOf<typeof aloneTable>
export type ManagedSettings = AloneSettings & { readonly database_url_file: string }

export const isManaged = (settings: AloneSettings | GivenNodeSettings): settings is ManagedSettings =>
  'database_url_file' in settings && settings.database_url_file !== undefined

/** `name=host:port` of a control node's Postgres. */
const NODE = /^([a-z0-9][a-z0-9._-]{0,53})=([^\s:]+|\[[0-9a-fA-F:]+\]):(\d{1,5})$/

export type NodeAddress = { readonly name: string; readonly host: string; readonly port: number }

const nodes = forms.list.pipe(
  z
    .array(z.string())
    .min(1)
    .transform((entries, context): NodeAddress[] =>
      entries.flatMap((entry) => {
        const [, name, host, port] = NODE.exec(entry) ?? []
        if (name !== undefined) return [{ name, host: host!.replace(/^\[|\]$/g, ''), port: Number(port) }]
        context.addIssue({ code: 'custom', message: `${entry} is not of the form name=host:port` })
        return []
      }),
    ),
)

/** Of a control node in a cluster (cluster 5, 7). */
export const nodeTable = {
  ...leaderTable,
  name: { doc: 'Name of this node, one of nodes', form: forms.text },
  cluster: {
    doc: 'Name of the cluster, the same at every node',
    form: forms.text.pipe(z.string().regex(/^[\w.-]+$/, 'letters, digits, _ . and -')),
  },
  nodes: {
    doc: 'Every control node with the address of its Postgres: name=host:port, separated by commas',
    form: nodes,
  },
  dr_nodes: { doc: 'Those of them that are promoted only by hand', form: forms.list.default([]) },
  first_leader: {
    doc: 'Who leads when nobody ever did; default: the first of nodes',
    form: forms.text.optional(),
  },
  etcd: { doc: 'https://name:port of every member of the coordination store', form: forms.list },
  node_ca_file: {
    doc: 'File with the authority of the nodes’ own certificates, PEM; default, also of the two below: the identity that it joined with',
    form: forms.text.optional(),
  },
  node_cert_file: {
    doc: 'File with the certificate by which other nodes know this one, PEM',
    form: forms.text.optional(),
  },
  node_key_file: { doc: 'File with its private key, PEM', form: forms.text.optional() },
  health_port: {
    doc: 'Port that answers /health over HTTP and nothing else; 0: none',
    form: port.default(444),
  },
  ttl,
  sync_required: {
    doc: 'Whether writes wait for a synchronous Standby when there is none',
    form: forms.flag.default(true),
  },
  failover_mode: {
    doc: 'safe: nobody is promoted who may lack an acknowledged write; available: the furthest of those that are left',
    form: z.enum(['safe', 'available']).default('safe'),
  },
} as const

export type GivenNodeSettings = SettingsOf<typeof nodeTable>
/** Once it is known by what this node is known. */
export type NodeSettings = GivenNodeSettings &
  Readonly<Record<'node_ca_file' | 'node_cert_file' | 'node_key_file', string>>
