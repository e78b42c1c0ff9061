// What every ReadStore promises: one SQL text, the same rows, whichever engine answers (architecture P4).
import { describe, expect, test } from 'vitest'
import { type Change, put } from '#shared/ledger/change.ts'
import type { Position } from '#shared/ledger/position.ts'
import { accessQuery } from '#shared/ledger/reads/access.ts'
import { secretQuery } from '#shared/ledger/reads/secret.ts'
import {
  type Batch,
  type FactsOf,
  type ReadStore,
  readFacts,
  type Statement,
  statementsOf,
} from '#shared/ledger/store.ts'
import type { Cell, Row } from '#shared/ledger/tables.ts'
import { type Random, runSeed, seeded } from '../support/random.ts'
import { randomChanges, roleIds, Source, variableIds } from '../support/source.ts'

export type Opened = {
  readonly store: ReadStore
  readonly position: Position
  close(): void | Promise<void>
}

/** A store that holds what these changes leave. */
export type Open = (changes: readonly Change[]) => Promise<Opened>

export function readStoreCases(engine: string, open: Open): void {
  const holding = async (
    changes: readonly Change[],
    body: (opened: Opened) => Promise<void>,
  ): Promise<void> => {
    const opened = await open(changes)
    try {
      await body(opened)
    } finally {
      await opened.close()
    }
  }

  describe(`${engine}: a batch`, () => {
    test('answers its statements in their order, and without statements too', () =>
      holding([role('acme:user:a')], async ({ store, position }) => {
        const found = await store.read({ statements: [one(1), one('x'), one(1)], caller: undefined })
        expect(found.rows).toEqual([[{ cell: 1 }], [{ cell: 'x' }], [{ cell: 1 }]])
        expect(found.position).toEqual(position)
        expect(found.ageMs).toBeGreaterThanOrEqual(0)
        expect((await store.read({ statements: [], caller: undefined })).rows).toEqual([])
      }))

    test('cells come back as they were put: text, numbers, null, bytes', () =>
      holding(cellChanges, async ({ store }) => {
        const secrets = {
          sql: 'SELECT resource, version, sealed, expires_at FROM secrets ORDER BY version',
          params: [],
          bytes: ['sealed'],
        }
        const roles = { sql: 'SELECT id, policy, created_at FROM roles ORDER BY id', params: [] }
        const { rows } = await store.read({ statements: [secrets, roles], caller: undefined })
        expect(rows[0]!.map((row) => ({ ...row, sealed: (row.sealed as Uint8Array).toHex() }))).toEqual([
          { resource: 'v', version: 1, sealed: '', expires_at: null },
          { resource: 'v', version: 2, sealed: allBytes.toHex(), expires_at: Number.MAX_SAFE_INTEGER },
        ])
        expect(rows[1]!.map((row) => row.id)).toEqual([...oddTexts].sort(byByte))
      }))

    test('text is compared and sorted by byte', () =>
      holding(oddTexts.map(role), async ({ store }) => {
        const above = { sql: 'SELECT id FROM roles WHERE id > ?1 ORDER BY id DESC', params: ['a'] }
        const { rows } = await store.read({ statements: [above], caller: undefined })
        const expected = oddTexts.filter((text) => byByte(text, 'a') > 0).sort(byByte)
        expect(rows[0]!.map((row) => row.id)).toEqual(expected.reverse())
      }))

    test('a list is a relation, with whatever characters its texts have', () =>
      holding(oddTexts.map(role), async ({ store }) => {
        const among = (texts: readonly string[]): Statement => ({
          sql: 'SELECT id FROM roles WHERE id IN (SELECT value FROM list(?1)) ORDER BY id',
          params: [JSON.stringify(texts)],
        })
        const joined = {
          sql: 'SELECT a.value AS a, b.value AS b FROM list(?1) CROSS JOIN roles r JOIN list(?2) ON r.id = ?3',
          params: ['["x"]', '["y"]', 'none'],
        }
        const plain = joined.sql.replace('a.value AS a, b.value AS b', 'r.id AS id')
        const statements = [among(oddTexts), among([]), among(['none', 'a']), { ...joined, sql: plain }]
        const { rows } = await store.read({ statements, caller: undefined })
        expect(rows[0]).toHaveLength(oddTexts.length)
        expect(rows.slice(1)).toEqual([[], [{ id: 'a' }], []])
      }))
  })

  describe(`${engine}: the closure`, () => {
    test('of a role has itself and all that it holds, directly or not, and ends in circles', () =>
      holding(
        [...'abcdez']
          .map(role)
          .concat(member('b', 'a'), member('c', 'b', 1), member('a', 'c'), member('e', 'd')),
        async ({ store }) => {
          expect(await closureOf(store, 'a')).toEqual(['a', 'b', 'c'])
          expect(await closureOf(store, 'd')).toEqual(['d', 'e'])
          expect(await closureOf(store, 'z')).toEqual(['z'])
        },
      ))

    test('is empty for nobody, and for a role that does not exist although it is a member of others', () =>
      holding([role('b'), member('b', 'gone')], async ({ store }) => {
        for (const caller of [undefined, 'gone', '']) {
          const found = await store.read({ statements: [closure], caller })
          expect([found.rows, found.callerKnown]).toEqual([[[]], false])
        }
        expect((await store.read({ statements: [], caller: 'b' })).callerKnown).toBe(true)
      }))

    // Few are looked through as one text, many are a set.
    test.each([0, 100])('holds no role whose name is only a part of what is held (and %i more)', (more) => {
      const held = ['me', ...oddTexts, 'acme:group:admins', 'x"acme:group:root\\', 'p,q', 'p","q']
      const parts = [
        '',
        'm',
        'e',
        'acme:group:admin',
        'cme:group:admins',
        'acme:group:root\\',
        'p',
        ',',
        '","',
      ]
      const others = Array.from({ length: more }, (_, i) => `more-${i}`)
      const own = [...new Set([...held, ...others])]
      const strange = parts.filter((id) => !own.includes(id))
      const changes = [...own, ...strange].map(role).concat(own.slice(1).map((id) => member(id, 'me')))
      return holding(changes, async ({ store }) => {
        const sql = 'SELECT r.id AS id FROM roles r WHERE r.id IN (SELECT id FROM closure) ORDER BY r.id'
        const found = async (caller?: string): Promise<unknown[]> =>
          (await store.read({ statements: [{ sql, params: [] }], caller })).rows[0]!.map(({ id }) => id)
        expect(await found('me')).toEqual([...own].sort(byByte))
        expect(await found()).toEqual([])
      })
    })

    test('is known to every statement that names it, with other relations and parameters beside it', () =>
      holding([role('a'), role('b'), member('b', 'a')], async ({ store }) => {
        const statements = [
          { sql: 'SELECT id FROM closure WHERE id <> ?1', params: ['a'] },
          { sql: 'WITH x AS (SELECT id FROM closure) SELECT id FROM x WHERE id = ?1', params: ['b'] },
          {
            sql:
              'WITH RECURSIVE n(i) AS (SELECT 1 UNION SELECT i + 1 FROM n WHERE i < 2) ' +
              'SELECT n.i AS i, c.id AS id FROM n CROSS JOIN closure c ' +
              'WHERE c.id IN (SELECT value FROM list(?2)) AND c.id <> ?1 ORDER BY n.i',
            params: ['a', '["a","b"]'],
          },
          one('no closure'),
        ]
        const { rows } = await store.read({ statements, caller: 'a' })
        expect(rows).toEqual([
          [{ id: 'b' }],
          [{ id: 'b' }],
          [
            { i: 1, id: 'b' },
            { i: 2, id: 'b' },
          ],
          [{ cell: 'no closure' }],
        ])
      }))
  })

  describe(`${engine}: random content`, () => {
    const seed = runSeed(`read store, ${engine}`)
    test('closure, access and value are what a naive reading of the rows says', async () => {
      const random = seeded(seed)
      const source = new Source()
      const changes = lastOfKeys(source, random)
      await holding(changes, async ({ store }) => {
        for (let i = 0; i < 60; i++) {
          const caller = random.pick(roleIds)
          const variable = random.pick(variableIds)
          const facts = await ask(store, caller, {
            access: accessQuery(variable),
            stored: secretQuery(variable, undefined),
          })
          expect(await closureOf(store, caller), `seed ${seed}`).toEqual(
            [...naiveClosure(source, caller)].sort(byByte),
          )
          expect(facts.access, `seed ${seed}`).toEqual(naiveAccess(source, caller, variable))
          expect(facts.stored.access, `seed ${seed}`).toEqual(facts.access)
          // What is left of a resource that is gone is nobody's.
          const value = facts.access.exists ? naiveValue(source, variable) : undefined
          expect(facts.stored.secret?.sealed.toHex(), `seed ${seed}`).toEqual(value)
        }
      })
    })
  })
}

const role = (id: string): Change => put('roles', { id, policy: null, created_at: 1 })
const member = (id: string, of: string, ownership = 0): Change =>
  put('memberships', { role: id, member: of, ownership, admin_option: 0, policy: null })

const one = (cell: Cell): Statement =>
  typeof cell === 'number'
    ? { sql: `SELECT ${cell} AS cell`, params: [] }
    : { sql: "SELECT '' || ?1 AS cell", params: [cell] }

const closure: Statement = { sql: 'SELECT id FROM closure ORDER BY id', params: [] }

const oddTexts = [
  'a',
  'B',
  'b',
  'Z',
  '_',
  '~',
  'a/b',
  'a%2Fb',
  'é',
  'ü€😀',
  '￼',
  '"quoted", {x}',
  "it's",
  '\\u0041',
  'a\nb',
  ' ',
  'NULL',
]
const allBytes = Uint8Array.from({ length: 256 }, (_, i) => i)
const cellChanges: Change[] = [
  ...oddTexts.map((id) => put('roles', { id, policy: null, created_at: 1 })),
  put('secrets', { resource: 'v', version: 1, sealed: new Uint8Array(0), expires_at: null }),
  put('secrets', { resource: 'v', version: 2, sealed: allBytes, expires_at: Number.MAX_SAFE_INTEGER }),
]

function byByte(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b))
}

async function closureOf(store: ReadStore, caller: string): Promise<Cell[]> {
  const { rows } = await store.read({ statements: [closure], caller })
  return rows[0]!.map((row) => row.id!)
}

async function ask<B extends Batch>(store: ReadStore, caller: string, batch: B): Promise<FactsOf<B>> {
  const { rows } = await store.read({ statements: statementsOf(batch), caller })
  return readFacts(batch, rows)
}

/** Random changes put into the source; what is left of them is what the store is given. */
function lastOfKeys(source: Source, random: Random): Change[] {
  source.commit(randomChanges(random, 250))
  const tables = ['roles', 'memberships', 'resources', 'permissions', 'secrets'] as const
  return tables.flatMap((table) => source.rows(table).map((row): Change => ({ op: 'put', table, row })))
}

function naiveClosure(source: Source, caller: string): Set<string> {
  const closure = new Set<string>()
  if (!source.rows('roles').some(({ id }) => id === caller)) return closure
  closure.add(caller)
  for (const id of closure) {
    for (const row of source.rows('memberships')) if (row.member === id) closure.add(row.role as string)
  }
  return closure
}

function naiveAccess(source: Source, caller: string, id: string): unknown {
  const closure = naiveClosure(source, caller)
  const held = (row: Row): boolean => row.resource === id && closure.has(row.role as string)
  const resource = source.rows('resources').find((row) => row.id === id)
  return {
    exists: resource !== undefined,
    owns: resource !== undefined && closure.has(resource.owner as string),
    privileges: new Set(
      source
        .rows('permissions')
        .filter(held)
        .map((row) => row.privilege),
    ),
  }
}

function naiveValue(source: Source, variable: string): string | undefined {
  const versions = source.rows('secrets').filter(({ resource }) => resource === variable)
  const newest = versions.sort((a, b) => (a.version as number) - (b.version as number)).at(-1)
  return (newest?.sealed as Uint8Array | undefined)?.toHex()
}
