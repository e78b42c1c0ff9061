// `holdfast quickstart --cluster` as a newcomer runs it: a whole cluster that joins by seeds, loses its Leader and goes on.
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { findEtcd } from '../support/etcd.ts'
import { findHaproxy } from '../support/haproxy.ts'
import { type Ran, runCommand } from '../support/joining.ts'
import { freePorts } from '../support/nodes.ts'
import { findProgram } from '../support/programs.ts'

const programs = [findEtcd(), findProgram('etcdctl', process.env.HOLDFAST_ETCDCTL), findHaproxy()]

/** Of each start: a machine that does other things too is slow, and no slower. */
const BOUND_MS = 300_000

/** Command lines of what runs and names this folder. */
function runningIn(directory: string): string[] {
  return readdirSync('/proc')
    .filter((pid) => /^\d+$/.test(pid))
    .flatMap((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')
      } catch {
        // It has ended meanwhile.
        return []
      }
    })
    .filter((line) => line.includes(directory))
}

test('quickstart --cluster says what to install where something is missing', async () => {
  const nothing = { PATH: '/nonexistent', HOLDFAST_ETCD: '', HOLDFAST_ETCDCTL: '' }
  const { code, err, out } = await runCommand(['quickstart', '--cluster'], '', nothing)
  expect({ code, out }).toEqual({ code: 2, out: '' })
  expect(err).toMatch(/needs etcd and etcdctl.*apt-get install etcd-server etcd-client/)
})

describe.skipIf(programs.includes(undefined))(
  'quickstart --cluster (skipped where there is no etcd, etcdctl or haproxy)',
  () => {
    let directory: string
    let ports: readonly number[]
    beforeAll(async () => {
      directory = mkdtempSync(join(tmpdir(), 'holdfast-quickstart-'))
      ports = await freePorts(2)
    })
    afterAll(() => rmSync(directory, { recursive: true, force: true }))

    const run = (): Promise<Ran> => {
      const [leader, follower] = ports.map(String)
      const where = ['--data-dir', directory, '--leader-port', leader!, '--follower-port', follower!]
      return runCommand(['quickstart', '--cluster', '--once', ...where], '', {})
    }

    test(
      'everybody joins, the Leader is lost, and nothing is left running',
      async () => {
        const { code, out, err } = await run()
        expect({ code, err }, out).toEqual({ code: 0, err: '' })
        const steps = [
          /# Make the cluster, .*\nholdfast ca init /,
          /# Let node-3 join: .*\nholdfast seed standby node-3 /,
          /# Let edge-1 join: .*\nholdfast seed follower edge-1 /,
          /# Read a secret at the Follower\ncurl .*\n-> correct horse battery staple\n/,
          /# Lose the Leader, node-2: .*\nkill -9 -- -\d+\n/,
          /-> node-[13] leads, and acknowledged it after /,
          /-> changed after epoch 2: it answered \d+ reads meanwhile, and failed 0 times\n/,
          /epoch 3: node-[13] \(election, .* has every acknowledged write\n/,
        ]
        for (const step of steps) expect(out).toMatch(step)
        expect(runningIn(directory)).toEqual([])
      },
      BOUND_MS,
    )

    test(
      'it goes on with its data at the next start',
      async () => {
        const { code, out, err } = await run()
        expect({ code, err }, out).toEqual({ code: 0, err: '' })
        expect(out).toContain('Starting again on the data')
        expect(out).not.toContain('holdfast seed')
        expect(out).toMatch(/# Read a secret at the Follower\ncurl .*\n-> changed after epoch 2\n/)
        expect(out).toMatch(/ and failed 0 times\n/)
        expect(runningIn(directory)).toEqual([])
      },
      BOUND_MS,
    )
  },
)
