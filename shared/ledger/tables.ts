// Every replicated table, once. From these rows come both schemas, the put and delete statements, the order of
// a snapshot and the content hash. A new kind of data is a new row here and nothing else.

/** `flag` is 0 or 1; `int` fits a double; times are milliseconds since 1970. A `?` column may be null. */
export type ColumnType = 'text' | 'text?' | 'int' | 'int?' | 'flag' | 'bytes' | 'bytes?'

export type Table = {
  readonly key: readonly string[]
  readonly columns: Readonly<Record<string, ColumnType>>
  /** For reads, at every node. */
  readonly indexes: readonly (readonly string[])[]
  /** For what a policy load looks up, at the Leader only: a third of a Follower's file, which it never reads. */
  readonly loadIndexes: readonly (readonly string[])[]
}

export const tables = {
  roles: {
    key: ['id'],
    columns: { id: 'text', policy: 'text?', created_at: 'int' },
    indexes: [],
    loadIndexes: [['policy']],
  },
  resources: {
    key: ['id'],
    // `words`: stems for the text search, computed when written (P6), each between two spaces.
    columns: { id: 'text', owner: 'text', policy: 'text?', created_at: 'int', words: 'text' },
    indexes: [],
    loadIndexes: [['owner'], ['policy']],
  },
  memberships: {
    key: ['role', 'member', 'ownership'],
    columns: { role: 'text', member: 'text', ownership: 'flag', admin_option: 'flag', policy: 'text?' },
    indexes: [['member']],
    loadIndexes: [['policy']],
  },
  permissions: {
    key: ['resource', 'role', 'privilege'],
    columns: { resource: 'text', role: 'text', privilege: 'text', policy: 'text?' },
    indexes: [],
    loadIndexes: [['role'], ['policy']],
  },
  annotations: {
    key: ['resource', 'name'],
    columns: { resource: 'text', name: 'text', value: 'text', policy: 'text?' },
    indexes: [],
    loadIndexes: [['policy']],
  },
  credentials: {
    key: ['role'],
    // `api_key`: sealed. `password`: scrypt text. `restricted_to`: JSON list of CIDR texts.
    columns: {
      role: 'text',
      api_key: 'bytes?',
      password: 'text?',
      restricted_to: 'text',
      expires_at: 'int?',
      rotated_at: 'int?',
    },
    indexes: [],
    loadIndexes: [],
  },
  secrets: {
    key: ['resource', 'version'],
    columns: { resource: 'text', version: 'int', sealed: 'bytes', expires_at: 'int?' },
    indexes: [],
    loadIndexes: [],
  },
  policy_versions: {
    key: ['policy', 'version'],
    columns: {
      policy: 'text',
      version: 'int',
      role: 'text',
      text: 'text',
      sha256: 'text',
      client_ip: 'text',
      created_at: 'int',
      finished_at: 'int',
    },
    indexes: [],
    loadIndexes: [],
  },
  host_factory_tokens: {
    key: ['id'],
    // `id`: SHA-256 of the token, hex. `cidr`: JSON list of CIDR texts.
    columns: { id: 'text', sealed: 'bytes', factory: 'text', cidr: 'text', expires_at: 'int' },
    indexes: [['factory']],
    loadIndexes: [],
  },
  authenticators: {
    key: ['webservice'],
    // Only of authenticators that were switched on or off; without a row they are off.
    columns: { webservice: 'text', enabled: 'flag' },
    indexes: [],
    loadIndexes: [],
  },
  issuers: {
    key: ['policy'],
    // `policy`: ACCOUNT:policy:conjur/issuers/ID, with which it goes. `max_ttl`: seconds. `sealed`: JSON of its data.
    columns: {
      policy: 'text',
      type: 'text',
      max_ttl: 'int',
      sealed: 'bytes',
      created_at: 'int',
      modified_at: 'int',
    },
    indexes: [],
    loadIndexes: [],
  },
  signing_keys: {
    key: ['kid'],
    // Public halves of the token keys of every node that issues tokens (T1). `jwk`: JSON.
    columns: { kid: 'text', node: 'text', jwk: 'text', created_at: 'int' },
    indexes: [],
    loadIndexes: [],
  },
  heartbeats: {
    key: ['id'],
    // One row, put every second by the Leader: the age of a Follower's data is known from it.
    columns: { id: 'int', at: 'int' },
    indexes: [],
    loadIndexes: [],
  },
} as const satisfies Record<string, Table>

export type TableName = keyof typeof tables
/** Since the second schema; the others are there since the first. */
export const secondTables = ['authenticators', 'issuers'] as const satisfies readonly TableName[]
export const tableNames = Object.keys(tables) as TableName[]

export type Cell = string | number | Uint8Array | null
/** A row as a store returns it. */
export type Row = { readonly [column: string]: Cell }

type CellOf<T extends ColumnType> = T extends 'text'
  ? string
  : T extends 'text?'
    ? string | null
    : T extends 'int' | 'flag'
      ? number
      : T extends 'int?'
        ? number | null
        : T extends 'bytes'
          ? Uint8Array
          : Uint8Array | null

type Columns<N extends TableName> = (typeof tables)[N]['columns']

/** A full row of one table. */
export type RowOf<N extends TableName> = {
  readonly [C in keyof Columns<N>]: Columns<N>[C] extends ColumnType ? CellOf<Columns<N>[C]> : never
}
/** The key columns of one table. */
export type KeyOf<N extends TableName> = Pick<RowOf<N>, (typeof tables)[N]['key'][number] & keyof RowOf<N>>

export const columnsOf = (table: TableName): readonly string[] => Object.keys(tables[table].columns)
export const columnType = (table: TableName, column: string): ColumnType => {
  const columns: Readonly<Record<string, ColumnType>> = tables[table].columns
  return columns[column] as ColumnType
}
