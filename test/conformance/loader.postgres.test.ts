// Large policies are loaded on another thread, with the same outcome, and never without an answer.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Database } from '#control-plane/ledger/connection.ts'
import { currentEpoch } from '#control-plane/ledger/epoch-guard.ts'
import { createWriter, type Turns, type Writer } from '#control-plane/ledger/writer.ts'
import { createLoader } from '#control-plane/loader.ts'
import type { AskedElsewhere, Performed } from '#shared/api/node.ts'
import { defaultApiSettings } from '#shared/api/settings.ts'
import { toBase64, utf8 } from '#shared/base/bytes.ts'
import { limits } from '#shared/base/limits.ts'
import { randomBytes } from '#shared/base/native-crypto.ts'
import { wall } from '#shared/base/time.ts'
import { systemClock } from '#shared/node/clock.ts'
import { accountChanges } from '#shared/policy/bootstrap.ts'
import { ledgerDatabase, testUrl } from '../support/postgres.ts'

let database: Database
let url: string
let writer: Writer
let epoch: number
const directory = mkdtempSync(join(tmpdir(), 'holdfast-loader-'))
const dataKeyFile = join(directory, 'data.key')
beforeAll(async () => {
  writeFileSync(dataKeyFile, toBase64(randomBytes(32)), { mode: 0o600 })
  database = await ledgerDatabase()
  const { rows } = await database.query('SELECT current_database() AS name')
  url = await testUrl(rows[0]!.name as string)
  epoch = await currentEpoch(database, 'leader-1', 1)
  writer = await createWriter({ database, epoch, clock: systemClock })
  const changes = accountChanges('acme', new Uint8Array(40), 1)
  await writer.submit({ statements: [], caller: undefined, decide: () => ({ changes, records: [] }) })
})
afterAll(async () => {
  await writer.idle()
  await database.close()
  rmSync(directory, { recursive: true, force: true })
})

const loaderWith = (turns: Turns = writer) =>
  createLoader(
    { databaseUrl: url, epoch, settings: { ...defaultApiSettings, account: 'acme' }, dataKeyFile },
    turns,
  )

function asked(
  text: string,
  route = 'loadPolicy',
  query: AskedElsewhere['query'] = new Map(),
): AskedElsewhere {
  return {
    route,
    params: { account: 'acme', kind: 'policy', id: 'root' },
    query,
    body: utf8(text),
    caller: { role: 'acme:user:admin', tokenIssuedAt: 0, clientIp: '127.0.0.1', requestId: 'r' },
    now: wall(1),
  }
}

const textOf = ({ outcome: { body } }: Performed): unknown =>
  body.kind === 'bytes' ? JSON.parse(new TextDecoder().decode(body.bytes)) : body

test('a load is stored in a turn, answered with its position, and refused with the spec’s words', async () => {
  const loader = loaderWith()
  const hosts = Array.from({ length: 500 }, (_, i) => `- !host h${i}\n`).join('')
  const done = await loader.load(asked(hosts))
  expect(done).toMatchObject({
    position: writer.head().position,
    changed: true,
    outcome: { status: 201, changes: [] },
  })
  const { created_roles, version } = textOf(done) as { created_roles: object; version: number }
  expect([Object.keys(created_roles).length, version]).toEqual([500, 1])
  const wrong = await loader.load(asked('- !hots h\n'))
  expect(wrong).toMatchObject({
    changed: false,
    outcome: { status: 422, body: { value: { error: { message: expect.stringContaining("'!hots'") } } } },
  })
  const tried = await loader.load(asked('- !host new\n', 'loadPolicy', new Map([['dryRun', 'true']])))
  expect(tried).toMatchObject({ changed: false, outcome: { status: 200 }, unrecorded: [expect.any(String)] })
  expect(textOf(tried)).toMatchObject({ status: 'Valid YAML', created: { items: [{ id: 'new' }] } })
  const { rows } = await database.query("SELECT id FROM roles WHERE id = 'acme:host:new'")
  expect(rows).toEqual([])
  await loader.close()
})

test('loads into one account: the later ones wait, and are told when they waited too long', async () => {
  const loader = loaderWith()
  await writer.enter('policy acme')
  const late = Array.from({ length: limits.policiesLoading }, () => loader.load(asked('- !host late\n')))
  for (const done of await Promise.all(late))
    expect(done).toMatchObject({
      changed: false,
      outcome: { status: 409, headers: { 'Retry-After': '2' } },
      unrecorded: [expect.stringContaining('Failed to load policy: Concurrent policy load in progress')],
    })
  const waiting = loader.load(asked('- !host patient\n'))
  writer.leave('policy acme')
  expect((await waiting).outcome.status).toBe(201)
  await loader.close()
})

test('what the database refuses is told with its own words as the cause', async () => {
  const loader = loaderWith()
  await database.query('ALTER TABLE audit_outbox ADD CONSTRAINT closed CHECK (false) NOT VALID')
  await expect(loader.load(asked('- !host refused\n'))).rejects.toMatchObject({
    code: 'unavailable',
    message: expect.stringContaining('nothing was stored'),
    cause: { message: expect.stringContaining('"closed"') },
  })
  await database.query('ALTER TABLE audit_outbox DROP CONSTRAINT closed')
  await loader.close()
})

test('too many at once are refused; who waits when it is closed is told, and its lane is free', async () => {
  const loader = loaderWith()
  const waiting = Array.from({ length: limits.policiesLoading }, (_, i) =>
    loader.load(asked(`- !host w${i}\n`)),
  )
  const settled = Promise.allSettled(waiting)
  await expect(loader.load(asked('- !host x\n'))).rejects.toMatchObject({ code: 'unavailable' })
  await loader.close()
  for (const outcome of await settled)
    expect(outcome).toMatchObject({ status: 'rejected', reason: { code: 'unavailable' } })
  // A new thread takes the next one.
  expect((await loader.load(asked('- !host again\n'))).outcome.status).toBe(201)
  await loader.close()
})

test('a thread that is lost in its turn leaves an unknown outcome, and the writer goes on', async () => {
  const lost: { close: () => Promise<void> }[] = []
  const loader = loaderWith({
    ...writer,
    turn: (store) =>
      writer.turn((head, at) => {
        const stored = store(head, at)
        void lost[0]!.close()
        return stored
      }),
  })
  lost.push(loader)
  await expect(loader.load(asked('- !host lost\n'))).rejects.toMatchObject({
    code: 'unavailable',
    message: expect.stringContaining('outcome unknown'),
  })
  expect((await loaderWith().load(asked('- !host found\n'))).outcome.status).toBe(201)
})
