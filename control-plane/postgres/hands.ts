// All that the failover machine asks of its node's Postgres, on a real one (cluster 6.1, 7.4, 7.5). The promises are those
// of the port; each file beside this one keeps a part of them.
import { isIP } from 'node:net'
import { DomainError } from '#shared/base/errors.ts'
import type { Copy } from '../coordination/keys.ts'
import { prepareDatabases } from '../databases.ts'
import type { Hands, Held } from '../failover/hands.ts'
import { connect } from '../ledger/connection.ts'
import { raiseEpoch } from '../ledger/epoch-guard.ts'
import { waitingForNobody } from './asking.ts'
import {
  clearLeftovers,
  diskOf,
  emptyDisk,
  forgetEmpty,
  markFirst,
  nameDisk,
  removeThrownAway,
} from './data.ts'
import { type FollowOptions, followLeader } from './following.ts'
import { createInstance, describe, type Instance, type InstanceOptions } from './instance.ts'
import { lookHere, type OwnLog } from './looking.ts'
import type { NodeTls } from './peer.ts'
import { createProbing, type Probing } from './probe.ts'
import { cutOff, promote, receivedHere, timelineOf } from './recovery.ts'
import { backoffMs, enterRoom, type Room } from './room.ts'
import { REPLICATOR } from './settings.ts'
import { createSyncDuty, type SyncDuty } from './sync-duty.ts'
import { within } from './waiting.ts'

/** `tls` undefined: other nodes on this machine only, for tests. */
export type HandsOptions = InstanceOptions & FollowOptions

type Started = {
  readonly room: Room
  readonly instance: Instance
  readonly sync: SyncDuty
  readonly probing: Probing
}

const RAISED_WITHIN_MS = 30_000

export function createHands(given: HandsOptions): Hands & {
  /** With this certificate, and without those that it names as revoked, from now on; connections that are there stay. */
  renew(tls: NodeTls): Promise<void>
  /** Changes nothing. Undefined: there is no data here. */
  look(): Promise<OwnLog | undefined>
} {
  // The one part of it that changes: who uses the certificate reads it here.
  const options: HandsOptions & { tls: NodeTls | undefined } = { ...given }
  const { clock, log, address } = options
  const stopping = new AbortController()
  const listeners: (() => void)[] = []
  let started: Started | undefined
  let following: { readonly end: AbortController; readonly ended: Promise<void> } | undefined
  let turn: Promise<unknown> = Promise.resolve()

  const parts = (): Started => {
    if (started === undefined) throw new DomainError('unavailable', 'Postgres was not started')
    return started
  }

  /** One after the other, whatever became of the one before. */
  function inTurn<T>(work: (parts: Started) => Promise<T>): Promise<T> {
    const done = turn.then(() => work(parts()))
    turn = done.catch(() => undefined)
    return done
  }

  async function followNobody(): Promise<void> {
    following?.end.abort()
    await following?.ended
  }

  async function launch({ instance, sync }: Started): Promise<void> {
    sync.reset()
    await instance.launch()
  }

  /** It ended by itself: in recovery again, however long that takes, and the machine is told. */
  async function bringBack(): Promise<void> {
    await followNobody()
    for (let attempt = 0; !stopping.signal.aborted; attempt++) {
      await clock.sleep(backoffMs(attempt), stopping.signal)
      if (stopping.signal.aborted) return
      try {
        await inTurn(async (all) => (all.instance.runs() ? undefined : launch(all)))
        for (const listener of listeners) listener()
        return
      } catch (error) {
        log(`Postgres could not be started: ${describe(error)}`)
      }
    }
  }

  function ended(): void {
    if (stopping.signal.aborted) return
    log('Postgres ended unexpectedly; starting it again in recovery')
    void bringBack()
  }

  return {
    async start() {
      check(options)
      const room = await enterRoom(options)
      try {
        await clearLeftovers(room)
        const instance = createInstance(room, options, ended)
        const url = room.url('postgres', address.port)
        const sync = createSyncDuty(instance, url, clock)
        started = { room, instance, sync, probing: createProbing(url, instance.holds, clock) }
        await instance.launch()
        if (instance.holds()) await forgetEmpty(room)
        removeThrownAway(room).catch((error: unknown) => log(`leftovers stay: ${describe(error)}`))
      } catch (error) {
        await started?.probing.close()
        await started?.instance.stop()
        started = undefined
        await room.leave()
        throw error
      }
    },
    probe: (silent = false) => parts().probing.probe(silent),
    async freeze() {
      await followNobody()
      return inTurn(({ instance }) => held(instance, options))
    },
    async follow(leader) {
      await followNobody()
      await inTurn(async ({ instance }) => {
        const end = new AbortController()
        following = { end, ended: followLeader(instance, leader, options, end.signal) }
      })
    },
    async promote(above) {
      await followNobody()
      return inTurn(async (all) => {
        if (!all.instance.holds()) await firstData(all.instance, above, options)
        const promoted = await promote(all.instance, above, clock)
        await all.sync.prove()
        await makeReplicator(all.instance)
        checkpoint(all.instance, options)
        return promoted
      })
    },
    raiseEpoch: (epoch) =>
      inTurn(({ room }) => within(clock, RAISED_WITHIN_MS, 'the new epoch', raise(room, epoch, options))),
    setSync: (names: readonly Copy[]) => inTurn(({ sync }) => sync.set(names)),
    async demote() {
      following?.end.abort()
      // Not in turn: nothing that is being done may make it later.
      await parts().instance.end()
      await followNobody()
      await inTurn(async (all) => {
        await all.instance.end()
        await launch(all)
      }).catch((error: unknown) => {
        void bringBack()
        throw error
      })
    },
    async stop() {
      stopping.abort()
      await followNobody()
      await inTurn(async ({ room, instance, probing }) => {
        await probing.close()
        await instance.stop()
        await room.leave()
      })
    },
    renew(tls) {
      options.tls = tls
      return inTurn(({ instance }) => instance.renewed())
    },
    look: () => lookHere(parts().instance, options.node),
    onStopped: (listener) => void listeners.push(listener),
    url: (database) => parts().room.url(database, address.port),
    pid: () => started?.instance.pid(),
  }
}

/** Postgres cuts a name at 63 bytes, and a disk has 8 letters. */
const NODE_NAME = /^[A-Za-z0-9._-]{1,54}$/

function check({ node, tls, address }: HandsOptions): void {
  if (!NODE_NAME.test(node))
    throw new DomainError(
      'settings_invalid',
      `name: ${node} is not the name of a control node: up to 54 letters, digits, dots, hyphens and underscores`,
      { target: 'name' },
    )
  const local = address.host === 'localhost' || (isIP(address.host) === 4 && address.host.startsWith('127.'))
  if (tls === undefined && !local)
    throw new DomainError(
      'settings_invalid',
      `Postgres would let in anybody at ${address.host}: give it a certificate, or let it listen on 127.0.0.1`,
    )
}

/** An empty disk holds nothing of any timeline. */
async function held(instance: Instance, { node, clock }: HandsOptions): Promise<Held> {
  const { room } = instance
  if (!instance.holds()) return { disk: (await emptyDisk(room)).disk, timeline: 0, received: 0 }
  await cutOff(instance, clock)
  const received = await receivedHere(instance, clock)
  return { disk: await diskOf(room, node), timeline: await timelineOf(instance, received), received }
}

/**
 * The first data of the cluster. A node that has nothing must not begin anew where others have begun: that would be the
 * end of everything there was. It may where it was the first itself, and was interrupted.
 */
async function firstData(
  instance: Instance,
  above: number,
  { node, log, dataDirectory }: HandsOptions,
): Promise<void> {
  const { room } = instance
  const empty = await emptyDisk(room)
  if (above > 0 && !empty.first)
    throw new DomainError(
      'unavailable',
      `${node} holds no data in ${dataDirectory}, and others have led before: it leads when it has been a Standby`,
    )
  await markFirst(room, empty)
  log('the first data of the cluster is made')
  await room.initialise(async (folder) => {
    await nameDisk(folder, node, room.runAs, empty.disk)
  })
  await forgetEmpty(room)
  await instance.launch()
}

/** For other nodes; in every copy, once it is made. */
async function makeReplicator({ asker }: Instance): Promise<void> {
  const known = await asker.ask('SELECT 1 FROM pg_roles WHERE rolname = $1', [REPLICATOR])
  if (known.length === 0) await asker.ask(`CREATE ROLE ${REPLICATOR} LOGIN REPLICATION`)
}

/** The control file knows its timeline only then; nobody waits for that. */
function checkpoint({ room }: Instance, { address, log }: HandsOptions): void {
  const database = connect(waitingForNobody(room.url('postgres', address.port)), 1)
  database
    .query('CHECKPOINT')
    .catch((error: unknown) => log(`no checkpoint after the promotion: ${describe(error)}`))
    .finally(() => database.close())
}

/** Nobody is waited for: durable here is enough to refuse an earlier epoch here. */
async function raise(room: Room, epoch: number, { node, clock, address }: HandsOptions): Promise<void> {
  const url = (database: string): string => waitingForNobody(room.url(database, address.port))
  await prepareDatabases(url)
  const main = connect(url('main'), 1)
  try {
    await main.transaction((session) => raiseEpoch(session, epoch, node, clock.wall()))
  } finally {
    await main.close()
  }
}
