// What every coordination store promises to the machine that finds a Leader (cluster 7.2, 7.3): the model that the
// machine is proved on, and etcd.
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import {
  type Candidate,
  copyOf,
  type Leadership,
  type Reign,
  type SyncDuty,
  type Transaction,
  transactions,
  type View,
} from '#control-plane/coordination/keys.ts'
import type { Appointment } from '#control-plane/coordination/orders.ts'
import type { CoordinationStore, Transacted } from '#control-plane/coordination/store.ts'
import { wall } from '#shared/base/time.ts'

/** One node's way to the store. */
export type Reaching = {
  readonly store: CoordinationStore
  /** Requests go through, answers do not, until `cut`. */
  hold(): void
  /** Ends the connections there are; new ones work. */
  cut(): void
}

export type Cluster = {
  node(name: string): Promise<Reaching>
  /** Lets time go by where it does not by itself. */
  pass(ms: number): void
  /** Forgets every revision but the newest. */
  compact(): Promise<void>
  kill(): Promise<void>
  restart(): Promise<void>
  close(): Promise<void>
}

const reason = { because: 'nobody led before', possibleLoss: false }
const disk = 'one'
const standing = (epochSeen: number): Candidate => ({ epochSeen, disk, timeline: 1, received: 700 })
const led = (node: string, epoch: number, timeline: number): Leadership => ({ node, disk, epoch, timeline })
const reign = (node: string, timeline: number): Reign => ({
  ...reason,
  node,
  how: 'election',
  timeline,
  above: 1,
})
const ordered = { id: 'one', by: 'alice', why: 'a test', drill: false }
const appointed = { ...reason, disk, how: 'switchover', order: ordered, until: null } as const
const duty = (node: string, epoch: number, change: number, standby: string | null): SyncDuty => ({
  epoch,
  change,
  leader: copyOf(node, disk),
  standby: standby === null ? null : copyOf(standby, disk),
})
const { attend, withdraw, nameSync } = transactions
const stand = (node: string, epoch: number) => transactions.stand(node, standing(epoch))
const lock = (node: string, epoch: number) => transactions.lock(node, standing(epoch), reason)
const take = (node: string, epoch: number, old?: string) =>
  transactions.take(led(node, epoch + 1, 0), duty(node, epoch + 1, 0, null), old, reign(node, 0))
const open = (leader: Leadership, timeline: number) =>
  transactions.open(leader, timeline, reign(leader.node, 0))

export function coordinationCases(name: string, start: () => Promise<Cluster>): void {
  describe(`coordination store: ${name}`, () => {
    let cluster: Cluster
    let a: Reaching
    let b: Reaching

    beforeEach(async () => {
      cluster = await start()
      a = await cluster.node('a')
      b = await cluster.node('b')
    })
    afterEach(() => cluster.close())

    async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
      while (!(await holds())) {
        cluster.pass(50)
        await new Promise((resolve) => setImmediate(resolve))
      }
    }

    const viewed = async (node: Reaching): Promise<View> => (await node.store.read())!

    async function each(node: Reaching, ...given: readonly Transaction[]): Promise<Transacted[]> {
      const outcomes: Transacted[] = []
      for (const transaction of given) outcomes.push(await node.store.transact(transaction))
      return outcomes
    }

    async function lead(node: Reaching, self: string, epoch: number, old?: string): Promise<void> {
      await node.store.grant('node')
      await node.store.grant('leader')
      const steps = [stand(self, epoch), lock(self, epoch), take(self, epoch, old)]
      expect(await each(node, ...steps)).toEqual(['done', 'done', 'done'])
    }

    test('an empty store is a view of nothing', async () => {
      expect(await viewed(a)).toMatchObject({
        epoch: 0,
        leader: undefined,
        promotion: undefined,
        pause: undefined,
      })
    })

    test('a transaction is done when its conditions hold, and otherwise nothing of it', async () => {
      await a.store.grant('node')
      await b.store.grant('node')
      // Nobody is locked for what it does not stand with.
      expect(await each(a, lock('a', 0), stand('a', 0), lock('a', 0))).toEqual(['refused', 'done', 'done'])
      await b.store.transact(stand('b', 0))
      expect(await b.store.transact(lock('b', 0))).toBe('refused')
      expect(await viewed(b)).toMatchObject({ promotion: { node: 'a', nextEpoch: 1 } })
      // Another value than the one that is there, and another epoch.
      expect(await b.store.transact(take('b', 0))).toBe('refused')
      expect(await a.store.transact(take('a', 1))).toBe('refused')
      expect(await viewed(a)).toMatchObject({ epoch: 0, leader: undefined, reigns: new Map() })
    })

    test('of many who lock at once, one does', async () => {
      await a.store.grant('node')
      await b.store.grant('node')
      await a.store.transact(stand('a', 0))
      await b.store.transact(stand('b', 0))
      const asked = [a, b].flatMap(({ store }, i) =>
        Array.from({ length: 8 }, () => store.transact(lock(i === 0 ? 'a' : 'b', 0))),
      )
      expect((await Promise.all(asked)).filter((outcome) => outcome === 'done')).toHaveLength(1)
    })

    test('a whole reign, and the next: lock, take, open, name a Standby', async () => {
      await a.store.grant('node')
      expect(await each(a, attend('a'), stand('a', 0))).toEqual(['done', 'done'])
      expect((await viewed(b)).candidates).toEqual(new Map([['a', standing(0)]]))
      await a.store.grant('leader')
      expect(await each(a, lock('a', 0), take('a', 0))).toEqual(['done', 'done'])
      expect(await viewed(b)).toMatchObject({
        epoch: 1,
        leader: led('a', 1, 0),
        promotion: undefined,
        candidates: new Map(),
        present: new Map([['a', {}]]),
        evicted: new Map(),
      })
      expect(await each(a, open(led('a', 1, 0), 7), open(led('a', 1, 0), 8))).toEqual(['done', 'refused'])
      const [nobody, standby] = [duty('a', 1, 0, null), duty('a', 1, 1, 'b')]
      const named = nameSync(led('a', 1, 7), nobody, standby)
      // Said again, it was done; one that was under way since before is refused.
      const late = nameSync(led('a', 1, 7), nobody, duty('a', 1, 1, null))
      expect(await each(a, named, named, late)).toEqual(['done', 'done', 'refused'])
      // While somebody leads nobody stands or locks.
      await b.store.grant('node')
      expect(await each(b, attend('b'), stand('b', 1), lock('b', 1))).toEqual(['done', 'refused', 'refused'])
      // Not renewed: it ends by itself.
      await until(async () => (await viewed(b)).leader === undefined)
      expect(await a.store.transact(nameSync(led('a', 1, 7), standby, duty('a', 1, 2, null)))).toBe('refused')
      await lead(b, 'b', 1, 'a')
      expect(await viewed(a)).toMatchObject({
        epoch: 2,
        leader: led('b', 2, 0),
        sync: duty('b', 2, 0, null),
        evicted: new Map([['a', { epoch: 2 }]]),
        reigns: new Map([
          [1, reign('a', 7)],
          [2, reign('b', 0)],
        ]),
      })
      await a.store.grant('node')
      expect(await a.store.transact(attend('a'))).toBe('refused')
    })

    test('a hand-over: taken at once by the one that is appointed, or taken back, never both', async () => {
      await lead(a, 'a', 0)
      await b.store.grant('node')
      await b.store.grant('leader')
      const [own, nobody, standby] = [led('a', 1, 0), duty('a', 1, 0, null), duty('a', 1, 1, 'b')]
      const order = { ...ordered, epoch: 1, target: 'b', until: wall(9_000) }
      const appointment: Appointment = { ...appointed, node: 'b', nextEpoch: 2, from: copyOf('a', disk) }
      const give = transactions.handOver(own, standby, order, appointment)
      const back = transactions.reclaim(own, appointment, 'nobody took it')
      // On the duty and the order only.
      expect(await each(a, give, transactions.order(order), give)).toEqual(['refused', 'done', 'refused'])
      expect(await each(a, nameSync(own, nobody, standby), give, give)).toEqual(['done', 'done', 'done'])
      expect(await viewed(b)).toMatchObject({ leader: undefined, appointment })
      // Nobody is locked meanwhile.
      expect(await each(b, stand('b', 1), lock('b', 1))).toEqual(['done', 'refused'])
      expect(await each(a, back, back, give)).toEqual(['done', 'done', 'refused'])
      expect(await viewed(b)).toMatchObject({
        leader: own,
        appointment: undefined,
        switchover: undefined,
        switched: { order: ordered, done: false, because: 'nobody took it' },
      })
      const again = { ...order, id: 'two' }
      const next = { ...appointment, order: { ...ordered, id: 'two' } }
      const accept = transactions.accept(led('b', 2, 0), duty('b', 2, 0, 'a'), undefined, reign('b', 0), next)
      expect(
        await each(a, transactions.order(again), transactions.handOver(own, standby, again, next)),
      ).toEqual(['done', 'done'])
      expect(await each(b, accept)).toEqual(['done'])
      expect(await each(a, transactions.reclaim(own, next, 'late'))).toEqual(['refused'])
      expect(await viewed(a)).toMatchObject({
        epoch: 2,
        leader: led('b', 2, 0),
        appointment: undefined,
        switchover: undefined,
        switched: { done: true },
        evicted: new Map(),
      })
    })

    test('what is given goes with the lease of who gives', async () => {
      await lead(a, 'a', 0)
      const [own, nobody] = [led('a', 1, 0), duty('a', 1, 0, null)]
      const order = { ...ordered, epoch: 1, target: null, until: wall(9_000) }
      const appointment: Appointment = { ...appointed, node: 'b', nextEpoch: 2, from: null }
      const give = transactions.handOver(own, nobody, order, appointment)
      expect(await each(a, transactions.order(order), give)).toEqual(['done', 'done'])
      await until(async () => (await viewed(b)).appointment === undefined)
      expect((await viewed(b)).leader).toBeUndefined()
    })

    test('a pause keeps everybody from the leadership, but for who saw that it is over', async () => {
      await a.store.grant('node')
      await a.store.grant('leader')
      const pause = { by: 'alice', why: 'a test', until: wall(1_000) }
      const over = { pause, appointment: undefined }
      expect(await each(a, stand('a', 0), transactions.pause(pause), lock('a', 0))).toEqual([
        'done',
        'done',
        'refused',
      ])
      expect(await each(a, transactions.lock('a', standing(0), reason, over), take('a', 0))).toEqual([
        'done',
        'refused',
      ])
      expect((await viewed(b)).pause).toEqual(pause)
      expect(await each(a, transactions.resume(), take('a', 0))).toEqual(['done', 'done'])
    })

    test('who is out is let in by its very eviction, and a leadership is given back by who has it', async () => {
      await lead(a, 'a', 0)
      const { resign, rejoin, readmit, report } = transactions
      expect(await each(a, resign(led('a', 2, 0)), resign(led('a', 1, 0)))).toEqual(['refused', 'done'])
      await lead(b, 'b', 1, 'a')
      const [old, eviction, leader] = [{ epoch: 1 }, { epoch: 2 }, led('b', 2, 0)]
      expect(
        await each(
          a,
          report('a', eviction, 'why'),
          rejoin('a', old, leader),
          rejoin('a', eviction, led('b', 1, 0)),
        ),
      ).toEqual(['done', 'refused', 'refused'])
      expect((await viewed(b)).present.get('a')).toEqual({ state: 'evicted', reason: 'why' })
      expect(await each(b, readmit('a', old), rejoin('a', eviction, leader))).toEqual(['refused', 'done'])
      expect(await each(a, attend('a'))).toEqual(['done'])
      expect(await viewed(b)).toMatchObject({ evicted: new Map(), present: new Map([['a', {}]]) })
    })

    test('what was written under a lease ends with it, and only that', async () => {
      await lead(a, 'a', 0)
      await a.store.transact(attend('a'))
      await until(async () => {
        expect((await a.store.keep('node')).outcome).toBe('kept')
        return (await viewed(b)).leader === undefined
      })
      expect(await viewed(b)).toMatchObject({
        epoch: 1,
        present: new Map([['a', {}]]),
        sync: duty('a', 1, 0, null),
      })
    })

    test('a lost lease is said to be lost, carries no write, and another takes its place', async () => {
      expect((await a.store.keep('node')).outcome).toBe('lost')
      expect(await a.store.transact(attend('a'))).toBe('refused')
      await a.store.grant('node')
      await a.store.transact(attend('a'))
      expect((await a.store.keep('node')).outcome).toBe('kept')
      await until(async () => (await viewed(b)).present.size === 0)
      expect(await a.store.transact(attend('a'))).toBe('refused')
      expect((await a.store.keep('node')).outcome).toBe('lost')
      expect((await a.store.keep('node')).outcome).toBe('lost')
      expect(await a.store.transact(attend('a'))).toBe('refused')
      expect(await a.store.transact(withdraw('a'))).toBe('done')
      expect((await a.store.grant('node')).outcome).toBe('granted')
      expect(await a.store.transact(attend('a'))).toBe('done')
    })

    test('a leadership goes with the lease that was granted for it, not with one before', async () => {
      await a.store.grant('leader')
      await lead(a, 'a', 0)
      expect((await a.store.keep('leader')).outcome).toBe('kept')
      expect((await viewed(b)).leader).toEqual(led('a', 1, 0))
    })

    test('a connection that is cut after sending: nobody knows, and it may be done', async () => {
      await a.store.grant('node')
      a.hold()
      const asked = a.store.transact(attend('a'))
      await until(async () => (await viewed(b)).present.has('a'))
      a.cut()
      expect(await asked).toBe('unknown')
      await until(async () => (await a.store.transact(stand('a', 0))) === 'done')
      await until(async () => (await a.store.transact(lock('a', 0))) === 'done')
      expect(await viewed(a)).toMatchObject({ present: new Map([['a', {}]]), promotion: { node: 'a' } })
    })

    test('a renewal that is not answered is unknown, not lost', async () => {
      await a.store.grant('node')
      a.hold()
      const answers: unknown[] = []
      const asked = [a.store.keep('node'), a.store.grant('leader'), a.store.read()]
      void Promise.all(asked).then((all) => answers.push(...all))
      await until(() => answers.length > 0)
      expect(answers).toMatchObject([{ outcome: 'unknown' }, { outcome: 'unknown' }, undefined])
      a.cut()
      await until(async () => (await a.store.keep('node')).outcome === 'kept')
    })

    test('a watch begins with the view as it is and sees every change, in order, also across a cut', async () => {
      const leaders: (number | undefined)[] = []
      await b.store.grant('node')
      await b.store.transact(attend('b'))
      await lead(b, 'b', 0)
      const seen: View[] = []
      a.store.watch((view) => {
        seen.push(view)
        leaders.push(view.leader?.timeline)
      })
      await until(() => seen.length > 0)
      expect(seen[0]).toMatchObject({ epoch: 1, present: new Map([['b', {}]]) })
      const step = (timeline: number) => b.store.transact(open(led('b', 1, timeline), timeline + 1))
      for (const timeline of [0, 1, 2]) await step(timeline)
      await until(() => leaders.at(-1) === 3)
      a.hold()
      for (const timeline of [3, 4, 5]) await step(timeline)
      a.cut()
      for (const timeline of [6, 7, 8]) await step(timeline)
      await until(() => leaders.at(-1) === 9)
      expect(leaders).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
      // A transaction is one change: each view has both of its writes.
      expect(seen.map(({ reigns }) => reigns.get(1)?.timeline)).toEqual(leaders)
      const revisions = seen.map(({ revision }) => revision)
      expect(revisions).toEqual([...new Set(revisions)].sort((x, y) => x - y))
    })

    test('a watch sees what ends with a lease', async () => {
      const present: number[] = []
      a.store.watch((view) => void present.push(view.present.size))
      await b.store.grant('node')
      await b.store.transact(attend('b'))
      await until(() => present.at(-1) === 1)
      await until(() => present.at(-1) === 0)
    })

    test('where the changes are forgotten a watch goes on with the view as it is', async () => {
      await lead(b, 'b', 0)
      const seen: (number | undefined)[] = []
      a.store.watch((view) => void seen.push(view.leader?.timeline))
      await until(() => seen.length > 0)
      a.hold()
      for (const timeline of [0, 1, 2]) await b.store.transact(open(led('b', 1, timeline), timeline + 1))
      await cluster.compact()
      a.cut()
      await until(() => seen.at(-1) === 3)
      expect(seen).toEqual([0, 3])
      await b.store.transact(open(led('b', 1, 3), 4))
      await until(() => seen.at(-1) === 4)
    })

    test('a watch that is closed tells nothing more', async () => {
      const seen: number[] = []
      const watch = a.store.watch(({ epoch }) => void seen.push(epoch))
      await until(() => seen.length > 0)
      await watch.close()
      await lead(b, 'b', 0)
      expect(await viewed(a)).toMatchObject({ epoch: 1 })
      expect(seen).toEqual([0])
    })

    test('a killed store: everything is unknown; started again, it goes on where it was', async () => {
      const seen: (Leadership | undefined)[] = []
      a.store.watch(({ leader }) => void seen.push(leader))
      await lead(b, 'b', 0)
      await until(() => seen.at(-1) !== undefined)
      await cluster.kill()
      const named = nameSync(led('b', 1, 0), duty('b', 1, 0, null), duty('b', 1, 1, 'a'))
      expect(await b.store.transact(named)).toBe('unknown')
      expect((await b.store.keep('leader')).outcome).toBe('unknown')
      expect((await b.store.grant('node')).outcome).toBe('unknown')
      expect(await b.store.read()).toBeUndefined()
      await cluster.restart()
      await until(async () => (await b.store.keep('leader')).outcome === 'kept')
      await until(async () => (await b.store.transact(open(led('b', 1, 0), 5))) === 'done')
      await until(() => seen.at(-1)?.timeline === 5)
      // A transaction that was never sent is not done later.
      expect((await viewed(b)).sync).toEqual(duty('b', 1, 0, null))
    })

    test('a store that is closed answers unknown', async () => {
      await a.store.grant('node')
      a.hold()
      const asked = a.store.transact(attend('a'))
      await a.store.close()
      expect(await asked).toBe('unknown')
      expect(await a.store.read()).toBeUndefined()
    })
  })
}
