// tables.ts as CREATE statements, for both engines and for the `next_` tables of a snapshot switch (P3).
import { type ColumnType, secondTables, type Table, type TableName, tableNames, tables } from './tables.ts'

export type Engine = 'postgres' | 'sqlite'

const typeNames: Record<Engine, Record<string, string>> = {
  // Ids sort by byte in both engines: a linguistic order would make page two of a list differ between Leader
  // and Follower.
  postgres: { text: 'text COLLATE "C"', int: 'bigint', flag: 'smallint', bytes: 'bytea' },
  sqlite: { text: 'TEXT', int: 'INTEGER', flag: 'INTEGER', bytes: 'BLOB' },
}

export function createTableSql(engine: Engine, table: TableName, prefix = ''): string {
  const { key, columns } = tables[table]
  const lines = Object.entries(columns as Record<string, ColumnType>).map(([column, type]) => {
    const base = typeNames[engine][type.replace('?', '')]
    return `${column} ${base}${type.endsWith('?') ? '' : ' NOT NULL'}`
  })
  const digest = `digest ${typeNames[engine].bytes} NOT NULL`
  const tail = engine === 'sqlite' ? ' WITHOUT ROWID' : ''
  return `CREATE TABLE ${prefix}${table} (${[...lines, digest, `PRIMARY KEY (${key.join(', ')})`].join(', ')})${tail}`
}

/** Index names carry no prefix of the table: they are made after a snapshot's tables have their final names. */
export function createIndexSql(engine: Engine, table: TableName): string[] {
  const { indexes, loadIndexes }: Table = tables[table]
  const lists = engine === 'postgres' ? [...indexes, ...loadIndexes] : indexes
  return lists.map(
    (columns) => `CREATE INDEX ${table}_by_${columns.join('_')} ON ${table} (${columns.join(', ')})`,
  )
}

const firstTables = tableNames.filter((table) => !(secondTables as readonly TableName[]).includes(table))

/** Tables and indexes that a version of the schema brings: a step that has run is never changed. */
export function schemaSql(engine: Engine, version: 1 | 2): string[] {
  return { 1: firstTables, 2: secondTables }[version].flatMap((table) => [
    createTableSql(engine, table),
    ...createIndexSql(engine, table),
  ])
}
