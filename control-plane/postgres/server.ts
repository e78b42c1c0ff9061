// The Postgres of a Leader that leads alone: made on first start, run as a child, brought back when it dies.
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { backoffMs, enterRoom, type Room, type RoomOptions, type Running, STARTS } from './room.ts'
import { asArguments, commonSettings, ownerMap, ownerRule } from './settings.ts'

export type PostgresOptions = RoomOptions

export type PostgresServer = {
  /** Connection URL of one of its databases, once it is started. */
  url(database: string): string
  pid(): number | undefined
  /** Resolves when it accepts connections. Throws `settings_invalid` when another process has the folder. */
  start(): Promise<void>
  /** Fast shutdown: ends connections and writes a checkpoint; whoever does not end in time is ended at once. */
  stop(): Promise<void>
}

/** A server that ran this long did not fail at its start. */
const STEADY_MS = 30_000

export function createPostgres(options: PostgresOptions): PostgresServer {
  const stopping = new AbortController()
  let room: Room | undefined
  let running: Running | undefined
  let restarting: Promise<void> | undefined

  async function launch(entered: Room): Promise<void> {
    await writeAccessRules(entered)
    const started = await entered.spawn(settingsOf(entered, options))
    running = started
    await started.ready()
    const since = options.clock.monotonic()
    void started.ended.then(() => {
      if (!stopping.signal.aborted)
        restarting = bringBack(entered, options.clock.monotonic() - since > STEADY_MS ? 0 : 1)
    })
  }

  /** Postgres died under us: start it again, more slowly each time it fails. */
  async function bringBack(entered: Room, failures: number): Promise<void> {
    options.log('Postgres ended unexpectedly; starting it again')
    for (let attempt = failures; !stopping.signal.aborted; attempt++) {
      await options.clock.sleep(backoffMs(attempt), stopping.signal)
      if (stopping.signal.aborted) return
      try {
        return await launch(entered)
      } catch (error) {
        options.log(`Postgres could not be started: ${describe(error)}`)
      }
    }
  }

  async function firstLaunch(entered: Room): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await launch(entered)
      } catch (error) {
        if (attempt === STARTS) throw error
        options.log(`Postgres could not be started: ${describe(error)}`)
        await options.clock.sleep(backoffMs(attempt), stopping.signal)
      }
    }
  }

  return {
    url: (database) => room!.url(database),
    pid: () => running?.pid(),
    async start() {
      const entered = await enterRoom(options)
      room = entered
      try {
        await entered.initialise()
        await firstLaunch(entered)
      } catch (error) {
        await running?.stop()
        await entered.leave()
        throw error
      }
    },
    async stop() {
      stopping.abort()
      await restarting
      await running?.stop()
      await room?.leave()
    },
  }
}

const describe = (error: unknown): string => (error instanceof Error ? error.message : String(error))

/** Whoever can reach the socket may connect, and that is the owner of its folder. Nothing else is listened on. */
async function writeAccessRules({ cluster, runAs }: Room): Promise<void> {
  await writeFile(join(cluster, 'pg_hba.conf'), ownerRule(runAs))
  if (runAs.owner !== undefined) await writeFile(join(cluster, 'pg_ident.conf'), ownerMap(runAs))
}

const settingsOf = ({ sockets }: Room, { durable }: PostgresOptions): string[] =>
  asArguments({ ...commonSettings(sockets, durable !== false), listen_addresses: '' })
