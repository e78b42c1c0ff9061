// What is at stake: only nodes that somebody of the cluster wanted are in it, with no more than their class may do, and
// whoever is put out is out (cluster 3, 4).
import { execFileSync } from 'node:child_process'
import { cpSync, existsSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { initCluster } from '#control-plane/enrolment/authority.ts'
import { identityDial } from '#edge-follower/node/dial.ts'
import { openBundle, signBundle } from '#shared/enrolment/bundle.ts'
import { Refused } from '#shared/enrolment/messages.ts'
import type { NodeKind } from '#shared/enrolment/names.ts'
import { systemClock } from '#shared/node/clock.ts'
import { identityFiles, readIdentity } from '#shared/node/identity.ts'
import { obtainIdentity, renewAtLeader, unpackSeed } from '#shared/node/join.ts'
import { askLeader, nodeTls } from '#shared/node/node-client.ts'
import { type Joiner, type JoiningMachine, type Ran, servingMachine } from '../support/joining.ts'
import { Client } from '../support/nodes.ts'

let machine: JoiningMachine
let admin: Client
let edge: Joiner
beforeAll(async () => {
  ;[machine, admin] = await servingMachine('one')
  edge = await machine.follower('edge-1')
})
afterAll(() => machine?.stop())

const adminKey = (): string => readFileSync(join(machine.leaderFolder, 'admin.key'), 'utf8').trim()

const unpack = (seed: string, folder: string): Promise<Ran> =>
  machine.run(['unpack', 'seed', '-', '--data-dir', folder], seed)

async function started(joiner: Joiner): Promise<void> {
  joiner.node.start()
  await joiner.node.ready()
}

/** Reads at the Follower what the Leader has now. */
async function reads(joiner: Joiner, id: string): Promise<string> {
  const head = (await admin.request('GET', '/whoami')).headers.get('holdfast-position')!
  const at = admin.at(joiner.node.url)
  const answer = await at.getSecret(id, { 'Holdfast-Min-Position': head, 'Holdfast-Inconsistent': 'wait' })
  return `${answer.status} ${await answer.text()}`
}

/** A node of this process with a seed of this kind. */
async function enrolled(name: string, kind: NodeKind, seed: string, folder = machine.folder(name)) {
  await unpackSeed(seed, folder, Date.now())
  const options = {
    dataDirectory: folder,
    kinds: [kind],
    version: 'test',
    clock: systemClock,
    report: () => undefined,
  }
  return { folder, identity: await obtainIdentity(options, AbortSignal.timeout(30_000)) }
}

const until = async (check: () => Promise<boolean> | boolean): Promise<void> => {
  while (!(await check())) await new Promise((resolve) => setTimeout(resolve, 20))
}

const auditOf = async (msgid: string): Promise<{ message: string; sdata: Record<string, unknown> }[]> =>
  (await (await admin.request('GET', `/audit?msgid=${msgid}`)).json()) as never

describe('a Follower with nothing but its seed', () => {
  test('waits for it, joins, serves, and its audit arrives', async () => {
    edge.node.start()
    await until(() => edge.node.log.includes('waits for a seed'))
    const seed = await machine.seed('follower', 'edge-1')
    const unpacked = await unpack(seed, edge.folder)
    expect(unpacked).toMatchObject({ code: 0, err: '' })
    expect(unpacked.out).toContain('unpacked the seed of follower edge-1')
    await edge.node.ready()
    expect(await reads(edge, 'pw')).toBe('200 one')
    await until(async () =>
      (await auditOf('fetch')).some(({ message }) => message.includes('fetched acme:variable:pw')),
    )
  })

  test('keeps its key to itself, and needs the seed no more', async () => {
    const files = identityFiles(edge.folder)
    expect(readdirSync(files.folder).sort()).toEqual([
      'ca.pem',
      'cluster.json',
      'crl.pem',
      'node.key',
      'node.pem',
    ])
    expect(existsSync(files.seed)).toBe(false)
    await edge.node.kill('SIGTERM')
    await started(edge)
    await admin.setSecret('pw', 'two')
    expect(await reads(edge, 'pw')).toBe('200 two')
  })

  test('its certificate says who it is', async () => {
    const { presented, membership } = (await readIdentity(edge.folder))!
    expect(presented.name).toEqual({ clusterId: membership.clusterId, roleClass: 'follower', node: 'edge-1' })
    const listed = await machine.run(['ca', 'list'])
    expect(listed.out).toContain(`${presented.serial}  valid`)
    expect(listed.out).toContain('standby leader-1')
  })

  test('what was done is on record, and nothing of it is secret', async () => {
    const seeds = await auditOf('seed')
    expect(seeds.map(({ message }) => message)).toEqual([
      'edge-1 redeemed the seed of follower edge-1',
      'acme:user:admin made a seed for follower edge-1',
    ])
    expect((await auditOf('cluster')).map(({ message }) => message)).toContain('edge-1 enrolled edge-1')
    expect(machine.leader.log + edge.node.log).not.toContain('PRIVATE KEY')
  })
})

describe('refused, with what to do', () => {
  test('a seed that was used before', async () => {
    const seed = await machine.seed('follower', 'edge-2')
    await enrolled('edge-2', 'follower', seed)
    const again = enrolled('edge-2-again', 'follower', seed)
    await expect(again).rejects.toThrow(/SEED_USED.*make a new one with "holdfast seed follower edge-2"/)
    expect((await auditOf('seed'))[0]!.message).toContain('tried to join with the seed of follower edge-2')
  })

  test('but the same node gets its certificate again when the answer was lost', async () => {
    const seed = await machine.seed('follower', 'edge-3')
    const { folder, identity } = await enrolled('edge-3', 'follower', seed)
    const files = identityFiles(folder)
    renameSync(files.key, files.nextKey)
    rmSync(files.certificate)
    const again = await enrolled('edge-3', 'follower', seed, folder)
    expect(again.identity?.certificate).toBe(identity?.certificate)
  })

  test('a seed that is too old', async () => {
    const seed = await machine.seed('follower', 'edge-4', '--ttl', '60')
    const folder = machine.folder('edge-4')
    await expect(unpackSeed(seed, folder, Date.now() + 61_000)).rejects.toThrow(
      /seed of edge-4 has expired at .*"holdfast seed follower edge-4"/,
    )
  })

  test('a seed that was changed, or is none', async () => {
    const seed = await machine.seed('follower', 'edge-5')
    const folder = machine.folder('edge-5')
    const jws = JSON.parse(seed) as { payload: string }
    const said = Buffer.from(jws.payload, 'base64url').toString().replace('follower', 'standby')
    const changed = JSON.stringify({ ...jws, payload: Buffer.from(said).toString('base64url') })
    expect(await unpack(changed, folder)).toMatchObject({
      code: 1,
      err: expect.stringContaining('not as it was made'),
    })
    for (const text of ['', 'PK\x03\x04', seed.slice(0, 500), '{"payload":1}', 'x'.repeat(1e5)]) {
      expect(await unpack(text, folder)).toMatchObject({
        code: 1,
        err: expect.stringContaining('is no seed'),
      })
    }
    expect(existsSync(identityFiles(folder).seed)).toBe(false)
  })

  test('a seed for another node, or another kind of node', async () => {
    const seed = await machine.seed('follower', 'edge-6')
    const other = await machine.follower('edge-7', { HOLDFAST_NAME: 'edge-7' })
    await unpack(seed, other.folder)
    other.node.start()
    expect(await other.node.ended()).toBe(2)
    expect(other.node.log).toContain('set name to edge-6, or make a seed for edge-7')
    await expect(enrolled('edge-8', 'standby', seed)).rejects.toThrow('started as standby')
  })

  test('a seed of another cluster', async () => {
    const foreign = await foreignSeed('edge-9')
    await expect(enrolled('edge-9', 'follower', foreign)).rejects.toThrow(
      /SEED_FOREIGN.*make a seed at the cluster that it is to join/,
    )
    // The address is right, and the authority is not: a registration that comes all the same is refused there.
    const { authorities, membership } = (await readIdentity(edge.folder))!
    const body = {
      ...{ protocol: 1, clusterId: '0'.repeat(32), node: 'edge-9', kind: 'follower' },
      ...{ enrolment: { id: '0'.repeat(32), secret: 'y' }, csr: 'z', version: 'test', labels: {} },
    }
    const asked = askLeader(membership.leaders, '/enrol', body, nodeTls(membership.clusterId, authorities))
    await expect(asked).rejects.toThrow(/SEED_FOREIGN: the seed is of cluster 0{32}/)
  })

  test('a folder that belongs to a node of another cluster', async () => {
    const { folder, files } = await foreignNode('edge-10')
    const refused = await unpack(await machine.seed('follower', 'edge-10'), folder)
    expect(refused).toMatchObject({ code: 1, err: expect.stringContaining(`or remove ${files.folder}`) })
    expect(await unpack(await machine.seed('follower', 'edge-1'), edge.folder)).toMatchObject({
      code: 1,
      err: expect.stringContaining('is enrolled and needs no seed'),
    })
  })

  test('an identity of another cluster at the door', async () => {
    const { folder } = await foreignNode('edge-11')
    const foreign = (await readIdentity(folder))!
    const own = (await readIdentity(edge.folder))!
    const tls = nodeTls(own.membership.clusterId, own.authorities, foreign)
    const asked = askLeader([machine.nodeAddress], '/renew', { protocol: 1, csr: 'x' }, tls)
    await expect(asked).rejects.toThrow(/CERT_FOREIGN.*another authority.*enrol this node with a seed/)
  })

  async function foreignNode(node: string) {
    const folder = machine.folder(`foreign-${node}`)
    const leaders = [machine.nodeAddress]
    const first = { account: 'acme', node, leaders, certificateLifeMs: 60_000, now: Date.now() }
    await initCluster({ dataDirectory: folder, ...first })
    return { folder, files: identityFiles(folder) }
  }

  async function foreignSeed(node: string): Promise<string> {
    const { manifest } = await openBundle(await machine.seed('follower', node))
    const { folder, files } = await foreignNode(node)
    const { authorities, membership } = (await readIdentity(folder))!
    const { clusterId } = membership
    return signBundle(
      { ...manifest, clusterId, authorities },
      authorities,
      readFileSync(files.authorityKey, 'utf8'),
    )
  }
})

describe('a Standby', () => {
  test('is taken in when the policy expects it', async () => {
    const refused = await machine.run(['seed', 'standby', 'node-2'])
    expect(refused).toMatchObject({ code: 1, err: expect.stringContaining('conjur/cluster/<name>') })
    const policy = `
- !policy
  id: conjur/cluster/main
  body:
  - !layer
  - &hosts [ !host node-2, !host node-3 ]
  - !grant { role: !layer, members: *hosts }
`
    expect((await admin.loadPolicy('root', policy)).status).toBe(201)
    const { identity } = await enrolled('node-2', 'standby', await machine.seed('standby', 'node-2'))
    expect(identity?.presented.name?.roleClass).toBe('control')
    const dr = await enrolled('node-3', 'dr', await machine.seed('standby', '--dr', 'node-3'))
    expect(dr.identity?.presented.name?.roleClass).toBe('dr')
  })

  test('may not take the streams of Followers', async () => {
    for (const name of ['node-2', 'node-3']) {
      const dial = identityDial(join(machine.directory, name))
      const { signal } = new AbortController()
      await expect(dial('/replication/stream', signal)).rejects.toThrow(/ROLE_FORBIDDEN.*class follower/)
      await expect(dial('/replication/audit', signal)).rejects.toThrow(/ROLE_FORBIDDEN/)
    }
  })

  test('is what a node must be to be believed as Leader: a Follower is not', async () => {
    const own = (await readIdentity(edge.folder))!
    const { checkServerIdentity } = nodeTls(own.membership.clusterId, own.authorities)
    const { name } = own.presented
    const subjectaltname = `URI:spiffe://${name!.clusterId}/follower/edge-1, DNS:edge-1`
    expect(String(checkServerIdentity('edge-1', { subjectaltname } as never))).toContain('control node')
  })
})

describe('certificates', () => {
  test('are renewed with a new key, once', async () => {
    const folder = join(machine.directory, 'node-2')
    const before = (await readIdentity(folder))!
    const clone = `${folder}-clone`
    cpSync(folder, clone, { recursive: true })
    await renewAtLeader(folder)
    const after = (await readIdentity(folder))!
    expect(after.presented.serial).not.toBe(before.presented.serial)
    expect(after.key).not.toBe(before.key)
    // A clone of the disk as it was then comes too late.
    await expect(renewAtLeader(clone)).rejects.toThrow(/CERT_REPLACED.*if the disk of this node was cloned/)
  })
})

describe('a clone', () => {
  test('of a Follower’s disk supersedes it, and both sides say what to do', async () => {
    const clone = await machine.clone(edge)
    await started(clone)
    expect(await edge.node.ended()).toBe(1)
    expect(edge.node.log).toContain('remove the data folder of the clone and join it under a name of its own')
    expect(machine.leader.log).toContain('SUPERSEDED: a newer process of edge-1 has connected')
    await clone.node.kill('SIGTERM')
    await started(edge)
  })
})

describe('a node that is put out', () => {
  test('is out at once, stays out over restarts, and comes back with a new seed', async () => {
    const theirs = await new Client(edge.node.url, 'acme').login('admin', adminKey())
    await until(async () => (await theirs.at(machine.leader.url).getSecret('pw')).status === 200)
    const ended = edge.node.ended()
    const { serial } = (await readIdentity(edge.folder))!.presented
    expect(await machine.run(['ca', 'revoke', 'edge-1'])).toMatchObject({ code: 0 })
    expect(await ended).toBe(1)
    // Neither the tokens that it has signed are good any more, nor its certificate anywhere.
    expect((await theirs.at(machine.leader.url).getSecret('pw')).status).toBe(401)
    const list = identityFiles(machine.leaderFolder).revocations
    const shown = execFileSync('openssl', ['crl', '-in', list, '-noout', '-text'], { encoding: 'utf8' })
    expect(shown).toContain(serial.toUpperCase())
    expect(edge.node.log).toContain('make a seed with')
    edge.node.start()
    expect(await edge.node.ended()).toBe(2)
    expect((await machine.run(['ca', 'list'])).out).toContain('revoked')
    await expect(
      identityDial(edge.folder)('/replication/stream', new AbortController().signal),
    ).rejects.toThrow(Refused)
    expect(await unpack(await machine.seed('follower', 'edge-1'), edge.folder)).toMatchObject({ code: 0 })
    await started(edge)
    await admin.setSecret('pw', 'three')
    expect(await reads(edge, 'pw')).toBe('200 three')
  })

  test('and a Leader that starts again knows it', async () => {
    expect(await machine.run(['ca', 'revoke', 'edge-2'])).toMatchObject({ code: 0 })
    expect(await machine.run(['ca', 'revoke', 'edge-2'])).toMatchObject({ code: 1 })
    await machine.leader.kill('SIGTERM')
    machine.leader.start()
    await machine.leader.ready()
    admin = await machine.admin()
    await expect(renewAtLeader(join(machine.directory, 'edge-2'))).rejects.toThrow('CERT_REVOKED')
    await until(async () => (await fetch(`${edge.node.url}/health`)).status === 200)
  })
})
