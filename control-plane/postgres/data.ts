// What stands in the cluster's folder and beside it: which disk it is, how it is made ready for recovery, how a copy takes
// its place. Every step may be the last one before a power loss.
import { readdir, readFile, rm, stat, truncate } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { DomainError } from '#shared/base/errors.ts'
import { randomBytes } from '#shared/base/native-crypto.ts'
import type { Lsn } from '../coordination/keys.ts'
import { renameDurably, writeDurably } from './durable.ts'
import { holdsData, type Room } from './room.ts'
import type { RunAs } from './run-as.ts'
import {
  firstHistory,
  type History,
  historyFile,
  newestWith,
  numbersToTake,
  parseHistory,
  segmentAt,
  segmentsOf,
  timelineAt,
  timelineOfFile,
} from './timeline.ts'

const beside = (cluster: string) => ({
  /** A copy that is being taken; never whole. */
  copying: `${cluster}.copying`,
  /** What a copy is just taking the place of. */
  replaced: `${cluster}.replaced`,
  /** What had records that the Leader has not, kept for the operator until the next such case. */
  diverged: `${cluster}.diverged`,
  /** What nobody needs: moved away at once, and removed in its own time. */
  removed: `${cluster}.removed-`,
  /** The disk while it holds nothing, and whether it was to hold the first data of the cluster. */
  empty: `${cluster}.empty`,
})

export const copyingFolder = ({ cluster }: Room): string => beside(cluster).copying

/** An interrupted copy is thrown away, and what it was to replace is put back. */
export async function clearLeftovers({ cluster }: Room): Promise<void> {
  await throwAway(cluster, beside(cluster).copying)
  await settleReplaced(cluster)
}

async function settleReplaced(cluster: string): Promise<void> {
  const { replaced } = beside(cluster)
  if (!(await holdsData(replaced))) await throwAway(cluster, replaced)
  // Nobody knows any more whether the Leader had all of it.
  else if (await holdsData(cluster)) await keepDiverged(cluster)
  else await renameDurably(replaced, cluster)
}

async function throwAway(cluster: string, folder: string): Promise<void> {
  const found = await stat(folder).catch(() => undefined)
  if (found !== undefined) await renameDurably(folder, `${beside(cluster).removed}${newDisk()}`)
}

async function keepDiverged(cluster: string): Promise<void> {
  const { replaced, diverged } = beside(cluster)
  await throwAway(cluster, diverged)
  await renameDurably(replaced, diverged)
}

/** The copy takes the place of what is there. Nothing runs in either. `diverged`: what was there is kept. */
export async function putInPlace({ cluster }: Room, diverged: boolean): Promise<void> {
  const { copying, replaced, empty } = beside(cluster)
  await settleReplaced(cluster)
  const held = await holdsData(cluster)
  if (held) await renameDurably(cluster, replaced)
  try {
    await renameDurably(copying, cluster)
  } catch (error) {
    if (held) await renameDurably(replaced, cluster)
    throw error
  }
  await rm(empty, { force: true })
  if (held) await (diverged ? keepDiverged(cluster) : throwAway(cluster, replaced))
}

/** Takes as long as there is data; nothing waits for it. */
export async function removeThrownAway({ cluster }: Room): Promise<void> {
  const prefix = basename(beside(cluster).removed)
  for (const name of await readdir(dirname(cluster)))
    if (name.startsWith(prefix)) await rm(join(dirname(cluster), name), { recursive: true, force: true })
}

/** Inside the data, so that it is of this data and no other, however it is moved. */
const DISK_FILE = 'holdfast.disk'

const newDisk = (): string => randomBytes(4).toHex()

/** Data that is new here, or changed in a way that is no going on: another disk from now on. */
export async function nameDisk(
  folder: string,
  node: string,
  runAs: RunAs,
  disk = newDisk(),
): Promise<string> {
  await writeDurably(join(folder, DISK_FILE), `${node} ${disk}\n`, runAs)
  return disk
}

/** Of the data; a copy that somebody made by hand bears another node's name, and gets an own one. */
export async function diskOf({ cluster, runAs }: Room, node: string): Promise<string> {
  const text = await readFile(join(cluster, DISK_FILE), 'utf8').catch(() => '')
  const [named, disk] = text.trim().split(' ')
  return named === node && disk !== undefined ? disk : nameDisk(cluster, node, runAs)
}

/** A disk without data. `first`: it was asked to hold the first data of the cluster. */
export type EmptyDisk = { readonly disk: string; readonly first: boolean }

/** It stays the same until it holds something; one that has lost what it held is another one. */
export async function emptyDisk({ cluster, runAs }: Room): Promise<EmptyDisk> {
  const { empty } = beside(cluster)
  const text = await readFile(empty, 'utf8').catch(() => undefined)
  if (text !== undefined) return JSON.parse(text) as EmptyDisk
  const made = { disk: newDisk(), first: false }
  await writeDurably(empty, JSON.stringify(made), runAs)
  return made
}

export async function markFirst({ cluster, runAs }: Room, { disk }: EmptyDisk): Promise<void> {
  await writeDurably(beside(cluster).empty, JSON.stringify({ disk, first: true }), runAs)
}

/** It holds something now. */
export const forgetEmpty = ({ cluster }: Room): Promise<void> => rm(beside(cluster).empty, { force: true })

/**
 * So that Postgres begins in recovery whatever it was when it ended (I4), and finds no setting in the data: what stands
 * there may be another node's, or an operator's, and would be stronger than ours.
 */
export async function prepareRecovery({ cluster, runAs }: Room): Promise<void> {
  await writeDurably(join(cluster, 'standby.signal'), '', runAs)
  await rm(join(cluster, 'recovery.signal'), { force: true })
  const settings = join(cluster, 'postgresql.auto.conf')
  if (await stat(settings).catch(() => undefined)) await truncate(settings)
  while (await forgetBegun(cluster)) {}
  await forgetLaterHistories(cluster)
}

/**
 * A Standby that goes over to another timeline receives the segment of the fork once more, from its beginning. One that
 * ended in the middle of that would read the new file and no other, find less than it has replayed, and take no question
 * until a Leader has sent the rest. Nothing is lost with it: Postgres completes the file of the one before up to the fork
 * before it begins the next. Answers whether there was something to forget.
 */
async function forgetBegun(cluster: string): Promise<boolean> {
  const folder = join(cluster, 'pg_wal')
  const names = await readdir(folder)
  const newest = newestWith(names)
  if (newest === undefined) return false
  const own = segmentsOf(names, newest)
  const { size } = await stat(join(folder, own[0]!))
  for (const fork of (await historyOf(cluster, newest)).forks) {
    const [before, after] = [fork.timeline, newest].map((timeline) => segmentAt(timeline, fork.end, size))
    const shared = fork.end % size
    if (!names.includes(before!) || !names.includes(after!)) continue
    const [complete, begun] = await Promise.all([before!, after!].map((name) => readFile(join(folder, name))))
    if (complete!.subarray(0, shared).equals(begun!.subarray(0, shared))) continue
    for (const name of [...own, historyFile(newest)]) await rm(join(folder, name))
    return true
  }
  return false
}

/** Numbers of the timelines of which there is a history, empty ones too. */
async function historiesOf(cluster: string): Promise<number[]> {
  const names = await readdir(join(cluster, 'pg_wal'))
  return names.map(timelineOfFile).filter((timeline) => timeline !== undefined)
}

async function historyOf(cluster: string, timeline: number): Promise<History> {
  if (timeline === 1) return firstHistory
  return parseHistory(timeline, await readFile(join(cluster, 'pg_wal', historyFile(timeline)), 'utf8'))
}

/**
 * The timeline of the last record before `end`. By the log itself: the newest history may be of a Leader of whom nothing
 * came, and whose log ours is no beginning of.
 */
export async function timelineHeld({ cluster }: Room, end: Lsn, segmentBytes: number): Promise<number> {
  const names = await readdir(join(cluster, 'pg_wal'))
  const timeline = newestWith(names, end, segmentBytes) ?? newestWith(names)
  if (timeline === undefined)
    throw new DomainError('unavailable', `there is no log in ${join(cluster, 'pg_wal')}`)
  return timelineAt(await historyOf(cluster, timeline), end)
}

/** Its number is given to nobody, and it is no history that can be followed. */
export async function takeNumbers({ cluster, runAs }: Room, own: number, above: number): Promise<void> {
  const taken = new Set(await historiesOf(cluster))
  for (const timeline of numbersToTake(taken, own, above))
    await writeDurably(join(cluster, 'pg_wal', historyFile(timeline)), '', runAs)
}

/** Whether a timeline after this one is known here. */
export const knowsLater = async ({ cluster }: Room, timeline: number): Promise<boolean> =>
  (await historiesOf(cluster)).some((known) => known > timeline)

/**
 * Recovery goes to the newest timeline of which there is a history, and fails where the log here does not lead to it: what
 * a promotion took and did not come to use, or what came from a Leader that was never followed. It comes again when it is
 * needed.
 */
async function forgetLaterHistories(cluster: string): Promise<void> {
  const newest = newestWith(await readdir(join(cluster, 'pg_wal')))
  if (newest === undefined) return
  for (const timeline of await historiesOf(cluster))
    if (timeline > newest) await rm(join(cluster, 'pg_wal', historyFile(timeline)))
}
