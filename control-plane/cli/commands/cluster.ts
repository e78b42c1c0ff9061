// Commands about a cluster, carried out at the door of one of its control nodes (cluster 2, 8).
import type { Command } from 'commander'
import type { Evicted, Paused, Rejoined, Resumed } from '#control-plane/operator/acts.ts'
import type { Drilled, HandedOver } from '#control-plane/operator/handover.ts'
import type { Compared, PromotedByHand } from '#control-plane/operator/promotion.ts'
import { type ClusterStatus, statusWords } from '#control-plane/operator/status.ts'
import { durationMs, jsonInstant } from '#shared/base/time.ts'
import { type DoorFlags, operator, order, withDoor } from '../operator.ts'
import { CommandError, exitCodes, print } from '../output.ts'

type Why = DoorFlags & { readonly why: string }

const because = (command: Command): Command =>
  withDoor(command).option('--why <words>', 'why, for the record', 'no reason was given')

export function addClusterCommands(program: Command): void {
  const cluster = program.command('cluster').description('the control nodes, and who leads them')
  addStatus(cluster)
  addMembers(cluster)
  addPause(cluster)
  addHandover(cluster)
  addRecover(cluster)
  addPromote(program)
  addRebase(program)
}

function addStatus(cluster: Command): void {
  withDoor(cluster.command('status'))
    .description('who leads, every member, what was ordered, how the last leaderships came about')
    .option('--verify', 'check the signatures of the records')
    .action(async (flags: DoorFlags & { verify?: true }) => {
      const status = await order<ClusterStatus>(flags, 'status', { verify: flags.verify ?? false })
      print(flags.json ?? false, status, statusWords(status))
      if (!status.quorum)
        throw new CommandError(
          'store_unknown',
          'the coordination store does not answer, or is not believed (see the log of the node): this is what was last heard',
        )
      if (status.records.some(({ verified }) => verified === false))
        throw new CommandError('signature_wrong', 'a record is not what a Leader has signed')
    })
}

function addMembers(cluster: Command): void {
  const member = cluster.command('member').description('members of the cluster')
  withDoor(member.command('list'))
    .description('the members of the coordination store, as a JSON array')
    .action(async (flags: DoorFlags) => {
      const members = await order<readonly object[]>(flags, 'members', {})
      print(true, members, '')
    })
  because(member.command('remove'))
    .description('put a Standby out, until "cluster rejoin" lets it in again')
    .argument('<node>')
    .action(async (node: string, flags: Why) => {
      const done = await order<Evicted>(flags, 'evict', { by: operator(), why: flags.why, node })
      print(flags.json ?? false, done, done.was_out ? `${node} is out already` : `${node} is out`)
    })
  withDoor(cluster.command('rejoin'))
    .description('let a node in again that was put out; it takes a copy where its log has become another one')
    .argument('<node>')
    .action(async (node: string, flags: DoorFlags) => {
      const done = await order<Rejoined>(flags, 'rejoin', { by: operator(), node })
      const was = done.was_out ? `${node} is let in` : `${node} was not out`
      const words = done.present ? `${was} and is there` : `${was}, and is not there yet: start it`
      print(flags.json ?? false, done, words)
    })
}

function addPause(cluster: Command): void {
  because(cluster.command('pause'))
    .description('nobody is promoted by itself, whatever happens, until this is over')
    .requiredOption('--for <duration>', 'such as 30m, 2h, or PT30M; at most 7 days')
    .action(async (flags: Why & { for: string }) => {
      const for_ms = millisecondsOf(flags.for)
      const { until } = await order<Paused>(flags, 'pause', { by: operator(), why: flags.why, for_ms })
      const ends = jsonInstant(until)
      print(flags.json ?? false, { paused: true, until: ends }, `failover is paused until ${ends}`)
    })
  withDoor(cluster.command('resume'))
    .description('end a pause')
    .action(async (flags: DoorFlags) => {
      const done = await order<Resumed>(flags, 'resume', { by: operator() })
      const words = done.was_paused ? 'failover goes by itself again' : 'failover was not paused'
      print(flags.json ?? false, { paused: false, ...done }, words)
    })
}

/** `90s`, `30m`, `2h`, `1d`, or ISO 8601. */
function millisecondsOf(text: string): number {
  const [, number, unit] = /^(\d{1,6})([smhd])$/.exec(text) ?? []
  const ms =
    number === undefined
      ? durationMs(text)
      : Number(number) * { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 }[unit as 's' | 'm' | 'h' | 'd']
  if (ms !== undefined && ms > 0) return ms
  throw new CommandError(
    'usage',
    `--for ${text} is no duration: give one such as 30m, 2h or PT30M`,
    exitCodes.usage,
  )
}

const handedWords = ({ leader, record }: HandedOver): string =>
  record === null ? `${leader} leads already` : `${leader} leads, in epoch ${record.epoch}`

function addHandover(cluster: Command): void {
  because(cluster.command('switchover'))
    .description('another node leads, without a lost write; ends when it serves, or when it is given up')
    .option('--to <node>', 'who; default: the synchronous Standby')
    .action(async (flags: Why & { to?: string }) => {
      const asked = { by: operator(), why: flags.why, to: flags.to }
      const done = await order<HandedOver>(flags, 'switchover', asked)
      print(flags.json ?? false, done, handedWords(done))
    })
  because(cluster.command('drill'))
    .description('a switchover to see whether it works, recorded as a drill')
    .option('--to <node>', 'who; default: the synchronous Standby')
    .option('--back', 'and then back to who leads now')
    .action(async (flags: Why & { to?: string; back?: true }) => {
      const asked = { by: operator(), why: flags.why, to: flags.to, back: flags.back ?? false }
      const done = await order<Drilled>(flags, 'drill', asked)
      const words = [done.there, ...(done.back === null ? [] : [done.back])].map(handedWords)
      print(flags.json ?? false, done, words.join('\n'))
    })
}

type ByHand = Why & { readonly acceptDataLoss?: true }

const withLoss = (command: Command): Command =>
  because(command).option('--accept-data-loss', 'also when acknowledged writes may be lost')

async function byHand(flags: ByHand, name: 'promote' | 'recover'): Promise<void> {
  const accept_data_loss = flags.acceptDataLoss ?? false
  const done = await order<PromotedByHand>(flags, name, { by: operator(), why: flags.why, accept_data_loss })
  const { comparison, leader, because: reason } = done
  print(flags.json ?? false, done, [...comparison, `${leader} leads: ${reason}`].join('\n'))
}

function addRecover(cluster: Command): void {
  withLoss(cluster.command('recover'))
    .description(
      'begin a new, empty coordination store with this node as the Leader; all others are let in one by one',
    )
    .action((flags: ByHand) => byHand(flags, 'recover'))
}

/** Beside the commands about roles of policies. */
function addPromote(program: Command): void {
  const role = program.commands.find((command) => command.name() === 'role')!
  withLoss(role.command('promote'))
    .description('this node leads, of a paused cluster without a Leader; also a DR Standby')
    .action((flags: ByHand) => byHand(flags, 'promote'))
}

function addRebase(program: Command): void {
  const replication = program.command('replication').description('logs of control nodes')
  withDoor(replication.command('rebase'))
    .description('compare the log of this node with that of another')
    .argument('<host>', 'a member, or host:port of its Postgres')
    .requiredOption(
      '--dry-run',
      'to change something is not needed: nodes follow whoever leads by themselves',
    )
    .action(async (host: string, flags: DoorFlags) => {
      const found = await order<Compared>(flags, 'compare', { host })
      const { own, other, verdict } = found
      const follows = {
        stream: 'it can go on from here',
        copy: 'it would take a copy',
        refuse: 'it would refuse',
      }
      const lines = [
        `this node: timeline ${own.timeline}, ${own.end} bytes`,
        `${host}: timeline ${other.timeline}, ${other.end} bytes${other.leads ? ', leads' : ''}`,
        `${follows[verdict]}: ${found.because}`,
      ]
      print(flags.json ?? false, found, lines.join('\n'))
    })
}

/** `role show` without a role of a policy: what this node is. */
export async function showNodeRole(flags: DoorFlags): Promise<void> {
  const status = await order<ClusterStatus>(flags, 'status', {})
  const own = status.members.find(({ node }) => node === status.node)!
  const role = own.role === 'leader' ? 'master' : 'standby'
  print(flags.json ?? false, { node: own.node, role, dr: own.dr, state: own.state }, role)
}
