// What is at stake: a Follower at the edge is what any other Follower is, whoever dials; one that the Leader dials is found
// again by whoever leads, and one that is put out is out.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { connect } from '#control-plane/ledger/connection.ts'
import { memberEvent } from '#shared/audit/cluster-event.ts'
import { formatEvent } from '#shared/audit/rfc5424.ts'
import { compare } from '#shared/ledger/position.ts'
import { type EdgeDoor, edgeDoor } from '../support/edge-door.ts'
import { type Edge, edgeFollower as openEdge } from '../support/edge-follower.ts'
import { type JoiningMachine, joiningMachine } from '../support/joining.ts'
import { webSocketDial } from '../support/link-ways.ts'
import type { Client } from '../support/nodes.ts'

const NAMED = 'edge-named'

let folder: string
let door: EdgeDoor
let machine: JoiningMachine
let admin: Client
const bearers = new Map<string, string>()
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'holdfast-edge-'))
  door = await edgeDoor((name, bearer) => {
    // These are dialled before the bearer is printed.
    if (name.startsWith('edge-many-')) bearers.set(name, bearer)
    return bearers.get(name) === bearer
  })
  bearers.set(NAMED, 'a-bearer-of-the-settings-0123456789')
  writeFileSync(join(folder, 'named.bearer'), `${bearers.get(NAMED)}\n`, { mode: 0o600 })
  writeFileSync(join(folder, 'wrong.bearer'), 'another-one\n', { mode: 0o600 })
  machine = await joiningMachine({
    HOLDFAST_EDGE_FOLLOWERS: [
      `${NAMED}=http://127.0.0.1:${door.port}#${join(folder, 'named.bearer')}`,
      `edge-wrong=http://127.0.0.1:${door.port}/#${join(folder, 'wrong.bearer')}`,
    ].join(),
    HOLDFAST_EDGE_HEARTBEAT: '2',
  })
  machine.leader.start()
  await machine.leader.ready()
  admin = await machine.admin()
  await admin.loadPolicy('root', '- !variable pw')
})
afterAll(async () => {
  await machine?.stop()
  await door?.close()
  rmSync(folder, { recursive: true, force: true })
})

const edgeFollower = (name: string, dial: Parameters<typeof openEdge>[2]): Edge =>
  openEdge(folder, name, dial)

const until = async (holds: () => boolean | Promise<boolean>): Promise<void> => {
  while (!(await holds())) await new Promise((resolve) => setTimeout(resolve, 10))
}

/** Resolves when the copy holds a value that the Leader is given now. */
async function follows(edge: Edge, value: string): Promise<void> {
  const answer = await admin.setSecret('pw', value)
  expect(answer.status).toBe(201)
  const [epoch = 0, seq = 0] = answer.headers.get('holdfast-position')!.split('.').map(Number)
  await until(() => {
    const held = edge.held()
    return held !== undefined && compare(held, { epoch, seq }) >= 0
  })
}

const auditOf = async (msgid: string): Promise<{ message: string }[]> =>
  (await (await admin.request('GET', `/audit?msgid=${msgid}`)).json()) as never

/** What a failover leaves behind: the Leader before it may write no more, and the next one has this epoch. */
async function raiseEpoch(epoch: number): Promise<void> {
  const url = readFileSync(join(machine.leaderFolder, 'postgres.url'), 'utf8').trim()
  const database = connect(url, 1)
  await database.query('INSERT INTO cluster_epoch (epoch, node, started_at) VALUES ($1, $2, $3)', [
    epoch,
    'leader-1',
    Date.now(),
  ])
  await database.close()
}

describe('a Follower of the settings that the Leader dials', () => {
  test('follows, its audit arrives, and a Leader that was killed dials again', async () => {
    const edge = edgeFollower(NAMED, door.dial(NAMED))
    await follows(edge, 'one')
    const event = memberEvent({ user: NAMED, clientIp: '' }, { operation: 'enroll', node: 'somebody' })
    await edge.queue.append([formatEvent(event, { timestamp: Date.now(), procid: '' })])
    await until(async () =>
      (await auditOf('cluster')).some(({ message }) => message.includes('enrolled somebody')),
    )
    const before = edge.held()!
    await raiseEpoch(7)
    await machine.leader.kill('SIGKILL')
    const staged = edge.reports.length
    machine.leader.start()
    await machine.leader.ready()
    admin = await machine.admin()
    await follows(edge, 'two')
    // Another leadership, the same copy.
    expect(edge.held()!.epoch).toBe(7)
    expect(before.epoch).toBeLessThan(7)
    expect(edge.reports.slice(staged).filter((line) => line.includes('snapshot'))).toEqual([])
    await edge.stop()
  })

  test('is sent what changes at once, and heartbeats together', async () => {
    const edge = edgeFollower(NAMED, door.dial(NAMED))
    await follows(edge, 'three')
    const seqs: number[] = []
    for (let last = edge.held()!.seq; seqs.length < 3; ) {
      await until(() => edge.held()!.seq > last)
      await new Promise((resolve) => setImmediate(resolve))
      seqs.push(edge.held()!.seq - last)
      last = edge.held()!.seq
    }
    expect(Math.max(...seqs)).toBeGreaterThan(1)
    await edge.stop()
  })

  test('is refused with the wrong bearer, and the log says what to look at', async () => {
    await until(() => machine.leader.log.includes('edge-wrong'))
    expect(machine.leader.log).toContain('it does not know this name with this bearer')
    expect(machine.leader.log).not.toContain('another-one')
    expect(door.asked).toContain('edge-wrong /replication/stream 401')
  })
})

describe('a Follower that is enrolled without a file system', () => {
  const seed = (...args: string[]) => machine.run(['seed', 'follower', '--edge', ...args])
  const bearerIn = (out: string): string => /printf '%s' (\S+) \|/.exec(out)![1]!

  test('dials with its bearer, is listed, and is out when it is revoked', async () => {
    const { out, code } = await seed('edge-in', '--data-key-file', "it's.key")
    expect(code).toBe(0)
    const bearer = bearerIn(out)
    expect(out.split('\n').filter((line) => !line.startsWith('#'))).toEqual([
      `printf '%s' ${bearer} | npx wrangler secret put HOLDFAST_BEARER --name holdfast-edge-in`,
      `npx wrangler secret put HOLDFAST_DATA_KEY --name holdfast-edge-in < 'it'\\''s.key'`,
      `npx wrangler deploy --name holdfast-edge-in --var HOLDFAST_NAME:edge-in --var HOLDFAST_ACCOUNT:acme --var HOLDFAST_LINK:object --var HOLDFAST_LEADER_URL:${machine.leader.url}`,
      '',
    ])
    const edge = edgeFollower('edge-in', webSocketDial(machine.leader.url)('edge-in', bearer))
    await follows(edge, 'four')
    expect((await machine.run(['ca', 'list'])).out).toMatch(/follower edge-in\n {2}bearer {2}valid\n/)
    expect((await machine.run(['ca', 'revoke', 'edge-in'])).code).toBe(0)
    expect(await edge.ended).toMatchObject({ why: 'revoked', message: expect.stringContaining('is revoked') })
    await edge.stop()
    const again = edgeFollower('edge-in', webSocketDial(machine.leader.url)('edge-in', bearer))
    expect(await again.ended).toMatchObject({ why: 'revoked' })
    await again.stop()
    expect((await machine.run(['ca', 'list'])).out).toMatch(/follower edge-in\n {2}bearer {2}revoked\n/)
  })

  test('is dialled with its bearer, by the next Leader too, and is out when it is revoked', async () => {
    const { out } = await seed('edge-out', '--dial', `http://127.0.0.1:${door.port}`)
    const bearer = bearerIn(out)
    expect(out).toContain('HOLDFAST_LINK:leader')
    bearers.set('edge-out', bearer)
    await machine.leader.kill('SIGKILL')
    machine.leader.start()
    await machine.leader.ready()
    admin = await machine.admin()
    const edge = edgeFollower('edge-out', door.dial('edge-out'))
    await follows(edge, 'five')
    expect((await machine.run(['ca', 'list'])).out).toContain(`dialled at http://127.0.0.1:${door.port}`)
    expect((await machine.run(['ca', 'revoke', 'edge-out'])).code).toBe(0)
    expect(await edge.ended).toMatchObject({ why: 'revoked' })
    await edge.stop()
  })

  test('with a new bearer the one before is good no more', async () => {
    const [first, second] = [bearerIn((await seed('edge-new')).out), bearerIn((await seed('edge-new')).out)]
    const { signal } = new AbortController()
    const dial = (bearer: string) =>
      webSocketDial(machine.leader.url)('edge-new', bearer)('/replication/stream', signal)
    await expect(dial(first)).rejects.toThrow('401')
    const wire = await dial(second)
    wire.close()
  })

  test('many of one Worker have one bearer and a name each, and are put out one by one', async () => {
    const [url, regions] = [`http://127.0.0.1:${door.port}`, 'weur=2,enam=1']
    const { out } = await seed('edge-many', '--regions', regions, '--dial', url, '--data-key-file', 'a.key')
    const bearer = bearerIn(out)
    expect(out).toContain('# Followers edge-many-weur-1, edge-many-weur-2, edge-many-enam-1 at the edge.')
    expect(out).toContain(
      "--var HOLDFAST_NAME:edge-many --var HOLDFAST_ACCOUNT:acme --var 'HOLDFAST_REGIONS:",
    )
    expect(out).toContain(`#   curl -H 'Holdfast-Follower: edge-many-weur-2' ${url}/health\n`)
    const names = ['edge-many-weur-1', 'edge-many-weur-2', 'edge-many-enam-1']
    const edges = names.map((name) => edgeFollower(name, door.dial(name)))
    for (const edge of edges) await follows(edge, 'six')
    expect(names.map((name) => bearers.get(name))).toEqual([bearer, bearer, bearer])
    expect((await machine.run(['ca', 'revoke', names[0]!])).code).toBe(0)
    expect(await edges[0]!.ended).toMatchObject({ why: 'revoked' })
    await follows(edges[1]!, 'seven')
    // One that the new regions have no more keeps up with its Worker's bearer; one that was put out does not.
    const { signal } = new AbortController()
    const next = bearerIn((await seed('edge-many', '--regions', 'weur=2,oc=1')).out)
    const dial = (name: string) =>
      webSocketDial(machine.leader.url)(name, next)('/replication/stream', signal)
    for (const name of ['edge-many-weur-2', 'edge-many-oc-1', 'edge-many-enam-1', 'edge-many-weur-1'])
      (await dial(name)).close()
    await expect(dial('edge-many')).rejects.toThrow('401')
    for (const edge of edges) await edge.stop()
    for (const name of [...names, 'edge-many-oc-1'])
      expect((await machine.run(['ca', 'revoke', name])).code).toBe(0)
    expect((await machine.run(['ca', 'list'])).out).not.toMatch(/edge-many.*\n {2}bearer {2}valid/)
    await expect(dial('edge-many-oc-1')).rejects.toThrow()
  })

  test('what is said once is said nowhere else', async () => {
    const { out } = await seed('edge-told', '--dial', 'https://edge.example')
    const bearer = bearerIn(out)
    const told = [
      machine.leader.log,
      JSON.stringify(await auditOf('seed')),
      JSON.stringify(await auditOf('cluster')),
      readFileSync(join(machine.leaderFolder, 'audit.json'), 'utf8'),
      (await machine.run(['ca', 'list', '--json'])).out,
    ]
    for (const text of told) expect(text).not.toContain(bearer)
    expect(told[1]).toContain('made a seed for follower edge-told')
    await machine.run(['ca', 'revoke', 'edge-told'])
  })

  test.each([
    ['a name with a dot', ['edge.1'], 'must have no "."'],
    ['a region that there is not', ['edge-x', '--regions', 'mars=1'], 'there is no region mars'],
    ['a name too long for regions', ['e'.repeat(60), '--regions', 'me=1'], 'at most 55'],
    ['a URL in clear', ['edge-x', '--dial', 'http://edge.example'], 'must begin with https'],
    ['a URL with a user', ['edge-x', '--dial', 'https://me:pw@edge.example'], 'must hold no user'],
    ['a name of the settings', [NAMED], 'is a Follower of the settings'],
    ['the Leader’s own name', ['leader-1'], 'which leads'],
  ] as const)('%s is refused', async (_what, args, why) => {
    const { code, err, out } = await seed(...args)
    expect(code).toBe(1)
    expect(err).toContain(why)
    expect(err + out).not.toContain('me:pw')
  })
})
