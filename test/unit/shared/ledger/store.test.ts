// Facts of rows that a store has kept are made once, and never taken for those of another question.
import { expect, test } from 'vitest'
import { kept, type Query, readFacts } from '#shared/ledger/store.ts'
import type { Row } from '#shared/ledger/tables.ts'

type Ids = { readonly ids: readonly unknown[] }

const ids = (sql: string): Query<Ids> => ({
  sql,
  params: [],
  read: (rows) => ({ ids: rows.map(({ id }) => `${sql} ${id}`) }),
})
const factOf = (query: Query<Ids>, rows: readonly Row[]): Ids => readFacts({ it: query }, [rows]).it

test('of the same rows and the same text the fact is the same, for a query made anew too', () => {
  const rows = [{ id: 'a' }]
  const first = factOf(kept(ids('x')), rows)
  expect(first).toEqual({ ids: ['x a'] })
  expect(factOf(kept(ids('x')), rows)).toBe(first)
  expect(factOf(kept(ids('x')), [{ id: 'a' }])).not.toBe(first)
})

test('another text has its own, although the rows are the same', () => {
  const rows = [{ id: 'a' }]
  const facts = [factOf(kept(ids('x')), rows), factOf(kept(ids('y')), rows)]
  expect(facts).toEqual([{ ids: ['x a'] }, { ids: ['y a'] }])
})

test('of a query that is not kept it is made each time', () => {
  const rows = [{ id: 'a' }]
  expect(factOf(ids('x'), rows)).not.toBe(factOf(ids('x'), rows))
})
