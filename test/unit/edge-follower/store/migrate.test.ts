// A file of a newer program is left as it is, and an older one is brought on step by step.
import { expect, test } from 'vitest'
import { migrate } from '#edge-follower/store/migrate.ts'
import { inMemory } from '../../../support/copy.ts'

const first = ['CREATE TABLE a (id INTEGER)', 'INSERT INTO a VALUES (1)']
const second = ['INSERT INTO a VALUES (2)']
const third = ['INSERT INTO a VALUES (3)', 'INSERT INTO nowhere VALUES (1)']

test('each step runs once, whole or not at all', () => {
  const sqlite = inMemory()
  const ids = () => sqlite.all('SELECT id FROM a ORDER BY id', []).map(({ id }) => id)
  migrate(sqlite, 'the file', [first])
  migrate(sqlite, 'the file', [first])
  expect(ids()).toEqual([1])
  migrate(sqlite, 'the file', [first, second])
  expect(ids()).toEqual([1, 2])
  expect(() => migrate(sqlite, 'the file', [first, second, third])).toThrow('nowhere')
  expect(ids()).toEqual([1, 2])
  expect(() => migrate(sqlite, 'the file', [first])).toThrow(
    'the file has schema 2 and this program knows 1: start a newer holdfast',
  )
})
