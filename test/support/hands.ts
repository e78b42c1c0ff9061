// Control nodes of which only Postgres is there: real ones on this machine, with certificates, that can be killed and stopped.
import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach } from 'vitest'
import { nodeOf } from '#control-plane/coordination/keys.ts'
import { connect } from '#control-plane/ledger/connection.ts'
import { findBinaries } from '#control-plane/postgres/binaries.ts'
import { createHands } from '#control-plane/postgres/hands.ts'
import type { NodeTls } from '#control-plane/postgres/peer.ts'
import type { RunAs } from '#control-plane/postgres/run-as.ts'
import { systemClock } from '#shared/node/clock.ts'
import { type TestAuthority, testAuthority } from './certificates.ts'
import { freePorts } from './nodes.ts'

type Row = Record<string, unknown>

export type HandsNode = {
  readonly name: string
  readonly folder: string
  readonly port: number
  readonly hands: ReturnType<typeof createHands>
  /** What it told the operator. */
  readonly said: string[]
  /** Times that it was told of a Postgres that ended. */
  readonly stops: () => number
  ask(text: string, database?: string): Promise<Row[]>
  /** Another owner on the same folder; the one before is stopped. */
  again(): Promise<HandsNode>
}

export type HandsCluster = {
  readonly authority: TestAuthority
  /** `programs`: of another Postgres than the others have. */
  add(name: string, programs?: string): Promise<HandsNode>
  certificate(subject: string): Promise<NodeTls>
  close(): Promise<void>
}

/** Of every Postgres that is on this machine. */
export async function allBinaries(): Promise<{ readonly name: string; readonly binaries: string }[]> {
  const system = '/usr/lib/postgresql/15/bin'
  const found = [{ name: 'the packaged Postgres', binaries: await findBinaries(process.env.PGBIN) }]
  if (statSync(join(system, 'postgres'), { throwIfNoEntry: false }) !== undefined)
    found.push({ name: 'Postgres 15', binaries: system })
  return found
}

/** Resolves when it is so; the test's own time is the bound. */
export async function until<T>(look: () => Promise<T | undefined | false>): Promise<T> {
  for (;;) {
    const found = await look()
    if (found !== undefined && found !== false) return found
    await systemClock.sleep(10)
  }
}

/** A cluster for each test that asks for one, closed after it. */
export function handsClusters(binaries: string): () => Promise<HandsCluster> {
  let open: HandsCluster | undefined
  afterEach(async () => {
    await open?.close()
    open = undefined
  })
  return async () => {
    open = await startHandsCluster(binaries)
    return open
  }
}

export async function startHandsCluster(binaries: string, runAs?: RunAs): Promise<HandsCluster> {
  const authority = await testAuthority()
  const [ports, folders, nodes] = [new Map<string, number>(), [] as string[], new Set<HandsNode>()]
  const certificate = async (subject: string): Promise<NodeTls> => ({
    ca: authority.ca,
    ...(await authority.issue(subject, 'localhost', '127.0.0.1')),
  })
  const addressOf = (name: string) => ({ host: 'localhost', port: ports.get(name)! })

  async function open(name: string, folder: string, tls: NodeTls, programs: string): Promise<HandsNode> {
    const said: string[] = []
    let stops = 0
    const hands = createHands({
      node: name,
      dataDirectory: folder,
      binaries: programs,
      address: addressOf(name),
      addressOf,
      tls,
      clock: systemClock,
      log: (message) => said.push(message),
      durable: false,
      ...(runAs === undefined ? {} : { runAs }),
    })
    hands.onStopped(() => stops++)
    await hands.start()
    const node: HandsNode = {
      name,
      folder,
      port: ports.get(name)!,
      hands,
      said,
      stops: () => stops,
      async ask(text, database = 'postgres') {
        const one = connect(hands.url(database), 1)
        try {
          return (await one.query(text)).rows
        } finally {
          await one.close()
        }
      },
      async again() {
        nodes.delete(node)
        await hands.stop()
        return open(name, folder, tls, programs)
      },
    }
    nodes.add(node)
    return node
  }

  return {
    authority,
    certificate,
    async add(name, programs = binaries) {
      const folder = mkdtempSync(join(tmpdir(), 'holdfast-hands-'))
      folders.push(folder)
      ports.set(name, (await freePorts(1))[0]!)
      return open(name, folder, await certificate(`CN=${name},O=control`), programs)
    },
    async close() {
      await Promise.all([...nodes].map(({ hands }) => hands.stop()))
      for (const folder of folders) rmSync(folder, { recursive: true, force: true })
    },
  }
}

/** It leads, and commits wait for nobody. */
export async function leads(node: HandsNode, epoch: number, above: number): Promise<HandsNode> {
  await node.hands.promote(above)
  await node.hands.raiseEpoch(epoch)
  await node.hands.setSync([])
  return node
}

/** Resolves with the copy that the Leader sees streaming, once it has all that the Leader has now. */
export async function level(leader: HandsNode, standby: HandsNode): Promise<string> {
  const { end } = await leader.hands.probe()
  return until(async () => {
    const { replicas } = await leader.hands.probe()
    return [...replicas].find(([copy, flushed]) => nodeOf(copy) === standby.name && flushed >= end)?.[0]
  })
}

export async function follows(standby: HandsNode, leader: HandsNode): Promise<string> {
  await standby.hands.follow(leader.name)
  return level(leader, standby)
}

/** A process of its Postgres, by what it is. */
export async function processOf(
  node: HandsNode,
  kind: 'startup' | 'walreceiver' | 'walsender' | 'walwriter' | 'checkpointer',
): Promise<number> {
  return until(async () => {
    const [row] = await node.ask(`SELECT pid FROM pg_stat_activity WHERE backend_type = '${kind}'`)
    return row?.pid as number | undefined
  })
}

export type Write = { readonly done: Promise<void>; isDone(): boolean }

/** A commit under way; `waits` resolves when it is seen waiting for a Standby. */
export function write(node: HandsNode, n: number): Write {
  let finished = false
  const done = node.ask(`INSERT INTO written VALUES (${n})`).then(() => {
    finished = true
  })
  done.catch(() => undefined)
  return { done, isDone: () => finished }
}

/** How many commits wait for a Standby. */
export async function untilWaiting(node: HandsNode, count: number): Promise<void> {
  await until(async () => {
    const rows = await node.ask("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
    return rows.length >= count
  })
}

/** Waits for nobody, whatever the settings are. */
export const writeAlone = (node: HandsNode, n: number): Promise<unknown> =>
  node.ask(`SET synchronous_commit = local; INSERT INTO written VALUES (${n})`)

export const makeTable = (node: HandsNode): Promise<unknown> =>
  node.ask('SET synchronous_commit = local; CREATE TABLE written (n integer)')

export const written = async (node: HandsNode): Promise<number[]> =>
  (await node.ask('SELECT n FROM written ORDER BY n')).map(({ n }) => n as number)

/** One that leads with a table, and Standbys that have all of it. */
export async function ledBy(nodes: HandsCluster, leader: string, ...standbys: readonly string[]) {
  const first = await leads(await nodes.add(leader), 1, 0)
  await makeTable(first)
  const others: HandsNode[] = []
  for (const name of standbys) others.push(await nodes.add(name))
  const copies = await Promise.all(others.map((standby) => follows(standby, first)))
  return { nodes, leader: first, standbys: others, copies }
}

export const isReadOnly = async (node: HandsNode): Promise<boolean> =>
  (await node.ask('SELECT pg_is_in_recovery() AS recovering'))[0]?.recovering === true

/** Its Postgres is killed, and it is told when another one is there. */
export async function killPostgres(node: HandsNode): Promise<void> {
  const stops = node.stops()
  process.kill(node.hands.pid()!, 'SIGKILL')
  await until(async () => node.stops() > stops)
}
