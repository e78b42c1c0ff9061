// The two processes beside the supervisor, as the machine's doors: who answers clients, and the watchdog.
import type { Clock, Monotonic } from '#shared/base/time.ts'
import type { Log } from '#shared/node/log.ts'
import type { Signature } from './coordination/orders.ts'
import type { Doors } from './failover/driver.ts'
import type { Hands, PostgresProbe } from './failover/hands.ts'
import {
  type FromApi,
  type LinkedProcess,
  type NodeStatus,
  startLinked,
  type ToApi,
  type ToWatchdog,
} from './node-link.ts'
import type { Deed } from './operator/deeds.ts'
import type { ManagedSettings, NodeSettings } from './settings.ts'

const API = new URL('./api.ts', import.meta.url)
const WATCHDOG = new URL('./watchdog.ts', import.meta.url)

/** All that is asked of a Postgres here. */
type Answering = Pick<PostgresProbe, 'answers' | 'writes'>

export type Processes = {
  readonly doors: Doors & { well(probe: Answering): boolean }
  tell(status: NodeStatus): void
  account(deed: Deed): Promise<Signature | undefined>
  close(): Promise<void>
}

const WELL_WITHIN_MS = 2_000
const RESTART_MS = 200
/** Longer than it takes the next Leader to open. */
const AWAY_MS = 1_500

/** Who answers clients, and the watchdog: started again when they end, and told everything anew. */
export function startProcesses(
  settings: NodeSettings | ManagedSettings,
  hands: Pick<Hands, 'url' | 'pid'>,
  clock: Clock,
  log: Log,
): Processes {
  let api: LinkedProcess<ToApi>
  let watchdog: LinkedProcess<ToWatchdog>
  /** Of what it leads and serves; undefined: nothing. */
  let epoch: number | undefined
  let deadline: Monotonic | undefined
  let wellAt: Monotonic | undefined
  let status: NodeStatus | undefined
  let closed = false
  let closing: LinkedProcess<ToApi> | undefined
  /** It was told that it leads, or is about to: nothing but its end shows that it does so no more. */
  let hasLed = false
  let ended: Promise<void> = Promise.resolve()
  let away = new AbortController()
  let drain: { readonly asked: Monotonic; readonly done: () => void } | undefined
  let accounting:
    | { readonly id: string; readonly done: (signature: Signature | undefined) => void }
    | undefined

  const lead = (): void => {
    if (epoch === undefined || deadline === undefined) return
    hasLed = true
    api.send({ kind: 'lead', epoch, deadline })
  }

  const watch = (): void => {
    const pids = [api.pid, hands.pid()].filter((pid) => pid !== undefined)
    watchdog.send({ kind: 'watch', pids })
  }

  function startApi(): void {
    wellAt = undefined
    hasLed = false
    const started = startLinked<ToApi, FromApi>(API, (message) => {
      if (started !== api) return
      if (message.kind === 'well' && message.ok) wellAt = clock.monotonic()
      if (message.kind === 'accounted' && message.id === accounting?.id) accounting.done(message.signature)
      if (message.kind === 'drained' && message.asked === drain?.asked) drain.done()
    })
    api = started
    started.send({ kind: 'start', settings, databaseUrl: hands.url('DATABASE') })
    if (status !== undefined) started.send({ kind: 'status', status })
    lead()
    void started.ended.then(async () => {
      if (closed || closing === started || started !== api) return
      log.warn('the process that answers clients has ended; starting it again')
      await clock.sleep(RESTART_MS)
      if (!closed && started === api) startApi()
    })
    if (watchdog !== undefined) watch()
  }

  function startWatchdog(): void {
    const started = startLinked<ToWatchdog, never>(WATCHDOG, () => undefined)
    watchdog = started
    started.send({ kind: 'deadline', deadline })
    watch()
    void started.ended.then(async () => {
      if (closed || started !== watchdog) return
      log.warn('the watchdog has ended; starting it again')
      await clock.sleep(RESTART_MS)
      if (!closed) startWatchdog()
    })
  }

  async function endApi(): Promise<void> {
    const old = api
    closing = old
    hasLed = false
    await old.kill()
    void startLater(old)
  }

  /** Not at once: where nodes share a machine, to start it takes the processor from the node that takes over. */
  async function startLater(old: LinkedProcess<ToApi>): Promise<void> {
    away = new AbortController()
    // A deadline has been set again: this node leads on.
    if (deadline === undefined) await clock.sleep(AWAY_MS, away.signal)
    if (!closed && old === api) startApi()
  }

  startApi()
  startWatchdog()
  const rewatch = setInterval(watch, WATCH_EVERY_MS)
  return {
    doors: {
      setDeadline(at) {
        away.abort()
        deadline = at
        api.send({ kind: 'deadline', deadline: at })
        watchdog.send({ kind: 'deadline', deadline: at })
      },
      prepare(next) {
        hasLed = true
        api.send({ kind: 'prepare', epoch: next })
      },
      open(opened) {
        epoch = opened
        lead()
      },
      drain(asked) {
        const { promise, resolve } = Promise.withResolvers<void>()
        drain = { asked, done: resolve }
        api.send({ kind: 'drain', asked })
        return promise
      },
      async close(why) {
        log.warn('closing', { why })
        epoch = undefined
        deadline = undefined
        watchdog.send({ kind: 'deadline', deadline })
        if (hasLed) ended = endApi()
        await ended
      },
      well(probe: Answering) {
        const answers = wellAt !== undefined && clock.monotonic() - wellAt < WELL_WITHIN_MS
        return probe.answers && answers && (epoch === undefined || probe.writes)
      },
    },
    tell(next) {
      if (JSON.stringify(next) === JSON.stringify(status)) return
      status = next
      api.send({ kind: 'status', status })
    },
    async account(deed) {
      const { promise, resolve, reject } = Promise.withResolvers<Signature | undefined>()
      accounting = { id: deed.id, done: resolve }
      api.send({ kind: 'deed', deed })
      const late = setTimeout(
        () => reject(new Error(`${deed.id} was not accounted for in time`)),
        ACCOUNT_WITHIN_MS,
      )
      return promise.finally(() => clearTimeout(late))
    },
    async close() {
      closed = true
      away.abort()
      clearInterval(rewatch)
      await Promise.all([api.kill(), watchdog.kill()])
    },
  }
}

const ACCOUNT_WITHIN_MS = 5_000

/** A Postgres that was started again has another process. */
const WATCH_EVERY_MS = 500
