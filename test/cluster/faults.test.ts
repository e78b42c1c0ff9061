// What is at stake: what `outlive` says, whatever happens to a cluster of real processes. HOLDFAST_SEED repeats a run's choices.
import { afterAll, beforeAll, describe, test } from 'vitest'
import { type Random, runSeed, seeded } from '../support/random.ts'
import { type Cluster, missing, startCluster, TTL_SECONDS } from './cluster.ts'
import { prepareLoad } from './load.ts'
import { startAll } from './settled.ts'
import { chosenFaults, outlive, trialTimeoutMs } from './trial.ts'

const without = missing()

describe.skipIf(without !== undefined)(
  `a cluster, ttl ${TTL_SECONDS} s${without ? ` (${without})` : ''}`,
  () => {
    let cluster: Cluster
    let workerKey: string
    let random: Random

    beforeAll(async () => {
      random = seeded(runSeed('cluster'))
      cluster = await startCluster()
      await startAll(cluster)
      workerKey = await prepareLoad(cluster)
    }, 120_000)
    afterAll(() => cluster?.close(), 60_000)

    test.each(chosenFaults)('$name', { timeout: trialTimeoutMs }, (fault) =>
      outlive(fault, { cluster, workerKey, random }),
    )
  },
)
