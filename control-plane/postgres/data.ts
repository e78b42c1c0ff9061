// What stands in the cluster's folder and beside it: which disk it is, how it is made ready for recovery, how a copy takes
// its place. Every step may be the last one before a power loss.
import { readdir, readFile, rm, stat, truncate } from 'node:fs/promises'
import { join } from 'node:path'
import { randomBytes } from '#shared/base/native-crypto.ts'
import { renameDurably, syncFolder, writeDurably } from './durable.ts'
import { holdsData, type Room } from './room.ts'
import type { RunAs } from './run-as.ts'
import {
  firstHistory,
  type History,
  historyFile,
  numbersToTake,
  parseHistory,
  timelineOfFile,
} from './timeline.ts'

const beside = (cluster: string) => ({
  /** A copy that is being taken; never whole. */
  copying: `${cluster}.copying`,
  /** What a copy is just taking the place of. */
  replaced: `${cluster}.replaced`,
  /** What had records that the Leader has not, kept for the operator until the next such case. */
  diverged: `${cluster}.diverged`,
  /** The disk while it holds nothing, and whether it was to hold the first data of the cluster. */
  empty: `${cluster}.empty`,
})

export const copyingFolder = ({ cluster }: Room): string => beside(cluster).copying

/** An interrupted copy is thrown away, and what it was to replace is put back. */
export async function clearLeftovers({ cluster }: Room): Promise<void> {
  const { copying, replaced, diverged } = beside(cluster)
  await rm(copying, { recursive: true, force: true })
  if (!(await holdsData(replaced))) return rm(replaced, { recursive: true, force: true })
  if (await holdsData(cluster)) {
    // Nobody knows any more whether the Leader had all of it.
    await rm(diverged, { recursive: true, force: true })
    await renameDurably(replaced, diverged)
  } else await renameDurably(replaced, cluster)
}

/** The copy takes the place of what is there. Nothing runs in either. `diverged`: what was there is kept. */
export async function putInPlace({ cluster }: Room, diverged: boolean): Promise<void> {
  const names = beside(cluster)
  if (await holdsData(cluster)) await renameDurably(cluster, names.replaced)
  await renameDurably(names.copying, cluster)
  await rm(names.empty, { force: true })
  if (!(await holdsData(names.replaced))) return
  if (!diverged) return rm(names.replaced, { recursive: true, force: true })
  await rm(names.diverged, { recursive: true, force: true })
  await renameDurably(names.replaced, names.diverged)
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
  await giveBackNumbers(cluster)
}

/** All that there are, by number; those that only take up a number are empty. */
async function historyFiles(cluster: string): Promise<ReadonlyMap<number, { readonly empty: boolean }>> {
  const found = new Map<number, { readonly empty: boolean }>()
  for (const name of await readdir(join(cluster, 'pg_wal'))) {
    const timeline = timelineOfFile(name)
    if (timeline === undefined) continue
    const { size } = await stat(join(cluster, 'pg_wal', name))
    found.set(timeline, { empty: size === 0 })
  }
  return found
}

const newestOf = (files: ReadonlyMap<number, { readonly empty: boolean }>): number =>
  Math.max(1, ...[...files].filter(([, { empty }]) => !empty).map(([timeline]) => timeline))

/** Of the newest timeline that is known here. */
export async function newestHistory({ cluster }: Room): Promise<History> {
  const timeline = newestOf(await historyFiles(cluster))
  if (timeline === 1) return firstHistory
  return parseHistory(timeline, await readFile(join(cluster, 'pg_wal', historyFile(timeline)), 'utf8'))
}

/** Empty files: nobody's history, and their numbers are not given to the next timeline. */
export async function takeNumbers({ cluster, runAs }: Room, own: number, above: number): Promise<void> {
  const folder = join(cluster, 'pg_wal')
  const taken = new Set((await historyFiles(cluster)).keys())
  for (const timeline of numbersToTake(taken, own, above))
    await writeDurably(join(folder, historyFile(timeline)), '', runAs)
  await syncFolder(folder)
}

/** Postgres does not start with an empty history as its newest: what a promotion took and did not come to use. */
async function giveBackNumbers(cluster: string): Promise<void> {
  const files = await historyFiles(cluster)
  const newest = newestOf(files)
  const unused = [...files].filter(([timeline, { empty }]) => empty && timeline > newest)
  for (const [timeline] of unused) await rm(join(cluster, 'pg_wal', historyFile(timeline)))
}
