// After a stop that nobody saw a file is checked; a damaged one is kept, and does not serve.
import { existsSync, readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type Checked, openChecked } from '#edge-follower/node/integrity.ts'
import { createReplicaStore } from '#edge-follower/store/replica-store.ts'
import type { Log } from '#shared/node/log.ts'
import { takeSnapshot, temporaryFolder } from '../../../support/copy.ts'
import { seeded } from '../../../support/random.ts'
import { randomChanges, Source } from '../../../support/source.ts'

let folder: ReturnType<typeof temporaryFolder>
let file: string
let errors: { message: string; aside: unknown }[]
beforeEach(() => {
  folder = temporaryFolder()
  file = `${folder.path}/data.db`
  errors = []
})
afterEach(() => folder.remove())

const log: Log = {
  info: () => undefined,
  warn: () => undefined,
  error: (message, fields) => errors.push({ message, aside: fields?.aside }),
}
const open = (): Checked => openChecked(file, log, 'a snapshot will be taken')
const held = ({ sqlite }: Checked) => createReplicaStore(sqlite).held()

function filled(): Checked {
  const checked = open()
  const source = new Source()
  source.commit(randomChanges(seeded(3), 600))
  takeSnapshot(createReplicaStore(checked.sqlite), source)
  checked.sqlite.all('PRAGMA wal_checkpoint(TRUNCATE)', [])
  return checked
}

/** As after a crash: the mark stands, everything else is closed. */
function crash(checked: Checked): void {
  checked.sqlite.close()
}

/** Fills pages in the middle with what was never there. */
function damage(): void {
  const bytes = readFileSync(file)
  bytes.fill(0x5a, Math.floor(bytes.length / 3), Math.floor(bytes.length / 3) + 3 * 4096)
  writeFileSync(file, bytes)
}

const asides = (): string[] => readdirSync(folder.path).filter((name) => /\.damaged-\d+$/.test(name))

describe('opening a file', () => {
  test('after a clean stop checks nothing', () => {
    filled().close()
    expect(existsSync(`${file}.open`)).toBe(false)
    damage()
    const checked = open()
    expect([checked.aside, errors]).toEqual([undefined, []])
    checked.sqlite.close()
  })

  test('after an unclean stop keeps a sound one', () => {
    const before = filled()
    const position = held(before)
    crash(before)
    const checked = open()
    expect(held(checked)).toEqual(position)
    expect([checked.aside, errors]).toEqual([undefined, []])
    checked.close()
  })

  test('after an unclean stop sets a damaged one aside, says so, and begins with an empty one', () => {
    crash(filled())
    damage()
    const checked = open()
    expect(held(checked)).toBeUndefined()
    expect(errors).toEqual([
      { message: 'a damaged file is kept aside: a snapshot will be taken', aside: checked.aside },
    ])
    expect(asides()).toEqual([checked.aside!.slice(folder.path.length + 1)])
    checked.close()
    expect(held(open())).toBeUndefined()
  })

  test.each([
    ['no database at all', () => writeFileSync(file, 'not a database'.repeat(1_000))],
    ['cut off', () => truncateSync(file, 8192)],
  ])('a file that is %s is set aside too', (_, harm) => {
    crash(filled())
    harm()
    const checked = open()
    expect(held(checked)).toBeUndefined()
    expect(asides()).toHaveLength(1)
    checked.close()
  })

  test('the first time there is nothing to check', () => {
    const checked = open()
    expect([held(checked), errors]).toEqual([undefined, []])
    checked.close()
  })
})

describe('a condemned file', () => {
  test('is set aside when it is closed', () => {
    const checked = filled()
    checked.condemn()
    checked.close()
    expect(asides()).toHaveLength(1)
    expect(held(open())).toBeUndefined()
    expect(errors).toHaveLength(1)
  })

  test('is set aside at the next start when it was never closed, although its pages are sound', () => {
    const condemned = filled()
    condemned.condemn()
    crash(condemned)
    const checked = open()
    expect(held(checked)).toBeUndefined()
    expect(asides()).toHaveLength(1)
    checked.close()
  })
})

test('a file in the hands of another process is refused by name, and stays where it is', () => {
  const owner = openChecked(file, log, 'records are in it', 'owner')
  owner.sqlite.run('CREATE TABLE t (id INTEGER)', [])
  // The mark of the first stands, so the second would check the file.
  expect(() => openChecked(file, log, 'records are in it', 'owner')).toThrow(
    expect.objectContaining({
      code: 'settings_invalid',
      message: expect.stringContaining(`${file} is in use`),
    }),
  )
  owner.sqlite.run('INSERT INTO t VALUES (1)', [])
  owner.close()
  expect(errors).toEqual([])
  expect(asides()).toEqual([])
  const next = openChecked(file, log, 'records are in it', 'owner')
  expect(next.sqlite.all('SELECT id FROM t', [])).toEqual([{ id: 1 }])
  next.close()
})
