// What is at stake: a Worker that the Leader dials is dialled by the next Leader, and goes on from the copy that it has. It fails
// no read meanwhile, and what it has recorded arrives once; who led before is not heard there any more.
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

describe.skipIf(without !== undefined)(
  `a cluster that dials a Worker${without ? ` (${without})` : ''}`,
  () => {
    let folder: string
    let cluster: Cluster
    let workerKey: string
    let random: Random

    beforeAll(async () => {
      random = seeded(runSeed('edge'))
      folder = mkdtempSync(join(tmpdir(), 'holdfast-edge-'))
      bundleEdge(folder)
      cluster = await startCluster({ followers: 1, edgeBundle: join(folder, 'index.js') })
      await startAll(cluster)
      workerKey = await prepareLoad(cluster)
    }, 120_000)
    afterAll(async () => {
      await cluster?.close()
      rmSync(folder, { recursive: true, force: true })
    }, 60_000)

    const copy = async (): Promise<Copy> => {
      const answer = await fetch(`${cluster.followers[0]!.url}/health`)
      return ((await answer.json()) as { replication: Copy }).replication
    }

    test.each(chosenFaults.filter(({ moves }) => moves === 'always'))(
      '$name',
      { timeout: trialTimeoutMs },
      async (fault) => {
        const before = await copy()
        await outlive(fault, { cluster, workerKey, random })
        const { replication } = (await cluster.healthOf(await cluster.leader()))!
        expect(replication!.epoch).toBeGreaterThan(before.epoch)
        const after = await eventually(
          'it follows',
          copy,
          ({ state, epoch }) => state === 'live' && epoch === replication!.epoch,
        )
        // Not taken anew: gone on with.
        expect(after.snapshot_id).toBe(before.snapshot_id)
      },
    )
  },
)
