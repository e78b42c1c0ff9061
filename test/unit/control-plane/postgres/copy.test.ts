// A copy is whole or not there, and writes nothing outside its folder.
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { create } from 'tar'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { takeCopy } from '#control-plane/postgres/copy.ts'

const node = { node: 'b', runAs: { prefix: [], owner: undefined }, durable: true }

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'holdfast-copy-'))
  mkdirSync(join(folder, 'source', 'base', '1'), { recursive: true })
  writeFileSync(join(folder, 'source', 'PG_VERSION'), '18\n')
  writeFileSync(join(folder, 'source', 'base', '1', '1259'), 'x'.repeat(100_000))
  writeFileSync(join(folder, 'source', 'holdfast.disk'), 'a 11111111\n')
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

const archive = (cwd = join(folder, 'source'), entries = ['.']): AsyncIterable<Uint8Array> =>
  create({ cwd, preservePaths: true, portable: true }, entries) as unknown as AsyncIterable<Uint8Array>

const copy = (): string => join(folder, 'postgres.copying')

test('a copy has all that was sent, and a disk of its own', async () => {
  mkdirSync(copy())
  writeFileSync(join(copy(), 'left over'), '')
  await takeCopy(copy(), archive(), node)
  expect(readFileSync(join(copy(), 'base', '1', '1259'), 'utf8')).toHaveLength(100_000)
  expect(readFileSync(join(copy(), 'holdfast.disk'), 'utf8')).toMatch(/^b [0-9a-f]{8}\n$/)
  expect(readFileSync(join(copy(), 'holdfast.disk'), 'utf8')).not.toContain('11111111')
  expect(existsSync(join(copy(), 'left over'))).toBe(false)
  expect(statSync(copy()).mode & 0o077).toBe(0)
})

test('a copy that breaks off leaves nothing', async () => {
  async function* broken() {
    for await (const bytes of archive()) {
      yield bytes.subarray(0, 2_000)
      throw new Error('Connection terminated unexpectedly')
    }
  }
  await expect(takeCopy(copy(), broken(), node)).rejects.toThrow('Connection terminated')
  expect(existsSync(copy())).toBe(false)
})

test('a copy that ends early leaves nothing', async () => {
  async function* short() {
    for await (const bytes of archive()) {
      yield bytes.subarray(0, bytes.length - 50_000)
      return
    }
  }
  await expect(takeCopy(copy(), short(), node)).rejects.toThrow()
  expect(existsSync(copy())).toBe(false)
})

test('what is not a Postgres, a link or a way out is refused', async () => {
  rmSync(join(folder, 'source', 'PG_VERSION'))
  await expect(takeCopy(copy(), archive(), node)).rejects.toThrow('not of a Postgres')
  symlinkSync('/tmp', join(folder, 'source', 'link'))
  await expect(takeCopy(copy(), archive(), node)).rejects.toThrow('link, which is no plain file')
  rmSync(join(folder, 'source', 'link'))
  writeFileSync(join(folder, 'outside'), 'x')
  await expect(takeCopy(copy(), archive(undefined, ['../outside']), node)).rejects.toThrow()
  expect(readFileSync(join(folder, 'outside'), 'utf8')).toBe('x')
  expect(existsSync(copy())).toBe(false)
})
