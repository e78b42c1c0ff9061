// One fault at a time on a cluster under load, and what has to hold when it is over. HOLDFAST_ROUNDS: how often every fault
// happens (`npm run test:cluster`); without it those that matter most, once. HOLDFAST_FAULT: only those with these words.
import { expect } from 'vitest'
import { limits } from '#shared/base/limits.ts'
import { Client } from '../support/nodes.ts'
import type { Random } from '../support/random.ts'
import type { Cluster } from './cluster.ts'
import { type Fault, faults } from './faults.ts'
import { type Load, longestGap, lost, overlaps, startLoad } from './load.ts'
import { eventually, settled, withLogs } from './settled.ts'

const ROUNDS = Number(process.env.HOLDFAST_ROUNDS ?? 0)
const ONLY = process.env.HOLDFAST_FAULT ?? ''

export const chosenFaults: readonly Fault[] = faults.filter(
  ({ name, always }) => (ROUNDS > 0 || always) && name.includes(ONLY),
)

export const trialTimeoutMs = (1 + ROUNDS) * 120_000

export type Trial = { readonly cluster: Cluster; readonly workerKey: string; readonly random: Random }

/** No acknowledged write is lost, no two Leaders answer at once, no Follower fails a read, every answer is audited once. */
export async function outlive(fault: Fault, trial: Trial): Promise<void> {
  const { cluster, workerKey } = trial
  const outages: number[] = []
  const load = await startLoad(cluster, workerKey)
  try {
    for (let round = 0; round < Math.max(1, ROUNDS); round++) outages.push(await once(fault, trial, load))
  } finally {
    await load.stop()
  }
  const { journal } = load
  expect(journal.failedProbes).toEqual([])
  expect(overlaps(journal)).toEqual([])
  expect(await lost(cluster, workerKey, journal)).toEqual([])
  await audited(cluster)
  expect(await auditFaults(cluster, load)).toEqual([])
  const sorted = outages.map(Math.round).sort((a, b) => a - b)
  process.stdout.write(
    `${fault.name}: ${sorted.length} rounds, no acknowledgement for ${sorted[sorted.length >> 1]} ms (${sorted[0]} to ${sorted.at(-1)}), ` +
      `${journal.answered.length} answers, ${journal.probed.length} reads at Followers\n`,
  )
}

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

/** Milliseconds in which nothing was acknowledged. */
async function once(fault: Fault, { cluster, random }: Trial, load: Load): Promise<number> {
  const { leader, sync } = await settled(cluster)
  await sleep(random.int(0, 1_000))
  const others = cluster.nodes.filter((node) => node !== leader && node !== sync)
  const from = performance.now()
  await fault
    .run({ cluster, load, random, leader, sync, others, adminKey: cluster.adminKey() })
    .catch(withLogs(cluster))
  const { leader: now } = await settled(cluster)
  if (fault.moves === 'always') expect(now.name).not.toBe(leader.name)
  if (fault.moves === 'never') expect(now.name).toBe(leader.name)
  return longestGap(load.journal, from)
}

async function audited(cluster: Cluster): Promise<void> {
  for (const follower of cluster.followers)
    await eventually(
      'the audit of a Follower is delivered',
      async () => (await (await fetch(`${follower.url}/health`)).json()) as { audit: { queued: number } },
      ({ audit }) => audit.queued === 0,
    )
}

/** Every answered request has one record, and none that has one has two. */
async function auditFaults(cluster: Cluster, { journal }: Load): Promise<string[]> {
  const admin = await new Client(cluster.url, cluster.account).login('admin', cluster.adminKey())
  const counts = new Map<string, number>()
  for (const msgid of ['update', 'fetch']) {
    for (let offset = 0; ; offset += limits.auditRowsPerAnswer) {
      const response = await admin.request('GET', `/audit?msgid=${msgid}&offset=${offset}`)
      if (response.status === 404) break
      const rows = (await response.json()) as { procid: string }[]
      for (const { procid } of rows) counts.set(procid, (counts.get(procid) ?? 0) + 1)
      if (rows.length < limits.auditRowsPerAnswer) break
    }
  }
  const answered = [...journal.answered.map(({ id }) => id), ...journal.probed]
  const wrong = answered.filter((id) => counts.get(id) !== 1)
  const twice = [...counts].filter(([id, count]) => id.startsWith('probe-') && count !== 1)
  return [
    ...wrong.map((id) => `${id} has ${counts.get(id) ?? 0} records`),
    ...twice.map(([id, count]) => `${id} has ${count} records`),
  ]
}
