// Commands about who belongs to the cluster: seed, unpack, ca.
import { readFile } from 'node:fs/promises'
import { text as textOfStream } from 'node:stream/consumers'
import type { Command } from 'commander'
import { limits } from '#shared/base/limits.ts'
import { fingerprintOf } from '#shared/enrolment/bundle.ts'
import { unpackSeed } from '#shared/node/join.ts'
import { print } from '../output.ts'
import { call, type Flags, withSession } from './api.ts'
import { type EdgeFlags, makeEdgeSeed } from './edge.ts'

type SeedFlags = EdgeFlags & {
  readonly dr?: boolean
  readonly edge?: boolean
  readonly altnames?: string
  readonly ttl?: string
}

export function addMembershipCommands(program: Command): void {
  const seed = program.command('seed').description('make a seed, with which one node joins the cluster once')
  const seedOf = (kind: 'standby' | 'follower') =>
    withSession(seed.command(kind))
      .description(`write a seed for a ${kind} to standard output`)
      .argument('<name>', 'name of the node')
      .argument(
        '[leader]',
        'host:port of the node port to ask first; default: those of the Leader’s settings',
      )
      .option('--altnames <names>', 'further host names and addresses of the node, separated by commas')
      .option('--ttl <seconds>', `until it expires; default: ${limits.seedLifeSeconds}`)
      .action((name: string, leader: string | undefined, flags: SeedFlags) =>
        flags.edge === true
          ? makeEdgeSeed(name, flags)
          : makeSeed(flags.dr === true ? 'dr' : kind, name, leader, flags),
      )
  seedOf('standby').option('--dr', 'for disaster recovery: never promoted by itself')
  seedOf('follower')
    .option('--replication-set <name>', 'secrets that it holds; default: full')
    .option('--service-role <name>', 'what it serves; default: all')
    .option('--edge', 'a Follower without a file system: print the lines that deploy it as a Worker')
    .option('--regions <list>', 'with --edge: how many in which regions, such as weur=2,enam=1; default: one')
    .option('--dial <url>', 'with --edge: where the Leader dials it, https; default: it dials the Leader')
    .option('--leader-url <url>', 'with --edge: where it dials the Leader; default: the node that is asked')
    .option('--data-key-file <file>', 'with --edge: file with the data key (HOLDFAST_DATA_KEY_FILE)')

  program
    .command('unpack')
    .description('unpack what another node has made')
    .command('seed')
    .description('check a seed and lay it where the node of this folder takes it from at its start')
    .argument('<file>', 'file with the seed; -: standard input')
    .requiredOption('--data-dir <folder>', 'data folder of the node (data_dir)')
    .option('--json', 'answer as JSON')
    .action(async (file: string, flags: { dataDir: string; json?: boolean }) => {
      const text = await (file === '-' ? textOfStream(process.stdin) : readFile(file, 'utf8'))
      const { manifest, authority } = await unpackSeed(text, flags.dataDir, Date.now())
      const { clusterId, node, kind, expiresAt } = manifest
      print(
        flags.json ?? false,
        { node, kind, cluster_id: clusterId, authority, expires_at: new Date(expiresAt).toISOString() },
        `unpacked the seed of ${kind} ${node} for cluster ${clusterId}\nits authority is ${authority}: compare it with "holdfast ca list" if the seed came a way that you do not trust\nstart the node before ${new Date(expiresAt).toISOString()}`,
      )
    })

  addAuthorityCommands(program)
}

const listOf = (text: string): string[] => text.split(',').flatMap((item) => item.trim() || [])

async function makeSeed(
  kind: string,
  name: string,
  leader: string | undefined,
  flags: SeedFlags,
): Promise<void> {
  const given = Object.entries({
    follower_hostname: name,
    replication_set: flags.replicationSet,
    service_role: flags.serviceRole,
    altnames: flags.altnames,
    ttl: flags.ttl,
    leader,
  }).filter((pair): pair is [string, string] => pair[1] !== undefined)
  const body = Buffer.from(new URLSearchParams(given).toString())
  const seed = await call(flags, 'POST', (account) => `/configuration/${account}/seed/${kind}`, body)
  process.stdout.write(seed)
}

type Member = {
  readonly name: string
  readonly kind: string
  readonly edge: { readonly state: string; readonly dialled_at: string | null } | null
  readonly certificates: readonly {
    readonly serial: string
    readonly state: string
    readonly not_after: string
  }[]
}
type Members = {
  readonly cluster_id: string | null
  readonly authorities: readonly { readonly fingerprint: string }[]
  readonly nodes: readonly Member[]
  readonly seeds: readonly { readonly node: string; readonly kind: string; readonly expires_at: string }[]
}

type InitFlags = {
  readonly dataDir: string
  readonly name: string
  readonly account: string
  readonly nodeAddresses: string
  readonly altnames?: string
  readonly json?: boolean
}

function addAuthorityCommands(program: Command): void {
  const ca = program.command('ca').description('the cluster’s own authority and its certificates')
  ca.command('init')
    .description(
      'make a cluster’s authority and the identity of its first control node, before its first start',
    )
    .requiredOption('--data-dir <folder>', 'data folder of the node (data_dir)')
    .requiredOption('--name <name>', 'name of the node')
    .option('--account <account>', 'account of the installation', 'default')
    .requiredOption(
      '--node-addresses <addresses>',
      'where nodes reach whoever leads: host:port, separated by commas',
    )
    .option('--altnames <names>', 'further host names and addresses of the node, separated by commas')
    .option('--json', 'answer as JSON')
    .action(async ({ dataDir, name, account, nodeAddresses, altnames = '', json = false }: InitFlags) => {
      const { initCluster } = await import('#control-plane/enrolment/authority.ts')
      const { membership, authorities } = await initCluster({
        dataDirectory: dataDir,
        account,
        node: name,
        hosts: listOf(altnames),
        leaders: listOf(nodeAddresses),
        certificateLifeMs: limits.certificateLifeMs,
        now: Date.now(),
      })
      const made = { cluster_id: membership.clusterId, node: name, authority: fingerprintOf(authorities) }
      print(json, made, `made cluster ${made.cluster_id} with ${name}, authority ${made.authority}`)
    })
  withSession(ca.command('list'))
    .description('the authority, nodes with their certificates, seeds that were not used')
    .action(async (flags: Flags) => {
      const text = await call(flags, 'GET', (account) => `/configuration/${account}/nodes`)
      const members = JSON.parse(text) as Members
      print(flags.json ?? false, members, wordsOf(members))
    })
  withSession(ca.command('revoke'))
    .description(
      'put a node out: its certificates are revoked, its connections end, its seeds are taken back',
    )
    .argument('<name>', 'name of the node')
    .action(async (name: string, flags: Flags) => {
      await call(flags, 'DELETE', (account) => `/configuration/${account}/nodes/${encodeURIComponent(name)}`)
      print(flags.json ?? false, { node: name, revoked: true }, `${name} is out of the cluster`)
    })
}

function wordsOf({ cluster_id, authorities, nodes, seeds }: Members): string {
  return [
    `cluster ${cluster_id ?? '(this Leader takes no nodes in)'}`,
    ...authorities.map(({ fingerprint }) => `authority ${fingerprint}`),
    ...nodes.flatMap(({ name, kind, certificates, edge }) => [
      `${kind} ${name}`,
      ...(edge === null
        ? []
        : [`  bearer  ${edge.state}${edge.dialled_at === null ? '' : `  dialled at ${edge.dialled_at}`}`]),
      ...certificates.map(({ serial, state, not_after }) => `  ${serial}  ${state}  until ${not_after}`),
    ]),
    ...seeds.map(({ node, kind, expires_at }) => `seed for ${kind} ${node} until ${expires_at}`),
  ].join('\n')
}
