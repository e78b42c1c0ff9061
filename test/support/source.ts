// A Leader as a copy sees it: rows in memory, commits and snapshots of them.
import { type Change, type Commit, keyText, put, remove } from '#shared/ledger/change.ts'
import { ContentHash, rowDigest } from '#shared/ledger/digest.ts'
import type { Position } from '#shared/ledger/position.ts'
import { type Row, type TableName, tableNames, tables } from '#shared/ledger/tables.ts'
import type { SnapshotHeader } from '#shared/replication/messages.ts'
import { type Random, seeded } from './random.ts'

export type SourceSnapshot = {
  readonly header: SnapshotHeader
  readonly chunks: readonly { readonly table: TableName; readonly rows: readonly Row[] }[]
}

export class Source {
  position: Position = { epoch: 1, seq: 0 }
  readonly #rows = new Map<TableName, Map<string, Row>>(tableNames.map((table) => [table, new Map()]))
  #snapshots = 0

  rows(table: TableName): Row[] {
    return [...this.#rows.get(table)!.values()]
  }

  get contentHash(): string {
    const digests = tableNames.flatMap((table) => this.rows(table).map((row) => rowDigest(table, row)))
    return new ContentHash().change(digests, []).toString()
  }

  commit(changes: readonly Change[], epoch = this.position.epoch): Commit {
    this.position = { epoch, seq: this.position.seq + 1 }
    for (const change of changes) {
      const table = this.#rows.get(change.table)!
      if (change.op === 'put') table.set(keyText(change.table, change.row), change.row)
      else table.delete(keyText(change.table, change.key))
    }
    return { position: this.position, at: 0, changes, contentHash: this.contentHash }
  }

  heartbeat(): Commit {
    return this.commit([put('heartbeats', { id: 1, at: this.position.seq })])
  }

  snapshot(chunkRows = 50): SourceSnapshot {
    const chunks = tableNames.flatMap((table) => {
      const rows = this.rows(table)
      const count = Math.ceil(rows.length / chunkRows)
      return Array.from({ length: count }, (_, i) => ({
        table,
        rows: rows.slice(i * chunkRows, (i + 1) * chunkRows),
      }))
    })
    const { position, contentHash } = this
    const id = `snapshot-${++this.#snapshots}`
    return { header: { id, position, contentHash, at: 0, chunks: chunks.length }, chunks }
  }
}

const ids = (kind: string, count: number): string[] =>
  Array.from({ length: count }, (_, i) => `acme:${kind}:${kind}-${i}`)
export const roleIds = [...ids('user', 4), ...ids('host', 4), ...ids('group', 6), ...ids('layer', 4)]
export const variableIds = ids('variable', 12)

/** A change that a policy or a secret write could bring; some repeat, some take away what is not there. */
export function randomChange(random: Random): Change {
  const role = random.pick(roleIds)
  const resource = random.pick(variableIds)
  const privilege = random.pick(['read', 'execute', 'update'])
  const policy = random.pick([null, 'acme:policy:root'])
  const ownership = random.int(0, 2)
  const member = random.pick(roleIds)
  const sealed = new Uint8Array(random.int(0, 200)).fill(random.int(0, 256))
  const version = random.int(1, 4)
  return random.pick<() => Change>([
    () => put('roles', { id: role, policy, created_at: random.int(0, 9) }),
    () => put('roles', { id: role, policy, created_at: random.int(0, 9) }),
    () => remove('roles', { id: role }),
    () => put('memberships', { role, member, ownership, admin_option: random.int(0, 2), policy }),
    () => put('memberships', { role, member, ownership, admin_option: random.int(0, 2), policy }),
    () => remove('memberships', { role, member, ownership }),
    () => put('resources', { id: resource, owner: role, policy, created_at: 1, words: '' }),
    () => put('permissions', { resource, role, privilege, policy }),
    () => remove('permissions', { resource, role, privilege }),
    () => put('secrets', { resource, version, sealed, expires_at: random.pick([null, 5]) }),
    () => remove('secrets', { resource, version }),
  ])()
}

export function randomChanges(random: Random, count: number): Change[] {
  return Array.from({ length: count }, () => randomChange(random))
}

/** The rows of a table without their digests, in the order of their keys. */
export function inKeyOrder(table: TableName, rows: readonly Row[]): Row[] {
  const key = (row: Row): string =>
    tables[table].key.map((column) => String(row[column]).padStart(9, '0')).join('\0')
  return [...rows].sort((a, b) => (key(a) < key(b) ? -1 : 1))
}

/** A source whose commits follow from the seed: two of them agree in every position. */
export function sourceAt(seed: number, seq: number): Source & { next(): Commit } {
  const source = new Source()
  const next = (): Commit => {
    const random = seeded(seed + source.position.seq)
    return source.commit(randomChanges(random, random.int(1, 15)))
  }
  while (source.position.seq < seq) next()
  return Object.assign(source, { next })
}
