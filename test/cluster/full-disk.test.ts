// A Leader whose disk is full is no Leader: another one goes on, nothing is lost, and it comes back when there is room.
import { spawnSync } from 'node:child_process'
import { rmSync, statfsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { type Cluster, missing, startCluster } from './cluster.ts'
import { lost, overlaps, prepareLoad, startLoad } from './load.ts'
import { settled, startAll } from './settled.ts'

/** Undefined, with the reason, where no small disk can be had. */
const without = missing() ?? (process.getuid?.() === 0 ? undefined : 'only root can mount a small disk')
const DISK = '700m'
const mounted: string[] = []
let cluster: Cluster | undefined

afterAll(async () => {
  const gone = cluster?.close().catch(() => undefined)
  // What is mounted in it cannot be removed with it.
  for (const folder of mounted) spawnSync('umount', ['-l', folder])
  await gone
}, 60_000)

const mount = (folder: string): boolean => {
  const done = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${DISK},mode=0700`, 'holdfast-test', folder])
  if (done.status === 0) mounted.push(folder)
  return done.status === 0
}

test.skipIf(without !== undefined)(
  `a full disk of the Leader${without ? ` (${without})` : ''}`,
  async (context) => {
    cluster = await startCluster({
      followers: 1,
      furnish: (node, folder) => {
        if (node === 'a') mount(folder)
      },
    })
    if (mounted.length === 0) return context.skip('no file system may be mounted here')
    const { leader } = await startAll(cluster)
    const key = await prepareLoad(cluster)
    expect(leader.name).toBe('a')
    const load = await startLoad(cluster, key)
    const ballast = join(leader.directory, 'ballast')
    fill(ballast, leader.directory)
    const next = await cluster.leader(['a'])
    await load.acknowledgedAfter(performance.now())
    rmSync(ballast)
    const { leader: now } = await settled(cluster)
    await load.stop()
    expect(now.name).toBe(next.name)
    expect(load.journal.failedProbes).toEqual([])
    expect(overlaps(load.journal)).toEqual([])
    expect(await lost(cluster, key, load.journal)).toEqual([])
  },
  180_000,
)

/** To the last block. */
function fill(file: string, folder: string): void {
  const block = new Uint8Array(1024 * 1024)
  for (;;) {
    const { bavail, bsize } = statfsSync(folder)
    if (bavail === 0) return
    try {
      writeFileSync(file, bavail * bsize >= block.length ? block : block.subarray(0, bavail * bsize), {
        flag: 'a',
      })
    } catch (error) {
      // Postgres took the last of it in between.
      if ((error as NodeJS.ErrnoException).code === 'ENOSPC') return
      throw error
    }
  }
}
