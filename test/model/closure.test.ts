// Every read that follows roles, on real SQLite, beside its naive twin: random graphs with cycles (P5).
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openSqlite } from '#edge-follower/node/sqlite.ts'
import { createReplicaStore } from '#edge-follower/store/replica-store.ts'
import { createSnapshotStore } from '#edge-follower/store/snapshot-store.ts'
import type { Sqlite } from '#edge-follower/store/sqlite.ts'
import { writeState } from '#edge-follower/store/state.ts'
import { allowed, need, visible } from '#shared/authz/decide.ts'
import { wall } from '#shared/base/time.ts'
import { putParams, putSql } from '#shared/ledger/change.ts'
import { accessQuery } from '#shared/ledger/reads/access.ts'
import { listCountQuery, listIdsQuery } from '#shared/ledger/reads/listing.ts'
import { otherAccessQuery, permittedRolesQuery } from '#shared/ledger/reads/resource.ts'
import { allRolesQuery, graphQuery } from '#shared/ledger/reads/role.ts'
import { type Batch, type FactsOf, type ReadStore, readFacts, statementsOf } from '#shared/ledger/store.ts'
import type { Row, TableName } from '#shared/ledger/tables.ts'
import { manualClock } from '../support/manual-clock.ts'
import { type Random, runSeed, seeded } from '../support/random.ts'
import * as model from './closure.model.ts'

const GRAPHS = 300
const PRIVILEGES = ['read', 'execute', 'update']
const ACCOUNTS = ['acme', 'acm', 'acme2']
const KINDS = ['user', 'host', 'group', 'layer', 'policy']
// Odd names: colons that look like kinds, case, bytes that sort differently as UTF-16.
const NAMES = ['a', 'A', 'B', 'b:group:c', 'x/user:y', 'z;', 'é', '\u{1f511}', '\uffee', "o'k", 'p%_!']

function randomWorld(random: Random): model.World {
  const roles = unique(random.int(2, 12), () => idOf(random, random.pick(KINDS)))
  const values = unique(random.int(1, 8), () => idOf(random, random.pick(['variable', 'webservice'])))
  const owners = new Map([...roles, ...values].map((id) => [id, random.pick(roles)]))
  const edges = Array.from({ length: random.int(0, roles.length * 2) }, () => ({
    role: random.pick(roles),
    member: random.pick(roles),
    ownership: random.next() < 0.3,
  }))
  const grants = Array.from({ length: random.int(0, 10) }, () => ({
    resource: random.pick([...owners.keys()]),
    role: random.pick(roles),
    privilege: random.pick(PRIVILEGES),
  }))
  return { roles, owners, edges, grants }
}

const idOf = (random: Random, kind: string): string =>
  `${random.pick(ACCOUNTS)}:${kind}:${random.pick(NAMES)}`

const unique = (count: number, draw: () => string): string[] => [
  ...new Set(Array.from({ length: count }, draw)),
]

let folder: string
let writer: Sqlite
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'holdfast-model-'))
  writer = openSqlite(join(folder, 'data.sqlite'), 'writer')
  createReplicaStore(writer)
})
afterAll(() => {
  writer.close()
  rmSync(folder, { recursive: true, force: true })
})

/** The world as rows of its own version, in place of the one before. */
function install(world: model.World, version: number): void {
  const put = (table: TableName, row: Row): void =>
    writer.run(putSql(table), putParams(table, row, new Uint8Array(32)))
  writer.transaction(() => {
    for (const table of ['roles', 'resources', 'memberships', 'permissions'])
      writer.run(`DELETE FROM ${table}`, [])
    for (const id of world.roles) put('roles', { id, policy: null, created_at: 1 })
    for (const [id, owner] of world.owners)
      put('resources', { id, owner, policy: null, created_at: 1, words: '' })
    for (const { role, member, ownership } of world.edges) {
      put('memberships', { role, member, ownership: ownership ? 1 : 0, admin_option: 0, policy: null })
    }
    for (const grant of world.grants) put('permissions', { ...grant, policy: null })
    writeState(writer, {
      position: { epoch: 1, seq: version },
      contentHash: '',
      newestAt: wall(0),
      dataVersion: version,
      snapshotId: '',
    })
  })
}

async function facts<B extends Batch>(store: ReadStore, caller: string, batch: B): Promise<FactsOf<B>> {
  const snapshot = await store.read({ statements: statementsOf(batch), caller })
  return readFacts(batch, snapshot.rows)
}

describe('roles and access, in SQL and in plain words', () => {
  const seed = runSeed('closure')
  test(`${GRAPHS} graphs, HOLDFAST_SEED=${seed}`, async () => {
    const random = seeded(seed)
    const reader = openSqlite(join(folder, 'data.sqlite'), 'reader')
    const store = createSnapshotStore(reader, manualClock())
    for (let version = 1; version <= GRAPHS; version++) {
      const world = randomWorld(random)
      install(world, version)
      // A new turn of the event loop: the reader's transaction of the last one has ended.
      await new Promise((resolve) => setImmediate(resolve))
      await compare(world, store, random)
    }
    reader.close()
  })
})

async function compare(world: model.World, store: ReadStore, random: Random): Promise<void> {
  const caller = random.pick(world.roles)
  const role = random.next() < 0.1 ? 'acme:group:absent' : random.pick(world.roles)
  const resource = random.next() < 0.1 ? 'acme:variable:absent' : random.pick([...world.owners.keys()])
  const privilege = random.pick(PRIVILEGES)
  const maybe = <T>(value: T): T | undefined => (random.next() < 0.5 ? value : undefined)
  const wanted = {
    account: maybe(random.pick(ACCOUNTS)),
    kind: maybe(random.pick([...KINDS, 'variable', 'Variable'])),
    owner: maybe(role),
    actingAs: maybe(random.pick(world.roles)),
  }
  const limit = random.int(1, 4)
  const offset = random.int(0, 4)
  const filter = { ...wanted, stems: undefined }
  const got = await facts(store, caller, {
    access: accessQuery(resource),
    other: otherAccessQuery(role, resource, privilege),
    all: allRolesQuery(role),
    graph: graphQuery(role),
    permitted: permittedRolesQuery(resource, privilege),
    ids: listIdsQuery(filter, undefined, 0),
    page: listIdsQuery(filter, limit, offset),
    count: listCountQuery(filter),
  })
  const seen = model.visible(world, caller, resource)
  const may = model.allowed(world, caller, privilege, resource)
  const ids = model.listed(world, caller, wanted)
  expect({
    visible: visible(got.access),
    allowed: allowed(got.access, privilege),
    need: need(got.access, privilege),
    ...got,
    access: undefined,
  }).toEqual({
    visible: seen,
    allowed: may,
    need: seen ? (may ? 'allowed' : 'forbidden') : 'not_found',
    other: {
      held: model.closure(world, caller).has(role),
      allowed: model.allowed(world, role, privilege, resource),
    },
    all: model.allRoles(world, role),
    graph: model.graph(world, caller, role),
    permitted: model.permittedRoles(world, resource, privilege),
    ids,
    page: ids.slice(offset, offset + limit),
    count: ids.length,
    access: undefined,
  })
}
