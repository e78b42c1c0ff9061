// The settings of our Postgres servers, as text. Nothing here is read from what stands in the data: it may be a copy of
// another node's.
import type { RunAs } from './run-as.ts'

/** Ours, of every database. */
export const USER = 'holdfast'
/** For whom other nodes connect, and nothing but replication. */
export const REPLICATOR = 'replicator'

export type Settings = Readonly<Record<string, string>>

/** What every server of ours has. */
export const commonSettings = (sockets: string, durable: boolean): Settings => ({
  unix_socket_directories: sockets,
  unix_socket_permissions: '0700',
  max_connections: '60',
  shared_buffers: '64MB',
  wal_level: 'replica',
  max_wal_size: '1GB',
  synchronous_commit: 'on',
  // Statements are written in the source and prepared once: planning them again costs more than running them.
  plan_cache_mode: 'force_generic_plan',
  jit: 'off',
  fsync: durable ? 'on' : 'off',
  // What nobody waits for, such as the end of a transaction that was broken off, is flushed when nobody else flushes. Who
  // hands over waits for it.
  wal_writer_delay: '20ms',
  // A statement that waits for ever would hold the writer.
  lock_timeout: '10s',
  log_min_messages: 'warning',
  log_checkpoints: 'off',
  // Values are sealed, but a policy text or a name is nobody's business in a log either; a refused row is
  // written out in what terse leaves away.
  log_error_verbosity: 'terse',
  log_min_error_statement: 'panic',
  log_parameter_max_length_on_error: '0',
})

export const asArguments = (settings: Settings): string[] =>
  Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])

/** Of a file: quotes and backslashes are written twice. */
export const asFile = (settings: Settings): string =>
  Object.entries(settings)
    .map(([name, value]) => `${name} = '${value.replaceAll('\\', '\\\\').replaceAll("'", "''")}'\n`)
    .join('')

/**
 * Who may connect on this machine: whoever can reach the socket, and that is the owner of its folder. Where Postgres
 * runs as a user that other programs may share, the kernel's word that it is us.
 */
export const ownerRule = ({ owner }: RunAs): string =>
  `local all all ${owner === undefined ? 'trust' : 'peer map=owner'}\n`

export const ownerMap = ({ owner }: RunAs): string => (owner === undefined ? '' : `owner root ${USER}\n`)

export type Address = { readonly host: string; readonly port: number }

/** Files of a certificate of this node; `ca` is whom it believes. */
export type TlsFiles = {
  readonly ca: string
  readonly cert: string
  readonly key: string
  /** Certificates that are revoked. */
  readonly crl?: string
}

/** Of a node of a cluster; the rest never changes while it runs. */
export type Changing = {
  /** Whose log is taken; empty: nobody's. */
  readonly source: string
  /** For whom a commit waits, in the words of `synchronous_standby_names`. */
  readonly syncNames: string
  /** The timeline that recovery goes to; undefined: the newest that came from the one it is on. */
  readonly onto: number | undefined
}

/** Nobody can have this name, so a commit waits for ever; replayed and followed it has no meaning. */
export const NOBODY = '(nobody yet)'

/** All of them, never a choice of Postgres's own (cluster 6.1). */
export const syncNamesOf = (names: readonly string[]): string =>
  names.length === 0 ? '' : `FIRST ${names.length} (${names.map((name) => `"${name}"`).join(', ')})`

/** Recovery that follows nobody, and a Leader for whom nobody is named yet. */
export const alone: Changing = { source: '', syncNames: syncNamesOf([NOBODY]), onto: undefined }

/** How long a silent peer is believed to be there. */
const SILENT = '5s'

export function nodeSettings(
  { source, syncNames, onto }: Changing,
  address: Address,
  tls: TlsFiles | undefined,
): Settings {
  return {
    listen_addresses: address.host,
    port: String(address.port),
    hot_standby: 'on',
    // It would be a Leader again by itself (I4), with commits that nobody was waited for.
    restart_after_crash: 'off',
    // After a crash and at the first start of a copy every file is flushed: one by one that takes seconds.
    recovery_init_sync_method: 'syncfs',
    recovery_target_timeline: onto === undefined ? 'latest' : String(onto),
    primary_conninfo: source,
    synchronous_standby_names: syncNames,
    // Recovery refuses fewer than the log was written with, and initdb writes with this many.
    max_connections: '100',
    max_wal_senders: '16',
    // A Standby that was away for longer is copied anew.
    wal_keep_size: '1GB',
    // Who was cut off, because for whom commits wait has changed, is back soon; who follows nobody only looks, and logs it.
    wal_retrieve_retry_interval: source === '' ? '1s' : '100ms',
    wal_receiver_status_interval: '1s',
    wal_receiver_timeout: SILENT,
    wal_sender_timeout: SILENT,
    // A question to a Standby must not hold up its log.
    max_standby_streaming_delay: '1s',
    ssl: tls === undefined ? 'off' : 'on',
    ...(tls === undefined
      ? {}
      : {
          ssl_ca_file: tls.ca,
          ssl_cert_file: tls.cert,
          ssl_key_file: tls.key,
          ...(tls.crl === undefined ? {} : { ssl_crl_file: tls.crl }),
          ssl_min_protocol_version: 'TLSv1.3',
        }),
  }
}

const CONTROL = 'control'

/**
 * Other nodes come for replication only, and with a certificate of a control node; without TLS only on this machine, for
 * tests.
 */
export const nodeRules = (runAs: RunAs, tls: TlsFiles | undefined): string =>
  ownerRule(runAs) +
  (tls === undefined
    ? `host replication ${REPLICATOR} localhost trust\nhost replication ${REPLICATOR} 127.0.0.0/8 trust\n`
    : `hostssl replication ${REPLICATOR} all cert clientname=DN map=${CONTROL}\n`)

/** Subjects of control nodes and DR Standbys, whole and in either order: a name within another name is none (cluster 4). */
const NODE_NAME = '[A-Za-z0-9._-]+'
const ROLE_CLASS = '(control|dr)'

export const nodeMap = (runAs: RunAs): string =>
  `${ownerMap(runAs)}${CONTROL} "/^(CN=${NODE_NAME},O=${ROLE_CLASS}|O=${ROLE_CLASS},CN=${NODE_NAME})$" ${REPLICATOR}\n`

/** How this node asks another one for its log, by the name that its commits wait for. */
export function sourceOf(leader: Address, tls: TlsFiles | undefined, name: string): string {
  const secured =
    tls === undefined
      ? { sslmode: 'disable' }
      : {
          sslmode: 'verify-full',
          sslrootcert: tls.ca,
          sslcert: tls.cert,
          sslkey: tls.key,
          ssl_min_protocol_version: 'TLSv1.3',
        }
  const parts = {
    host: leader.host,
    port: String(leader.port),
    user: REPLICATOR,
    application_name: name,
    connect_timeout: '3',
    ...secured,
  }
  return Object.entries(parts)
    .map(([key, value]) => `${key}='${value.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`)
    .join(' ')
}
