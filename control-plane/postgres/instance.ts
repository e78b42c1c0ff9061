// One node's Postgres: our child, only ever started in recovery (I4), with settings of our own. What ends by itself is
// started again in recovery.
import { chown, mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { DomainError } from '#shared/base/errors.ts'
import { type Asker, createAsker } from './asking.ts'
import { prepareRecovery } from './data.ts'
import { writeWhole } from './durable.ts'
import type { NodeTls } from './peer.ts'
import { backoffMs, holdsData, type Room, type RoomOptions, type Running, STARTS } from './room.ts'
import {
  type Address,
  alone,
  asFile,
  type Changing,
  commonSettings,
  nodeMap,
  nodeRules,
  nodeSettings,
  type TlsFiles,
} from './settings.ts'
import { until } from './waiting.ts'

export type InstanceOptions = RoomOptions & {
  readonly address: Address
  readonly tls: NodeTls | undefined
}

export type Instance = {
  readonly room: Room
  readonly asker: Asker
  /** There is data. */
  holds(): boolean
  /** No log can come any more, whatever it followed before: true from a start on, until a source is named. */
  isCutOff(): boolean
  /** It was seen that none comes. */
  wasCutOff(): void
  /** A server runs on it, and takes questions. */
  runs(): boolean
  pid(): number | undefined
  /** In recovery, following nobody; without data nothing happens. */
  launch(change?: Partial<Changing>): Promise<void>
  /** Changes the settings; every process that begins from now on has them, and all others are told. */
  apply(change: Partial<Changing>): Promise<void>
  /** The certificate of the options is another one: connections that begin from now on see it. */
  renewed(): Promise<void>
  /** At once, and nobody is told that it ended. */
  end(): Promise<void>
  stop(): Promise<void>
  /** The same as files where Postgres finds them. */
  readonly tls: TlsFiles | undefined
}

const APPLIED_WITHIN_MS = 5_000

/** `ended`: by itself; nothing runs. */
export function createInstance(room: Room, options: InstanceOptions, ended: () => void): Instance {
  const { clock, log } = options
  const files = settingsFolder(options.dataDirectory)
  const tls = options.tls === undefined ? undefined : files.tls
  const url = room.url('postgres', options.address.port)
  const asker = createAsker(url, clock)
  let running: Running | undefined
  let ready = false
  let holds = false
  let changing = alone
  let hears = false
  let revision = 0

  /** Who may connect, and by what this node is known. */
  async function writeFolder(): Promise<void> {
    await mkdir(files.folder, { recursive: true, mode: 0o700 })
    const { owner } = room.runAs
    if (owner !== undefined) await chown(files.folder, owner.uid, owner.gid)
    if (options.tls !== undefined) await writeTls(options.tls, files.tls, room)
    const crl = options.tls?.crl
    if (crl !== undefined) await writeWhole(files.crl, crl, room.runAs)
    await writeWhole(files.rules, nodeRules(room.runAs, tls), room.runAs)
    await writeWhole(files.map, nodeMap(room.runAs), room.runAs)
  }

  let writing: Promise<unknown> = Promise.resolve()

  /** One after the other: a certificate may be renewed while something else changes. Answers the number of what is written. */
  function writeSettings(): Promise<number> {
    const written = writing.then(async () => {
      const number = ++revision
      const crl = options.tls?.crl === undefined ? {} : { crl: files.crl }
      const settings = {
        ...commonSettings(room.sockets, options.durable !== false),
        ...nodeSettings(changing, options.address, tls && { ...tls, ...crl }),
        'holdfast.revision': String(number),
      }
      await writeWhole(files.settings, asFile(settings), room.runAs)
      return number
    })
    writing = written.catch(() => undefined)
    return written
  }

  async function launchOnce(): Promise<void> {
    await writeFolder()
    await writeSettings()
    ready = false
    const started = await room.spawn(files.arguments, () => prepareRecovery(room))
    running = started
    await started.ready()
    ready = true
    void started.ended.then(() => {
      if (running !== started) return
      running = undefined
      ended()
    })
  }

  /** Postgres forks only when it has read the file and told all its processes: a new connection shows that. */
  async function isApplied(expected: number): Promise<boolean> {
    const fresh = createAsker(url, clock)
    try {
      const [row] = await fresh.ask("SELECT current_setting('holdfast.revision') AS revision")
      return Number(row?.revision) >= expected
    } finally {
      await fresh.close()
    }
  }

  /** Whoever ends it is not told that it ended. */
  function leave(): Running | undefined {
    const left = running
    running = undefined
    return left
  }

  return {
    room,
    asker,
    tls,
    holds: () => holds,
    isCutOff: () => !hears,
    wasCutOff() {
      hears = false
    },
    runs: () => running !== undefined && ready,
    pid: () => running?.pid(),
    async launch(change = {}) {
      changing = { ...alone, ...change }
      hears = changing.source !== ''
      holds = await holdsData(room.cluster)
      if (!holds) return
      for (let attempt = 1; ; attempt++) {
        try {
          return await launchOnce()
        } catch (error) {
          await leave()?.endAtOnce()
          if (attempt === STARTS) throw error
          log(`Postgres could not be started: ${describe(error)}`)
          await clock.sleep(backoffMs(attempt))
        }
      }
    },
    async renewed() {
      await writeFolder()
      if (running !== undefined) await apply({})
    },
    apply,
    end: async () => leave()?.endAtOnce(),
    async stop() {
      await leave()?.stop()
      await asker.close()
    },
  }

  async function apply(change: Partial<Changing>): Promise<void> {
    if (running === undefined) throw new DomainError('unavailable', 'Postgres does not run')
    changing = { ...changing, ...change }
    hears ||= changing.source !== ''
    const expected = await writeSettings()
    running.signal('SIGHUP')
    await until(clock, APPLIED_WITHIN_MS, 'new settings', () => isApplied(expected))
  }
}

export const describe = (error: unknown): string => (error instanceof Error ? error.message : String(error))

function settingsFolder(dataDirectory: string) {
  const folder = join(dataDirectory, 'postgres.settings')
  const at = (name: string): string => join(folder, name)
  const settings = at('postgresql.conf')
  const rules = at('pg_hba.conf')
  const map = at('pg_ident.conf')
  const named = { config_file: settings, hba_file: rules, ident_file: map }
  return {
    folder,
    settings,
    rules,
    map,
    tls: { ca: at('ca.crt'), cert: at('node.crt'), key: at('node.key') },
    crl: at('revoked.crl'),
    arguments: Object.entries(named).flatMap(([name, file]) => ['-c', `${name}=${file}`]),
  }
}

/** Where its own user reads them. */
async function writeTls(tls: NodeTls, files: TlsFiles, { runAs }: Room): Promise<void> {
  for (const name of ['ca', 'cert', 'key'] as const) await writeWhole(files[name], `${tls[name]}\n`, runAs)
}
