// What is at stake: a Worker that the Leader dials is dialled by the next Leader, one that dials finds it, and each goes on from the
// copy that it has. They fail no read meanwhile, and what they have recorded arrives once.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { bundleEdge } from '../support/edge-bundle.ts'
import { type Random, runSeed, seeded } from '../support/random.ts'
import { type Cluster, missing, startCluster } from './cluster.ts'
import { prepareLoad } from './load.ts'
import { eventually, startAll } from './settled.ts'
import { chosenFaults, outlive, trialTimeoutMs } from './trial.ts'

const without = missing()

type Copy = { readonly state: string; readonly epoch: number; readonly snapshot_id: string }

describe.skipIf(without !== undefined)(`a cluster with Workers${without ? ` (${without})` : ''}`, () => {
  let folder: string
  let cluster: Cluster
  let workerKey: string
  let random: Random

  beforeAll(async () => {
    random = seeded(runSeed('edge'))
    folder = mkdtempSync(join(tmpdir(), 'holdfast-edge-'))
    bundleEdge(folder)
    cluster = await startCluster({ followers: 2, edgeBundle: join(folder, 'index.js') })
    await startAll(cluster)
    workerKey = await prepareLoad(cluster)
  }, 120_000)
  afterAll(async () => {
    await cluster?.close()
    rmSync(folder, { recursive: true, force: true })
  }, 60_000)

  const copies = (): Promise<Copy[]> =>
    Promise.all(
      cluster.followers.map(async ({ url }) => {
        const answer = await fetch(`${url}/health`)
        return ((await answer.json()) as { replication: Copy }).replication
      }),
    )
  const snapshots = (found: readonly Copy[]): string[] => found.map(({ snapshot_id }) => snapshot_id)

  test.each(chosenFaults.filter(({ moves }) => moves === 'always'))(
    '$name',
    { timeout: trialTimeoutMs },
    async (fault) => {
      const before = await copies()
      await outlive(fault, { cluster, workerKey, random })
      const { epoch } = (await cluster.healthOf(await cluster.leader()))!.cluster
      const after = await eventually('they follow', copies, (found) =>
        found.every((copy) => copy.state === 'live' && copy.epoch === epoch),
      )
      for (const copy of before) expect(copy.epoch).toBeLessThan(epoch)
      // Not taken anew: gone on with.
      expect(snapshots(after)).toEqual(snapshots(before))
    },
  )
})
