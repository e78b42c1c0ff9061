// What a real Postgres says of its replication, from both of its ends.
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { appendFileSync, chownSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { connect, type Database } from '#control-plane/ledger/connection.ts'
import { watchLocal } from '#control-plane/local-facts.ts'
import { findBinaries } from '#control-plane/postgres/binaries.ts'
import { type ReplicationFacts, readReplication } from '#control-plane/postgres/replication.ts'
import { findRunAs } from '#control-plane/postgres/run-as.ts'
import { createPostgres, type PostgresServer } from '#control-plane/postgres/server.ts'
import { systemClock } from '#shared/node/clock.ts'

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

async function primary(folder: string): Promise<PostgresServer> {
  const postgres = createPostgres({
    dataDirectory: folder,
    binaries: await findBinaries(process.env.PGBIN),
    clock: systemClock,
    log: () => undefined,
    durable: false,
  })
  await postgres.start()
  return postgres
}

/** A copy of the stopped primary's files that streams from it under this name. */
async function standby(from: PostgresServer, folder: string, name: string): Promise<Database> {
  const cluster = join(folder, 'standby')
  const { prefix, owner } = await findRunAs()
  const sockets = join(folder, 'sockets')
  const [command, ...words] = [...prefix, join(await findBinaries(process.env.PGBIN), 'postgres')]
  const upstream = new URL(from.url('x'))
  const conninfo = `user=${upstream.username} host=${upstream.searchParams.get('host')} application_name='${name}'`
  const settings = {
    listen_addresses: '',
    port: '5433',
    unix_socket_directories: sockets,
    primary_conninfo: conninfo,
  }
  appendFileSync(join(cluster, 'standby.signal'), '')
  if (owner !== undefined) chownSync(join(cluster, 'standby.signal'), owner.uid, owner.gid)
  const args = Object.entries(settings).flatMap(([key, value]) => ['-c', `${key}=${value}`])
  const child = spawn(command!, [...words, '-D', cluster, ...args], { stdio: 'ignore' })
  cleanups.push(async () => {
    child.kill('SIGQUIT')
    await once(child, 'exit')
  })
  const database = connect(
    `postgresql://${upstream.username}@localhost:5433/postgres?host=${encodeURIComponent(sockets)}`,
    1,
  )
  cleanups.push(() => database.close())
  return database
}

/** Asks until it is so. */
async function until(database: Database, isSo: (facts: ReplicationFacts) => boolean) {
  for (;;) {
    const facts = await readReplication(database).catch(() => undefined)
    if (facts !== undefined && isSo(facts)) return facts
    await systemClock.sleep(20)
  }
}

test('a Leader says who streams from it and how far, a Standby what it has', async () => {
  const data = mkdtempSync(join(tmpdir(), 'holdfast-replication-'))
  cleanups.push(() => rmSync(data, { recursive: true, force: true }))
  const first = await primary(data)
  await first.stop()
  // Files keep their owner.
  spawnSync('cp', ['-a', join(data, 'postgres'), join(data, 'standby')])
  const postgres = await primary(data)
  cleanups.push(() => postgres.stop())
  const leader = connect(postgres.url('postgres'), 1)
  cleanups.push(() => leader.close())
  expect(await readReplication(leader)).toMatchObject({ recovering: false, receiving: false, replicas: [] })

  appendFileSync(join(data, 'postgres', 'pg_hba.conf'), 'local replication all trust\n')
  await leader.query('SELECT pg_reload_conf()')
  const follower = await standby(postgres, data, 'node-2#5f3a9c01')
  const level = await until(leader, ({ end, replicas: [first] }) => {
    const { state, sent_lsn, replay_lsn } = first ?? {}
    return state === 'streaming' && sent_lsn === end && replay_lsn === end
  })
  expect(level.replicas).toEqual([
    {
      usename: 'holdfast',
      application_name: 'node-2#5f3a9c01',
      client_addr: null,
      client_hostname: null,
      backend_start: expect.stringMatching(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \+0000$/),
      state: 'streaming',
      sent_lsn: level.end,
      replay_lsn: level.end,
      sync_priority: 0,
      sync_state: 'async',
      sent_lsn_bytes: level.endBytes,
      replay_lsn_bytes: level.endBytes,
      replication_lag_bytes: 0,
    },
  ])
  const copy = await until(follower, ({ receiving, endBytes }) => receiving && endBytes! >= level.endBytes!)
  expect(copy).toMatchObject({ recovering: true, replicas: [] })
  const [high, low] = level.end!.split('/').map((part) => Number.parseInt(part, 16))
  expect(level.endBytes).toBe(high! * 2 ** 32 + low!)
})

test('facts of a node whose Postgres and folder are not there are unknown, and are not waited for', async () => {
  const nowhere = connect('postgresql://x@localhost/postgres?host=%2Fnowhere', 1)
  const stop = new AbortController()
  const local = watchLocal(nowhere, '/nowhere', systemClock, stop.signal)
  expect(local()).toEqual({ replication: undefined, space: undefined })
  stop.abort()
  await nowhere.close()
})
