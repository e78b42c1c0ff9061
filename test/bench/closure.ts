// What a permission check costs inside the stores when its caller holds many roles, far or near.
import { join } from 'node:path'
import { connect } from '#control-plane/ledger/connection.ts'
import { createReader } from '#control-plane/ledger/reader.ts'
import { openSqlite } from '#edge-follower/node/sqlite.ts'
import { createSnapshotStore } from '#edge-follower/store/snapshot-store.ts'
import { accessQuery } from '#shared/ledger/reads/access.ts'
import type { ReadStore } from '#shared/ledger/store.ts'
import { systemClock } from '#shared/node/clock.ts'
import { type Figure, figure } from './measure.ts'
import { must, reached, running } from './write.ts'

const asks = 201

/** Hosts that hold many roles: each by itself, or through the one before. */
const callers = { '1 000 roles': 'thousand', '10 000 roles': 'wide', '50 roles in a chain': 'deep' } as const

function policy(): string {
  const groups = (prefix: string, count: number): string[] =>
    Array.from({ length: count }, (_, i) => `  - !group ${prefix}${i}`)
  const granted = (prefix: string, count: number, host: string): string[] =>
    Array.from(
      { length: count },
      (_, i) => `  - !grant { role: !group ${prefix}${i}, member: !host ${host} }`,
    )
  const chain = Array.from(
    { length: 49 },
    (_, i) => `  - !grant { role: !group c${i + 1}, member: !group c${i} }`,
  )
  return [
    '- !policy',
    '  id: many',
    '  body:',
    '  - !variable v',
    '  - !host thousand',
    '  - !host wide',
    '  - !host deep',
    ...groups('t', 1_000),
    ...granted('t', 1_000, 'thousand'),
    ...groups('w', 10_000),
    ...granted('w', 10_000, 'wide'),
    ...groups('c', 50),
    ...chain,
    '  - !grant { role: !group c0, member: !host deep }',
    '  - !permit { roles: [ !group t999, !group w9999, !group c49 ], privilege: execute, resource: !variable v }',
    '',
  ].join('\n')
}

export const closures = (): Promise<Figure[]> =>
  running(async (machine, admin) => {
    const loaded = await must(201, admin.loadPolicy('root', policy()))
    await reached(admin.at(machine.follower.url), loaded)
    const leader = connect(machine.databaseUrl(), 1)
    const copy = openSqlite(join(machine.directory, 'edge-1', 'data.db'), 'reader')
    const figures: Figure[] = []
    for (const [name, host] of Object.entries(callers)) {
      const caller = `acme:host:many/${host}`
      const [remembering, ofLeader] = [createSnapshotStore(copy, systemClock), createReader(leader)]
      const stores: Record<string, () => ReadStore> = {
        // A store that has just begun remembers no closure.
        'Leader, first': () => createReader(leader),
        'Leader, again': () => ofLeader,
        'Follower, first': () => createSnapshotStore(copy, systemClock),
        'Follower, again': () => remembering,
      }
      for (const [where, open] of Object.entries(stores)) {
        figures.push(figure(`check, ${name}, ${where}`, 'ms', await times(open, caller)))
      }
    }
    copy.close()
    await leader.close()
    return figures
  })

async function times(open: () => ReadStore, caller: string): Promise<number[]> {
  const query = accessQuery('acme:variable:many/v')
  const taken: number[] = []
  for (let i = 0; i < asks; i++) {
    const store = open()
    const from = performance.now()
    const { rows } = await store.read({ statements: [query], caller })
    const { privileges } = query.read(rows[0]!)
    taken.push(performance.now() - from)
    if (!privileges.has('execute')) throw new Error(`${caller} may not execute`)
    // The next read begins a turn of its own, as the next request would.
    await new Promise(setImmediate)
  }
  return taken
}
