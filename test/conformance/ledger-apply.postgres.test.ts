// Changes applied in bulk leave the rows that applying them one by one would leave, and the same content hash.
import { expect, test } from 'vitest'
import { applyChanges } from '#control-plane/ledger/apply.ts'
import type { Session } from '#control-plane/ledger/connection.ts'
import { utf8 } from '#shared/base/bytes.ts'
import { type Change, keyText, put, remove } from '#shared/ledger/change.ts'
import { ContentHash, rowDigest } from '#shared/ledger/digest.ts'
import { columnsOf, type Row, type TableName, tableNames } from '#shared/ledger/tables.ts'
import { ledgerDatabase } from '../support/postgres.ts'
import { type Random, runSeed, seeded } from '../support/random.ts'

const names = [
  'a:host:h',
  "a:group:it's",
  'a:group:"quoted", {braced}',
  'a:user:\\back',
  'a:layer:ü€😀',
  'NULL',
]

function randomChange(random: Random): Change {
  const id = random.pick(names)
  const other = random.pick(names)
  const ownership = random.int(0, 2)
  return random.pick<() => Change>([
    () =>
      put('roles', { id, policy: random.pick([null, 'a:policy:p', '']), created_at: random.int(0, 2 ** 45) }),
    () => remove('roles', { id }),
    () =>
      put('memberships', {
        role: id,
        member: other,
        ownership,
        admin_option: random.int(0, 2),
        policy: null,
      }),
    () => remove('memberships', { role: id, member: other, ownership }),
    () =>
      put('secrets', {
        resource: id,
        version: random.int(1, 4),
        sealed: utf8('\0ÿ'.repeat(random.int(0, 5))),
        expires_at: random.pick([null, 5_000_000_000]),
      }),
    () => remove('secrets', { resource: id, version: random.int(1, 4) }),
  ])()
}

/** One by one, in memory. */
function applyNaively(content: Map<string, Row>, changes: readonly Change[]): void {
  for (const change of changes) {
    const row = change.op === 'put' ? change.row : change.key
    const key = `${change.table} ${keyText(change.table, row)}`
    if (change.op === 'put') content.set(key, row)
    else content.delete(key)
  }
}

async function stored(session: Session): Promise<Map<string, Row>> {
  const content = new Map<string, Row>()
  for (const table of tableNames) {
    const { rows } = await session.query(`SELECT ${columnsOf(table).join(', ')} FROM ${table}`)
    for (const row of rows as Row[]) content.set(`${table} ${keyText(table, row)}`, plain(row))
  }
  return content
}

/** Bytes of the driver are Buffers: the same values in another class. */
const plain = (row: Row): Row =>
  Object.fromEntries(
    Object.entries(row).map(([name, cell]) => [
      name,
      cell instanceof Uint8Array ? new Uint8Array(cell) : cell,
    ]),
  )

const sorted = (content: Map<string, Row>): [string, Row][] =>
  [...content].sort(([a], [b]) => (a < b ? -1 : 1))

test('random commits leave what one change after the other would leave', async () => {
  const random = seeded(runSeed('apply'))
  const database = await ledgerDatabase()
  const expected = new Map<string, Row>()
  let hash = new ContentHash()
  for (let commit = 0; commit < 60; commit++) {
    const changes = Array.from({ length: random.int(1, 12) }, () => randomChange(random))
    applyNaively(expected, changes)
    const { added, removed } = await database.transaction((session) => applyChanges(session, changes))
    hash = hash.change(added, removed)
  }
  expect(sorted(await stored(database))).toEqual(sorted(expected))
  const recomputed = [...expected].map(([key, row]) => rowDigest(key.split(' ')[0] as TableName, row))
  expect(hash.toString()).toBe(new ContentHash().change(recomputed, []).toString())
  const { rows } = await database.query('SELECT id, policy, created_at, digest FROM roles')
  for (const { digest, ...row } of rows) {
    expect(new Uint8Array(digest as Uint8Array)).toEqual(new Uint8Array(rowDigest('roles', row as Row)))
  }
})

test('a plan that goes from table to table with every row costs a few statements', async () => {
  const database = await ledgerDatabase()
  const changes = Array.from({ length: 12_000 }, (_, i) => [
    put('roles', { id: `a:host:${i}`, policy: null, created_at: 1 }),
    put('resources', { id: `a:host:${i}`, owner: 'a:policy:p', policy: null, created_at: 1, words: '' }),
    remove('credentials', { role: `a:host:${i}` }),
  ]).flat()
  let statements = 0
  await database.transaction((session) => {
    const counting: Session = {
      query: (text, params) => session.query(text, params),
      prepared: (name, text, params) => {
        statements++
        return session.prepared(name, text, params)
      },
    }
    return applyChanges(counting, changes)
  })
  expect(statements).toBe(6)
  const { rows } = await database.query(
    'SELECT (SELECT COUNT(*) FROM roles) + (SELECT COUNT(*) FROM resources) AS n',
  )
  expect(Number(rows[0]!.n)).toBe(24_000)
})
