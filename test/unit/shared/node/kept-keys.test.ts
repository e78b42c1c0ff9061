// Key sets of providers on the disk: what a start finds of what was kept, and a disk that takes nothing.
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { keptKeySetsIn } from '#shared/node/kept-keys.ts'

const [a, b] = ['a'.repeat(64), 'b'.repeat(64)] as const
let directory: string
let folder: string
const reports: string[] = []
const open = () => keptKeySetsIn(directory, (message) => void reports.push(message))
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'holdfast-'))
  folder = join(directory, 'provider-keys')
  reports.length = 0
})
afterEach(() => rmSync(directory, { recursive: true, force: true }))

test('what was kept last is found, for its owner only, and nothing of what was forgotten', async () => {
  const kept = await open()
  expect(kept.found.size).toBe(0)
  const writes = [kept.keep(a, 'one'), kept.keep(b, 'other'), kept.keep(a, 'two')]
  kept.forget(b)
  await Promise.all([...writes, kept.keep(a, 'three')])
  expect([...(await open()).found]).toEqual([[a, 'three']])
  expect(statSync(folder).mode & 0o777).toBe(0o700)
  expect(statSync(join(folder, `${a}.json`)).mode & 0o777).toBe(0o600)
})

test('what a crash has left unfinished is removed', async () => {
  mkdirSync(folder)
  writeFileSync(join(folder, `${a}.json.77.new`), '{"half')
  writeFileSync(join(folder, `${b}.json`), 'whole')
  expect([...(await open()).found]).toEqual([[b, 'whole']])
  expect(readdirSync(folder)).toEqual([`${b}.json`])
})

test('a disk that takes nothing is reported, and nobody fails', async () => {
  const kept = await open()
  rmSync(folder, { recursive: true })
  writeFileSync(folder, 'in the way')
  await kept.keep(a, 'one')
  expect(reports).toEqual([
    expect.stringMatching(/^keys of an identity provider are not kept for the next start: (ENOTDIR|EEXIST)$/),
  ])
  rmSync(folder)
  await kept.keep(a, 'two')
  expect([...(await open()).found]).toEqual([[a, 'two']])
})
