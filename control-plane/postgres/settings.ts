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
