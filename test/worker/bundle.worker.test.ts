// What is sent to the edge: how much, and nothing that belongs elsewhere.
import { readFileSync } from 'node:fs'
import { gzipSync } from 'node:zlib'
import { expect, test } from 'vitest'

const bundle = readFileSync(process.env.HOLDFAST_EDGE_BUNDLE!)

test('the bundle of a deploy is at most 1 MB, compressed', () => {
  expect(gzipSync(bundle).length).toBeLessThanOrEqual(1024 * 1024)
})

test('it holds no code of a Node Follower', () => {
  for (const foreign of ['better_sqlite3', 'worker_threads', 'thread-stream']) {
    expect(bundle.includes(foreign), foreign).toBe(false)
  }
})
