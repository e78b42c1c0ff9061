// What a connection to Postgres promises, whichever driver it is made by (`test/support/postgres.ts`).
import { afterAll, beforeAll, expect, test } from 'vitest'
import { connect, type Database, isRefusal } from '#control-plane/ledger/connection.ts'
import { utf8 } from '#shared/base/bytes.ts'
import { emptyDatabase } from '../support/postgres.ts'

let database: Database
beforeAll(async () => {
  database = await emptyDatabase()
  await database.query('CREATE TABLE notes (id bigint PRIMARY KEY, note text, bytes bytea, more jsonb)')
})
afterAll(() => database.close())

test('numbers, bytes, lists of bytes and JSON are what the ledger takes them for', async () => {
  const bytes = Buffer.from(utf8('\0ÿ'))
  const insert = 'INSERT INTO notes SELECT $1, $2, * FROM unnest($3::bytea[], $4::jsonb[])'
  expect(await database.query(insert, [2 ** 45, null, [bytes], ['{"a": 1}']])).toEqual({
    rows: [],
    rowCount: 1,
  })
  const { rows } = await database.query('SELECT * FROM notes WHERE bytes = $1', [bytes])
  expect(rows).toEqual([{ id: 2 ** 45, note: null, bytes, more: '{"a": 1}' }])
  expect(rows[0]!.bytes).toBeInstanceOf(Uint8Array)
})

test('of several statements in one text the last is answered', async () => {
  const { rows } = await database.query('SELECT 1 AS one; SELECT 2 AS two')
  expect(rows).toEqual([{ two: 2 }])
})

test('what is asked on one session is done in that order, also when nobody waits in between', async () => {
  const session = await database.session()
  const answers = await Promise.all([
    session.query('BEGIN'),
    session.prepared('note', 'INSERT INTO notes (id) VALUES ($1)', [1]),
    session.prepared('note', 'INSERT INTO notes (id) VALUES ($1)', [2]),
    session.query('SELECT count(*) AS count FROM notes WHERE id < 10'),
    session.query('ROLLBACK'),
  ])
  session.release()
  expect(answers.map(({ rowCount }) => rowCount)).toEqual([0, 1, 1, 1, 0])
  expect(answers[3]!.rows).toEqual([{ count: 2 }])
  expect((await database.query('SELECT id FROM notes WHERE id < 10')).rows).toEqual([])
})

test('a refusal of the server is told from a connection that was lost', async () => {
  const session = await database.session()
  const refused = await session.query('SELECT nothing').catch((error: unknown) => error)
  expect(isRefusal(refused)).toBe(true)
  const { rows } = await session.query('SELECT pg_backend_pid() AS pid')
  const cut = session.query('SELECT pg_sleep(60)').catch((error: unknown) => error)
  await database.query('SELECT pg_terminate_backend($1)', [rows[0]!.pid])
  expect(await cut).toBeInstanceOf(Error)
  const later = await session.query('SELECT 1').catch((error: unknown) => error)
  expect(later).toBeInstanceOf(Error)
  expect(isRefusal(later)).toBe(false)
  session.release(true)
})

test('a transaction is committed whole, or leaves nothing', async () => {
  const insert = 'INSERT INTO notes (id) VALUES ($1)'
  await database.transaction((session) => session.query(insert, [11]))
  await expect(
    database.transaction(async (session) => {
      await session.query(insert, [12])
      await session.query(insert, [11])
    }),
  ).rejects.toSatisfy(isRefusal)
  const { rows } = await database.query('SELECT id FROM notes WHERE id BETWEEN 10 AND 20')
  expect(rows).toEqual([{ id: 11 }])
})

test.each([
  ['postgresql://u:hidden@h/d?driver=mysql', 'driver is pg or neon'],
  ['postgresql://u:hidden@h/d?driver=neon&websocket=h:1', 'websocket is of the form'],
  ['postgresql://u:hidden@h/d?websocket=wss://h', 'websocket is for driver=neon'],
  ['hidden', 'it is not of the form'],
])('a URL that cannot be meant is refused, and not shown: %s', (url, why) => {
  expect(() => connect(url)).toThrow(why)
  expect(() => connect(url)).not.toThrow('hidden')
})
