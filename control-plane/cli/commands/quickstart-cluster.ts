// `holdfast quickstart --cluster`: etcd of three, three control nodes, a balancer and a Follower on this machine. The cluster
// makes its own authority, and everybody else joins with a seed, in the order in which three machines are set up (README).
import { existsSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { ClusterStatus } from '#control-plane/operator/status.ts'
import { aborted } from '#shared/node/clock.ts'
import { readIdentity } from '#shared/node/identity.ts'
import { ask } from '../client.ts'
import { order } from '../operator.ts'
import { CommandError } from '../output.ts'
import {
  type Crew,
  createCrew,
  findPrograms,
  holdfast,
  type Job,
  type Programs,
  run,
} from './quickstart-crew.ts'
import {
  ALTNAMES,
  etcdctlFlags,
  etcdFlags,
  type Layout,
  layOut,
  type NodePlace,
  nodeAddresses,
  peerUrl,
} from './quickstart-layout.ts'
import {
  account,
  adminOf,
  fill,
  healthy,
  hostOf,
  isGone,
  main,
  moment,
  mustBeFree,
  PASSWORD,
  patiently,
  readAtFollower,
  readLines,
  say,
  secretPath,
  step,
  type Wanted,
  writeLines,
} from './quickstart-steps.ts'

const BALANCER = 'haproxy'
const etcdOf = ({ name }: NodePlace): string => `etcd of ${name}`

/** A cluster that is being started or runs. */
type Site = { readonly layout: Layout; readonly crew: Crew; readonly programs: Programs }

export async function quickstartCluster(wanted: Wanted, stop: AbortSignal): Promise<void> {
  const programs = findPrograms(process.env)
  const layout = await layOut(wanted)
  for (const port of layout.ports) await mustBeFree(port)
  const crew = createCrew()
  const site = { layout, crew, programs }
  const ending = aborted(stop)
  try {
    await Promise.race([raise(site), crew.failed, ending])
    if (stop.aborted) return
    if (wanted.once) await Promise.race([loseLeader(site), crew.failed, ending])
    else {
      await invite(site)
      await Promise.race([crew.failed, ending])
    }
  } finally {
    say('\nStopping …')
    const { nodes, follower } = layout
    await crew.close([
      [follower.name],
      nodes.map(({ name }) => name),
      [BALANCER],
      nodes.map((node) => etcdOf(node)),
    ])
    say('Everything is stopped; the data stays.')
  }
}

async function raise(site: Site): Promise<void> {
  const { layout, crew, programs } = site
  const { directory, nodes } = layout
  const again = existsSync(layout.hostKeyFile)
  say(again ? `Starting again on the data in ${directory}` : `Starting in ${directory}`)
  step(
    'For the lines below, in another shell',
    `holdfast() { '${process.execPath}' '${main}' "$@"; }`,
    ...Object.entries(session(layout)).map(([name, value]) => `export ${name}='${value}'`),
  )
  const words = ['-db', '-f', layout.balancerFile]
  crew.run({ name: BALANCER, command: programs.haproxy, words, log: layout.balancerLog }, false)
  await startNodes(site)
  await joinFollower(site)
  await leads(site)
  if (!again) await fill(layout)
  await readAtFollower(layout)
  await showStatus(nodes[0])
}

/** What commands of the API are told by the environment. */
const session = ({ leaderUrl, adminKeyFile }: Layout): NodeJS.ProcessEnv => ({
  HOLDFAST_URL: leaderUrl,
  HOLDFAST_ACCOUNT: account,
  HOLDFAST_API_KEY_FILE: adminKeyFile,
})

const isJoined = async (folder: string): Promise<boolean> => (await readIdentity(folder)) !== undefined

async function startEtcd(site: Site, node: NodePlace, members: readonly NodePlace[]): Promise<void> {
  const words = await etcdFlags(node, members)
  site.crew.run({ name: etcdOf(node), command: site.programs.etcd, words, log: node.etcdLog }, false)
}

const hasEtcd = ({ etcdFolder }: NodePlace): boolean => existsSync(join(etcdFolder, 'member'))

function startNode({ crew }: Site, { name, settingsFile, log }: NodePlace, ...more: readonly string[]): void {
  const words = [main, 'node', '--config', settingsFile, ...more]
  crew.run({ name, command: process.execPath, words, log }, true)
}

/** Each step may have been done at an earlier start. */
async function startNodes(site: Site): Promise<void> {
  const { layout } = site
  const [first, ...others] = layout.nodes
  if (!(await isJoined(first.folder))) {
    const init = ['ca', 'init', '--data-dir', first.folder, '--name', first.name, '--account', account]
    const names = ['--node-addresses', nodeAddresses(layout), '--altnames', ALTNAMES]
    await shown('Make the cluster, its authority and the identity of its first node', ...init, ...names)
  }
  for (const node of layout.nodes)
    if (node === first || hasEtcd(node)) await startEtcd(site, node, node === first ? [first] : layout.nodes)
  const joined = await Promise.all(others.map(({ folder }) => isJoined(folder)))
  const isAlone = joined.includes(false)
  // Writes of the first node can wait for no Standby as long as there is none.
  startNode(site, first, ...(isAlone ? ['--sync-required', 'false'] : []))
  for (const [i, node] of others.entries()) if (joined[i]) startNode(site, node)
  await leads(site)
  for (const [i, node] of others.entries()) {
    if (!joined[i]) await joinStandby(site, node)
    await joinEtcd(site, node, layout.nodes.slice(0, i + 2))
  }
  if (isAlone) await restartFirst(site)
}

/** Resolves when somebody answers at the cluster's address. */
const leads = ({ layout, crew }: Site): Promise<void> =>
  healthy(layout.leaderUrl, () => crew.mustRun(layout.nodes[0].name))

const POLICY = `- !policy
  id: conjur/cluster/main
  body:
  - !layer
  - &nodes
    - !host node-1
    - !host node-2
    - !host node-3
  - !grant { role: !layer, members: *nodes }
`

async function joinStandby(site: Site, node: NodePlace): Promise<void> {
  const { layout, crew } = site
  const policy = join(layout.directory, 'cluster.yml')
  if (!existsSync(policy)) {
    await writeFile(policy, POLICY)
    step('Tell the policy which nodes may join', `holdfast policy load -b root -f ${policy}`)
  }
  // It may have been written and not loaded.
  await atLeader(layout, 'policy', 'load', '-b', 'root', '-f', policy)
  await admit(layout, node, ['seed', 'standby', node.name, '--altnames', ALTNAMES])
  startNode(site, node)
  await patiently(async () => {
    crew.mustRun(node.name)
    // It may be read while it is written.
    if (!(await isJoined(node.folder)))
      throw new CommandError('not_joined', `${node.name} has not joined: see ${node.log}`)
  }, isGone)
}

/** Makes a seed at the Leader and lays it where its node looks for it. */
async function admit(
  layout: Layout,
  { name, folder }: Pick<NodePlace, 'name' | 'folder'>,
  words: readonly string[],
): Promise<void> {
  const file = join(layout.directory, `${name}.seed`)
  const unpack = ['unpack', 'seed', file, '--data-dir', folder]
  step(
    `Let ${name} join: a seed, made at the Leader, is taken to its machine and unpacked there`,
    `holdfast ${words.join(' ')} > ${file}`,
    `holdfast ${unpack.join(' ')}`,
  )
  await writeFile(file, await atLeader(layout, ...words), { mode: 0o600 })
  await holdfast(unpack)
}

/** One member after the other, each first as a learner: one that is not level yet does not count. */
async function joinEtcd(site: Site, node: NodePlace, members: readonly NodePlace[]): Promise<void> {
  const { layout, programs, crew } = site
  const flags = etcdctlFlags(layout.nodes[0])
  const etcdctl = (...words: readonly string[]): Promise<string> =>
    run(programs.etcdctl, [...flags, ...words])
  const memberOf = async (): Promise<readonly string[] | undefined> =>
    (await etcdctl('member', 'list'))
      .trim()
      .split('\n')
      .map((line) => line.split(', '))
      .find((fields) => fields[3] === peerUrl(node.etcdPeerPort))
  const add = ['member', 'add', node.name, '--learner', `--peer-urls=${peerUrl(node.etcdPeerPort)}`]
  // It is refused while the members that there are have only just found each other.
  const [id, ...known] = await patiently(async () => {
    if ((await memberOf()) === undefined) await etcdctl(...add)
    return (await memberOf())!
  })
  if (!hasEtcd(node)) await startEtcd(site, node, members)
  else if (known.at(-1) === 'false') return
  // Refused as long as it is not level with the others.
  await patiently(() => {
    crew.mustRun(etcdOf(node))
    return etcdctl('member', 'promote', id!)
  }, isGone)
}

/** It leads and does not insist on a Standby; from here on nobody leads without one. */
async function restartFirst(site: Site): Promise<void> {
  const { layout, crew } = site
  const [first] = layout.nodes
  await patiently(async () => {
    const { leader, sync } = await statusAt(first)
    if (leader !== null && leader.node !== first.name) return
    if (sync === null) throw new CommandError('no_standby', `no Standby takes the log: see ${first.log}`)
    const words = ['cluster', 'switchover', '--data-dir', first.folder, '--why', 'node-1 starts anew']
    await shown('Hand over, so that the first node can be started again with sync_required', ...words)
  })
  await crew.stop(first.name)
  startNode(site, first)
  await leads(site)
}

async function joinFollower({ layout, crew }: Site): Promise<void> {
  const { name, folder, settingsFile, log } = layout.follower
  if (!(await isJoined(folder))) await admit(layout, layout.follower, ['seed', 'follower', name])
  const words = [main, 'follower', '--config', settingsFile]
  const job: Job = { name, command: process.execPath, words, log }
  crew.run(job, false)
  await healthy(layout.followerUrl, () => crew.mustRun(name))
}

/** Shows a command, carries it out and shows what it said. */
async function shown(what: string, ...words: readonly string[]): Promise<void> {
  step(what, `holdfast ${words.map(quoted).join(' ')}`)
  say((await holdfast(words)).trim())
}

const quoted = (word: string): string => (/^[\w./:,=-]+$/.test(word) ? word : `'${word}'`)

const statusAt = ({ folder }: NodePlace): Promise<ClusterStatus> =>
  order<ClusterStatus>({ dataDir: folder }, 'status', {})

const showStatus = ({ folder }: NodePlace): Promise<void> =>
  shown('Who leads', 'cluster', 'status', '--data-dir', folder)

/** Who leads, with a Standby that has every write, and somebody who does not. */
const leaderAndWitness = ({ layout }: Site): Promise<readonly [NodePlace, NodePlace]> =>
  patiently(async () => {
    const { leader, sync } = await statusAt(layout.nodes[0])
    const found = layout.nodes.find(({ name }) => name === leader?.node)
    if (found === undefined || sync === null)
      throw new CommandError('no_leader', `nobody leads with a Standby: see ${layout.nodes[0].log}`)
    return [found, layout.nodes.find((node) => node !== found)!]
  })

async function invite(site: Site): Promise<void> {
  const { layout, crew } = site
  const [leader, witness] = await leaderAndWitness(site)
  step(
    `Now lose the Leader, ${leader.name}: all its processes at once`,
    `kill -9 -- -${crew.pidOf(leader.name)}`,
  )
  step(
    'Watch it: another node leads after some seconds; the lost one is started again and comes back as a Standby',
    `while sleep 1; do holdfast cluster status --data-dir ${witness.folder}; done`,
  )
  step('Write, at whoever leads', ...writeLines(layout, 'changed after the failover'))
  step('Read at the Follower, at any time', ...readLines(layout))
  say(`\nThe cluster ${layout.leaderUrl} and its Follower ${layout.followerUrl} stay up. Ctrl-C stops all.`)
}

/** The Leader is killed; a write is acknowledged by the next one; the Follower has answered all the time. */
async function loseLeader(site: Site): Promise<void> {
  const { layout, crew } = site
  const [leader, witness] = await leaderAndWitness(site)
  const { epoch } = await statusAt(witness)
  const reading = readUntil(layout)
  step(`Lose the Leader, ${leader.name}: all its processes at once`, `kill -9 -- -${crew.pidOf(leader.name)}`)
  crew.signal(leader.name, 'SIGKILL')
  const value = `changed after epoch ${epoch}`
  step('Write, at whoever leads', ...writeLines(layout, value))
  const began = performance.now()
  await acknowledged(layout, value)
  const after = ((performance.now() - began) / 1000).toFixed(1)
  const next = await statusAt(witness)
  say(`-> ${next.leader?.node} leads, and acknowledged it after ${after} s`)
  const { reads, refused } = await reading(value)
  step('Read at the Follower, all the time', ...readLines(layout))
  say(`-> ${value}: it answered ${reads} reads meanwhile, and failed ${refused} times`)
  if (refused > 0) throw new CommandError('reads_failed', 'the Follower did not answer all the time')
  await showStatus(witness)
}

/** Begins to read; the answer ends it as soon as a value is read. */
function readUntil(layout: Layout): (value: string) => Promise<{ reads: number; refused: number }> {
  let [reads, refused] = [0, 0]
  let wanted: string | undefined
  const done = (async () => {
    const session = await hostOf(layout)
    for (;;) {
      // How often it was refused is what this is for; the total is shown.
      const read = await ask(session, 'GET', secretPath(PASSWORD)).catch(() => undefined)
      if (read === undefined) refused++
      else reads++
      if (wanted !== undefined && read === wanted) return
      await moment()
    }
  })()
  return async (value) => {
    wanted = value
    await done
    return { reads, refused }
  }
}

/** Tries until somebody says that it is done. */
async function acknowledged(layout: Layout, value: string): Promise<void> {
  const admin = await adminOf(layout)
  await patiently(() => ask(admin, 'POST', secretPath(PASSWORD), value))
}

/** A command that whoever leads carries out; it may be done twice. */
const atLeader = (layout: Layout, ...words: readonly string[]): Promise<string> =>
  patiently(() => holdfast(words, session(layout)))
