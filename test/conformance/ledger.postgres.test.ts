// The writer and the reader of the Leader, on a real Postgres.
import { beforeEach, describe, expect, test } from 'vitest'
import type { LoggedCommit } from '#control-plane/ledger/change-log.ts'
import type { Database } from '#control-plane/ledger/connection.ts'
import { currentEpoch, raiseEpoch } from '#control-plane/ledger/epoch-guard.ts'
import { createChangeLog, createOutbox, outboxWaiting } from '#control-plane/ledger/log.ts'
import { createReader } from '#control-plane/ledger/reader.ts'
import { createWriter, type Writer } from '#control-plane/ledger/writer.ts'
import { fromUtf8, utf8 } from '#shared/base/bytes.ts'
import { type Change, decodeChanges, put, remove } from '#shared/ledger/change.ts'
import { ContentHash, rowDigest } from '#shared/ledger/digest.ts'
import { systemClock } from '#shared/node/clock.ts'
import { ledgerDatabase } from '../support/postgres.ts'

const role = (id: string): Change => put('roles', { id, policy: null, created_at: 1 })
const grant = (of: string, to: string): Change =>
  put('memberships', { role: of, member: to, ownership: 0, admin_option: 0, policy: null })
const secret = (version: number, text: string): Change =>
  put('secrets', { resource: 'a:variable:x', version, sealed: utf8(text), expires_at: null })

const write = (writer: Writer, changes: readonly Change[], records: readonly string[] = []) =>
  writer.submit({ statements: [], caller: undefined, decide: () => ({ changes, records }) })

let database: Database
let writer: Writer
beforeEach(async () => {
  database = await ledgerDatabase()
  const epoch = await currentEpoch(database, 'leader-1', 1)
  writer = await createWriter({ database, epoch, clock: systemClock })
})

describe('writer', () => {
  test('positions are dense and in commit order, whatever the number of clients', async () => {
    const commits: LoggedCommit[] = []
    writer.onCommit((commit) => commits.push(commit))
    const done = await Promise.all(
      Array.from({ length: 200 }, (_, i) => write(writer, [role(`a:user:u${i}`)])),
    )
    expect(done.map(({ position }) => position.seq).sort((a, b) => a - b)).toEqual(
      Array.from({ length: 200 }, (_, i) => i + 1),
    )
    expect(commits.map(({ position }) => position.seq)).toEqual(Array.from({ length: 200 }, (_, i) => i + 1))
  })

  test('a decision that throws fails alone', async () => {
    const failing = writer.submit({
      statements: [],
      caller: undefined,
      decide: () => {
        throw new Error('refused')
      },
    })
    const around = [write(writer, [role('a:user:x')]), write(writer, [role('a:user:y')])]
    await expect(failing).rejects.toThrow('refused')
    expect((await Promise.all(around)).map(({ position }) => position.seq)).toEqual([1, 2])
  })

  test('a change that the database refuses fails alone, and nothing of it stays', async () => {
    const broken = put('roles', { id: null as unknown as string, policy: null, created_at: 1 })
    const answers = await Promise.allSettled([
      write(writer, [role('a:user:x')]),
      write(writer, [role('a:user:lost'), broken]),
      write(writer, [role('a:user:y')]),
    ])
    expect(answers.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
    const { rows } = await database.query('SELECT id FROM roles ORDER BY id')
    expect(rows.map(({ id }) => id)).toEqual(['a:user:x', 'a:user:y'])
    expect(writer.head().position.seq).toBe(2)
  })

  test('the content hash is the sum of all rows, after puts, replacements and deletions', async () => {
    await write(writer, [role('a:user:x'), role('a:user:y'), secret(1, 'one')])
    await write(writer, [secret(1, 'changed'), secret(2, 'two'), secret(2, 'twice')])
    await write(writer, [remove('roles', { id: 'a:user:x' }), remove('roles', { id: 'a:user:absent' })])
    const expected = new ContentHash().change(
      [
        rowDigest('roles', { id: 'a:user:y', policy: null, created_at: 1 }),
        rowDigest('secrets', {
          resource: 'a:variable:x',
          version: 1,
          sealed: utf8('changed'),
          expires_at: null,
        }),
        rowDigest('secrets', {
          resource: 'a:variable:x',
          version: 2,
          sealed: utf8('twice'),
          expires_at: null,
        }),
      ],
      [],
    )
    expect(writer.head().contentHash).toBe(expected.toString())
  })

  test('audit lines are in the outbox with the commit, and also when nothing changed', async () => {
    await write(writer, [role('a:user:x')], ['one', 'two'])
    await write(writer, [], ['three'])
    const outbox = createOutbox(database, writer)
    expect((await outbox.read(0)).groups.flatMap(({ lines }) => lines)).toEqual(['one', 'two', 'three'])
    expect(writer.head().position.seq).toBe(1)
  })

  test('a commit with more lines and bytes than one row holds is in the log and the outbox whole, in order', async () => {
    const lines = Array.from({ length: 3_000 }, (_, i) => `${i} ${'x'.repeat(1_000)}`)
    const changes = Array.from({ length: 3_000 }, (_, i) => role(`a:user:${i}-${'y'.repeat(200)}`))
    await write(writer, changes, lines)
    const outbox = createOutbox(database, writer)
    const found: string[] = []
    let after = 0
    for (let more = true; more; ) {
      const page = await outbox.read(after)
      for (const group of page.groups) found.push(...group.lines)
      after = page.groups.at(-1)?.id ?? after
      more = page.more
    }
    expect(found).toEqual(lines)
    const log = await createChangeLog(database, writer)
    const [commit] = await log.read({ epoch: 1, seq: 0 }, 1)
    expect(commit!.parts.length).toBeGreaterThan(2)
    expect(commit!.parts.flatMap((part) => decodeChanges(fromUtf8(part)!))).toEqual(changes)
    expect(await outboxWaiting(database)).toEqual({ lines: 3_000, oldestAt: undefined })
  })

  test('a ledger that was restored gives audit lines no number that was given before', async () => {
    const outbox = createOutbox(database, writer)
    expect(await outbox.continueAfter(0)).toBe(false)
    await write(writer, [], ['one'])
    expect(await outbox.continueAfter(1)).toBe(false)
    expect(await outbox.continueAfter(7)).toBe(true)
    await write(writer, [], ['two'])
    expect((await outbox.read(0)).groups.map(({ id }) => id)).toEqual([1, 8])
  })

  test('the first leadership is known with the timeline of its database', async () => {
    const { rows } = await database.query('SELECT epoch, node, timeline FROM cluster_epoch')
    expect(rows).toMatchObject([{ epoch: 1, timeline: 1 }])
  })

  test('a deposed Leader writes nothing', async () => {
    await database.transaction((session) => raiseEpoch(session, 2, 'leader-2', 2))
    await expect(write(writer, [role('a:user:x')])).rejects.toMatchObject({ code: 'stale_epoch' })
    const { rows } = await database.query('SELECT id FROM roles')
    expect(rows).toEqual([])
  })

  test('commands of one lane wait for each other, and only so long', async () => {
    const order: string[] = []
    const load = (name: string) =>
      writer.submit({
        statements: [],
        caller: undefined,
        lane: 'policy a',
        decide: () => {
          order.push(name)
          return { changes: [role(`a:user:${name}`)], records: [] }
        },
      })
    await Promise.all([load('first'), load('second'), load('third')])
    expect(order).toEqual(['first', 'second', 'third'])
  })
})

describe('change log', () => {
  test('holds every commit as it was, and says where it begins', async () => {
    const log = await createChangeLog(database, writer)
    await write(writer, [role('a:user:x')])
    const large = Array.from({ length: 5_000 }, (_, i) => role(`a:host:${'h'.repeat(80)}${i}`))
    await write(writer, large)
    await write(writer, [secret(1, 'one')])
    const commits = await log.read({ epoch: 1, seq: 1 }, 64 * 1024 * 1024)
    expect(commits.map(({ position }) => position.seq)).toEqual([2, 3])
    expect(commits[0]!.parts.length).toBeGreaterThan(1)
    const changes = commits[0]!.parts.flatMap((part) => decodeChanges(new TextDecoder().decode(part)))
    expect(changes).toEqual(large)
    expect(await log.hashAt({ epoch: 1, seq: 3 })).toBe(writer.head().contentHash)
    expect(await log.hashAt({ epoch: 2, seq: 3 })).toBeUndefined()
    expect(log.floor().seq).toBe(0)
  })

  test('a snapshot is one position, whatever is written meanwhile', async () => {
    const log = await createChangeLog(database, writer)
    await write(writer, [role('a:user:x'), secret(1, 'one')])
    const before = writer.head()
    let hash = new ContentHash()
    await log.snapshot(async (snapshot) => {
      expect(snapshot.position).toEqual(before.position)
      await write(writer, [role('a:user:later'), secret(1, 'later')])
      for await (const { table, rows } of snapshot.pieces) {
        hash = hash.change(
          rows.map((row) => rowDigest(table, row)),
          [],
        )
      }
    })
    expect(hash.toString()).toBe(before.contentHash)
  })
})

describe('reader', () => {
  test('a batch sees closures, lists, bytes and large numbers at one position', async () => {
    await write(writer, [role('a:user:u'), role('a:group:g'), role('a:group:top'), role('a:group:other')])
    await write(writer, [
      grant('a:group:g', 'a:user:u'),
      grant('a:group:top', 'a:group:g'),
      secret(5_000_000_000, 'x'),
    ])
    const reader = createReader(database)
    const snapshot = await reader.read({
      caller: 'a:user:u',
      statements: [
        { sql: 'SELECT id FROM closure ORDER BY id', params: [] },
        {
          sql: 'SELECT id FROM roles WHERE id IN (SELECT value FROM list(?1)) ORDER BY id',
          params: ['["a:group:g","no"]'],
        },
        {
          sql: 'SELECT version, sealed FROM secrets WHERE resource = ?2 AND version > ?1',
          params: [4, 'a:variable:x'],
          bytes: ['sealed'],
        },
        { sql: 'SELECT id FROM roles WHERE id = ?1', params: ['absent'] },
      ],
    })
    expect(snapshot.rows).toEqual([
      [{ id: 'a:group:g' }, { id: 'a:group:top' }, { id: 'a:user:u' }],
      [{ id: 'a:group:g' }],
      [{ version: 5_000_000_000, sealed: utf8('x') }],
      [],
    ])
    expect(snapshot).toMatchObject({ position: { epoch: 1, seq: 2 }, callerKnown: true, ageMs: 0 })
    expect((await reader.read({ caller: 'a:user:gone', statements: [] })).callerKnown).toBe(false)
  })

  test('a closure that it remembers is never used beside rows of another time', async () => {
    await write(writer, [
      role('a:user:u'),
      role('a:group:g'),
      role('a:group:top'),
      grant('a:group:top', 'a:group:g'),
    ])
    const reader = createReader(database)
    const before = ['a:user:u']
    const held = ['a:group:g', 'a:group:top', 'a:user:u']
    const heldAt = new Map<number, string[]>([[writer.head().position.seq, before]])
    let writing = true
    const reading = Array.from({ length: 4 }, async () => {
      const seen: { seq: number; ids: string[] }[] = []
      while (writing) {
        const { rows, position } = await reader.read({
          caller: 'a:user:u',
          statements: [{ sql: 'SELECT id FROM closure ORDER BY id', params: [] }],
        })
        seen.push({ seq: position.seq, ids: rows[0]!.map(({ id }) => id as string) })
      }
      return seen
    })
    for (let i = 0; i < 150; i++) {
      const member = { role: 'a:group:g', member: 'a:user:u', ownership: 0 }
      const change = [grant('a:group:g', 'a:user:u'), remove('memberships', member), secret(i + 1, 'x')][
        i % 3
      ]!
      const { position } = await write(writer, [change])
      heldAt.set(position.seq, i % 3 === 0 ? held : before)
    }
    writing = false
    const seen = (await Promise.all(reading)).flat()
    expect(seen.length).toBeGreaterThan(100)
    for (const { seq, ids } of seen) expect(ids, `at ${seq}`).toEqual(heldAt.get(seq))
    // A role that is gone holds nothing, whatever is remembered of it.
    await write(writer, [remove('roles', { id: 'a:user:u' })])
    expect(await reader.read({ caller: 'a:user:u', statements: [] })).toMatchObject({ callerKnown: false })
  })
})
