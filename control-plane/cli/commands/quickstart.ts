// `holdfast quickstart`: a Leader and a Follower on this machine, a team's policy, and the first secret read. With
// `--cluster` a whole cluster (quickstart-cluster.ts).
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import type { Command } from 'commander'
import { toBase64, toHex } from '#shared/base/bytes.ts'
import { randomBytes } from '#shared/base/native-crypto.ts'
import { aborted } from '#shared/node/clock.ts'
import { CommandError } from '../output.ts'
import { stopSignal } from './nodes.ts'
import { quickstartCluster } from './quickstart-cluster.ts'
import {
  account,
  end,
  fill,
  healthy,
  keepFile,
  main,
  mustBeFree,
  mustRun,
  readAtFollower,
  say,
  start,
  type Wanted,
} from './quickstart-steps.ts'

type Flags = Omit<Wanted, 'directory'> & { readonly dataDir?: string; readonly cluster?: boolean }

export function addQuickstart(program: Command): void {
  program
    .command('quickstart')
    .description('run a Leader and a Follower here, load an example, read a secret; stays up until Ctrl-C')
    .option('--cluster', 'a whole cluster instead of one Leader: needs etcd and HAProxy')
    .option(
      '--data-dir <folder>',
      'where keys and data are kept; default: ./data, of a cluster ./data/cluster',
    )
    .option('--leader-port <port>', 'port of the Leader, or of the cluster’s address', '8080')
    .option('--follower-port <port>', 'port of the Follower', '8081')
    .option('--once', 'end after the steps; of a cluster the loss of its Leader is one of them')
    .action((flags: Flags) => {
      const { dataDir, ...others } = flags
      return flags.cluster
        ? quickstartCluster({ ...others, directory: resolve(dataDir ?? './data/cluster') }, stopSignal())
        : quickstart({ ...others, directory: resolve(dataDir ?? './data') })
    })
}

async function quickstart(flags: Wanted): Promise<void> {
  const stop = stopSignal()
  const place = placeOf(flags)
  for (const port of [flags.leaderPort, flags.followerPort]) await mustBeFree(Number(port))
  await mkdir(place.directory, { recursive: true, mode: 0o700 })
  const again = existsSync(place.hostKeyFile)
  await keepFile(place.dataKeyFile, () => toBase64(randomBytes(32)))
  await keepFile(place.bearerFile, () => toHex(randomBytes(32)))
  say(again ? `Starting again on the data in ${place.directory}` : `Starting in ${place.directory}`)
  const leader = startNode('leader', place)
  const nodes = [leader]
  try {
    await healthy(place.leaderUrl, () => mustRun(leader, place.leaderUrl, place.leaderLog))
    const follower = startNode('follower', place)
    nodes.push(follower)
    await healthy(place.followerUrl, () => mustRun(follower, place.followerUrl, place.followerLog))
    if (!again) await fill(place)
    await readAtFollower(place)
    if (flags.once) return
    say(`\nLeader ${place.leaderUrl} and Follower ${place.followerUrl} stay up. Ctrl-C stops both.`)
    await Promise.race([aborted(stop), ...nodes.map((node) => once(node, 'exit'))])
    if (!stop.aborted)
      throw new CommandError('node_ended', `a node ended: see the logs in ${place.directory}`)
  } finally {
    for (const node of nodes.reverse()) await end(node)
    say('Both are stopped; the data stays.')
  }
}

type Place = ReturnType<typeof placeOf>

function placeOf({ directory, leaderPort, followerPort }: Wanted) {
  return {
    directory,
    leaderPort,
    followerPort,
    leaderUrl: `http://127.0.0.1:${leaderPort}`,
    followerUrl: `http://127.0.0.1:${followerPort}`,
    dataKeyFile: join(directory, 'data.key'),
    bearerFile: join(directory, 'edge-1.bearer'),
    hostKeyFile: join(directory, 'web-1.key'),
    adminKeyFile: join(directory, 'leader', 'admin.key'),
    leaderLog: join(directory, 'leader.log'),
    followerLog: join(directory, 'edge-1.log'),
  }
}

function startNode(program: 'leader' | 'follower', place: Place): ChildProcess {
  const own: Record<string, string> =
    program === 'leader'
      ? {
          HOLDFAST_NAME: 'leader-1',
          HOLDFAST_PORT: place.leaderPort,
          HOLDFAST_URL: place.leaderUrl,
          HOLDFAST_DATA_DIR: join(place.directory, 'leader'),
          HOLDFAST_FOLLOWERS: `edge-1=${place.bearerFile}`,
        }
      : {
          HOLDFAST_NAME: 'edge-1',
          HOLDFAST_PORT: place.followerPort,
          HOLDFAST_DATA_DIR: join(place.directory, 'edge-1'),
          HOLDFAST_LEADER_URL: place.leaderUrl,
          HOLDFAST_BEARER_FILE: place.bearerFile,
        }
  const log = program === 'leader' ? place.leaderLog : place.followerLog
  const env = { HOLDFAST_ACCOUNT: account, HOLDFAST_DATA_KEY_FILE: place.dataKeyFile, ...own }
  return start(process.execPath, [main, program], log, { ...process.env, ...env })
}
