// What is at stake: a Follower of the settings is dialled where its operator wanted, never in clear; and whoever made a mistake
// is told which, without what is secret.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { edgesOf, followersOf } from '#control-plane/publish/named.ts'
import { leaderTable } from '#control-plane/settings.ts'
import { readSettings } from '#shared/node/settings.ts'

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'holdfast-named-'))
  for (const name of ['a', 'b']) writeFileSync(join(folder, name), `bearer-of-${name}\n`)
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const given = (edges: string, more: Record<string, string> = {}) =>
  readSettings(leaderTable, {
    flags: { data_key_file: 'x', edge_followers: edges.replaceAll('DIR', folder), ...more },
    env: {},
    file: undefined,
  })

test('each is dialled with its bearer, at the pace of the settings', async () => {
  const settings = given('edge-1=https://one.example/x#DIR/a, edge-2=http://127.0.0.1:9#DIR/b', {
    edge_heartbeat: '60',
  })
  const edges = edgesOf(await followersOf(settings), settings)
  expect(edges.map(({ identity, url, bearer }) => [identity, url, bearer()])).toEqual([
    [{ name: 'edge-1', set: 'full', heartbeatMs: 60_000 }, 'https://one.example/x', 'bearer-of-a'],
    [{ name: 'edge-2', set: 'full', heartbeatMs: 60_000 }, 'http://127.0.0.1:9', 'bearer-of-b'],
  ])
})

test.each([
  ['edge-1', 'edge-1 is not of the form name=https://host#file-with-bearer'],
  ['edge-1=https://one.example', 'is not of the form'],
  ['edge.1=https://one.example#DIR/a', 'edge.1 cannot be sent before a bearer'],
  ['edge-1=ftp://one.example#DIR/a', 'edge-1: the URL of an edge Follower must be of the form https://host'],
  ['edge-1=http://one.example#DIR/a', 'must begin with https'],
  ['edge-1=https://me:hunter2@one.example#DIR/a', 'must hold no user'],
  ['edge-1=https://one.example?x=1#DIR/a', 'must be of the form https://host'],
  ['leader-1=https://one.example#DIR/a', 'leader-1 is the name of another node'],
  ['edge-1=https://one.example#DIR/a,edge-1=https://two.example#DIR/b', 'edge-1 is the name of another node'],
  ['edge-1=https://one.example#DIR/none', 'there is no file'],
])('%s is refused', async (edges, why) => {
  const error: unknown = await followersOf(given(edges)).catch((one: unknown) => one)
  expect(String(error)).toContain(`edge_followers: `)
  expect(String(error)).toContain(why)
  expect(String(error)).not.toContain('hunter2')
})

test('one name is one Follower, whoever dials', async () => {
  const settings = given('edge-1=https://one.example#DIR/a', { followers: `edge-1=${join(folder, 'b')}` })
  await expect(followersOf(settings)).rejects.toThrow('edge_followers: edge-1 is the name of another node')
})

test('a file that holds no authority is refused, and what it holds is not said', async () => {
  const settings = given('edge-1=https://one.example#DIR/a', { edge_ca_file: join(folder, 'b') })
  const error: unknown = await followersOf(settings).catch((one: unknown) => one)
  expect(String(error)).toContain('edge_ca_file: ')
  expect(String(error)).toContain('cannot be read as PEM')
  expect(String(error)).not.toContain('bearer-of-b')
})
