// Commands that run or look at nodes: leader, node, follower, status, keys.
import { existsSync } from 'node:fs'
import type { Command } from 'commander'
import { aloneTable, isManaged, nodeTable } from '#control-plane/settings.ts'
import { followerTable } from '#edge-follower/settings.ts'
import { toBase64, toHex } from '#shared/base/bytes.ts'
import { randomBytes } from '#shared/base/native-crypto.ts'
import { writePrivateFile } from '#shared/node/files.ts'
import { createLog } from '#shared/node/log.ts'
import {
  originsOf,
  readSettings,
  type SettingsOf,
  type SettingTable,
  type Sources,
  showSettings,
} from '#shared/node/settings.ts'
import { send } from '../client.ts'
import { CommandError, exitCodes, print } from '../output.ts'

const FILE = 'holdfast.yml'

function withSettings(command: Command, table: SettingTable): Command {
  for (const [name, { doc }] of Object.entries(table)) {
    command.option(`--${name.replaceAll('_', '-')} <value>`, `${doc} (HOLDFAST_${name.toUpperCase()})`)
  }
  return command
    .option('--config <file>', `file of settings; default: ${FILE} if it is there`)
    .option('--print-settings', 'show every setting with its source, and end')
    .option('--json', 'settings and errors as JSON')
}

function sourcesOf(table: SettingTable, options: Readonly<Record<string, string | undefined>>): Sources {
  const camel = (name: string): string => name.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase())
  const flags = Object.fromEntries(Object.keys(table).map((name) => [name, options[camel(name)]]))
  return { flags, env: process.env, file: options.config ?? (existsSync(FILE) ? FILE : undefined) }
}

type NodeFlags = Readonly<Record<string, string | undefined>> & {
  readonly printSettings?: true
  readonly json?: true
}

/** The settings of a node, or nothing when they were only to be shown. */
function settingsFor<T extends SettingTable>(table: T, flags: NodeFlags): SettingsOf<T> | undefined {
  const sources = sourcesOf(table, flags)
  if (!flags.printSettings) return { ...readSettings(table, sources), origins: originsOf(table, sources) }
  const shown = showSettings(table, sources)
  const words = shown.map(({ name, value, from }) => `${name} = ${JSON.stringify(value)}  (${from})`)
  print(flags.json ?? false, shown, words.join('\n'))
  return undefined
}

/** Aborted by the first Ctrl-C or SIGTERM; a second one ends at once. */
export function stopSignal(): AbortSignal {
  const controller = new AbortController()
  const stop = (): void => {
    if (controller.signal.aborted) process.exit(exitCodes.failed)
    controller.abort()
  }
  process.on('SIGINT', stop)
  process.on('SIGTERM', stop)
  return controller.signal
}

export function addNodeCommands(program: Command): void {
  withSettings(program.command('leader'), aloneTable)
    .description('run a Leader with its own Postgres, or on a managed one')
    .action(async (flags: NodeFlags) => {
      const settings = settingsFor(aloneTable, flags)
      if (settings === undefined) return
      const log = createLog(settings.name, settings.log_level)
      if (isManaged(settings)) {
        const { runManagedNode } = await import('#control-plane/managed/node.ts')
        return runManagedNode(settings, stopSignal(), log)
      }
      const { runLeader } = await import('#control-plane/standalone.ts')
      await runLeader(settings, stopSignal(), log)
    })

  withSettings(program.command('node'), nodeTable)
    .description('run a control node of a cluster: Leader or Standby, as the cluster decides')
    .action(async (flags: NodeFlags) => {
      const settings = settingsFor(nodeTable, flags)
      if (settings === undefined) return
      const { runControlNode } = await import('#control-plane/supervisor.ts')
      await runControlNode(settings, stopSignal(), createLog(settings.name, settings.log_level))
    })

  withSettings(program.command('follower'), followerTable)
    .description('run a Follower')
    .action(async (flags: NodeFlags) => {
      const settings = settingsFor(followerTable, flags)
      if (settings === undefined) return
      const { runFollower } = await import('#edge-follower/node/main.ts')
      await runFollower(settings, stopSignal(), createLog(settings.name ?? 'follower', settings.log_level))
    })

  program
    .command('status')
    .description('health of nodes')
    .argument('[urls...]', 'nodes to ask', ['http://127.0.0.1:8080'])
    .option('--json', 'answer as JSON')
    .action(async (urls: string[], flags: { json?: boolean }) => {
      const nodes = await Promise.all(urls.map(healthOf))
      print(flags.json ?? false, nodes, nodes.map((node) => node.words).join('\n'))
      if (nodes.some((node) => !node.ok)) throw new CommandError('unhealthy', 'not every node is well')
    })

  program
    .command('keys')
    .description('keys of nodes')
    .command('new')
    .description('write a new data key, or with --bearer a new Follower bearer, to a file')
    .argument('<file>')
    .option('--bearer', 'a bearer instead of a data key')
    .action(async (file: string, flags: { bearer?: boolean }) => {
      if (existsSync(file))
        throw new CommandError('exists', `${file} is there already and is not overwritten`)
      const key = randomBytes(32)
      await writePrivateFile(file, `${flags.bearer ? toHex(key) : toBase64(key)}\n`)
      print(false, undefined, `wrote ${file}`)
    })
}

type ShownHealth = {
  readonly ok: boolean
  readonly role?: string
  readonly replication?: { readonly epoch: number; readonly seq: number; readonly age_ms: number }
  readonly cluster?: { readonly message?: string }
}

async function healthOf(url: string): Promise<{ url: string; ok: boolean; health: unknown; words: string }> {
  let answered = await send(`${url}/health`)
  let health = JSON.parse(answered.text) as ShownHealth
  // Balancers are to keep away from it; an operator wants to know whether it is a good one.
  if (health.role === 'standby') {
    answered = await send(`${url}/health?role=standby`)
    health = JSON.parse(answered.text) as ShownHealth
  }
  const { replication } = health
  const position =
    replication === undefined
      ? ''
      : ` at ${replication.epoch}.${replication.seq}, ${replication.age_ms} ms old`
  return {
    url,
    ok: answered.status === 200,
    health,
    words: `${url}  ${health.role}  ${health.ok ? 'ok' : 'NOT OK'}${position}${inCluster(health)}`,
  }
}

const inCluster = ({ cluster }: ShownHealth): string =>
  cluster?.message === undefined ? '' : `  (${cluster.message})`
