// What is at stake: who asks the audit finds every record that names the role or the resource, and no other.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { auditRows } from '#control-plane/audit/query.ts'
import { auditMigrations, createAuditStore } from '#control-plane/audit/store.ts'
import type { Database } from '#control-plane/ledger/connection.ts'
import { migrate } from '#control-plane/ledger/migrate.ts'
import type { AuditFilter } from '#shared/api/node.ts'
import { type AuditEvent, authnEvent, fetchEvent, policyEvent, whoamiEvent } from '#shared/audit/event.ts'
import { formatEvent } from '#shared/audit/rfc5424.ts'
import { randomBytes } from '#shared/base/native-crypto.ts'
import { systemClock } from '#shared/node/clock.ts'
import { noLines } from '../support/audit-lines.ts'
import { emptyDatabase } from '../support/postgres.ts'

const bob = { user: 'acme:user:bob', clientIp: '10.0.0.1' }
const app = { user: 'acme:host:app', clientIp: '10.0.0.2' }

const events: Readonly<Record<string, AuditEvent>> = {
  login: authnEvent(bob, {
    operation: 'login',
    role: bob.user,
    authenticator: 'authn',
    service: 'acme:webservice:conjur/authn',
  }),
  fetch: fetchEvent(app, { resource: 'acme:variable:db/pw' }),
  denied: fetchEvent(bob, { resource: 'acme:variable:db/pw', error: 'forbidden' }),
  odd: fetchEvent(app, { resource: 'acme:variable:a"]\\\u0000b' }),
  policy: policyEvent(bob, {
    operation: 'add',
    subject: { kind: 'membership', role: 'acme:group:ops', member: 'acme:user:eve' },
    policy: { id: 'acme:policy:root', version: 3 },
  }),
  whoami: whoamiEvent(app),
}

let database: Database
beforeAll(async () => {
  database = await emptyDatabase()
  await migrate(database, auditMigrations)
  const store = await createAuditStore({
    database,
    outbox: noLines,
    report: () => undefined,
    node: 'leader-1',
    random: randomBytes,
    clock: systemClock,
  })
  const lines = Object.entries(events).map(([procid, event], i) =>
    formatEvent(event, { procid, timestamp: Date.UTC(2026, 0, 5, 10, 20, 30, 100 * i) }),
  )
  // The order of storing is not the order of happening.
  await store.append(lines.reverse())
})
afterAll(() => database.close())

const find = async (filter: Partial<AuditFilter>): Promise<string[]> => {
  const rows = await auditRows(database, { columns: {}, sdata: [], ...filter })
  return rows.map((row) => (row as { procid: string }).procid)
}
const sdata = (id: string, parameter: string, value: string) => ({ sdata: [{ id, parameter, value }] })

describe('audit queries', () => {
  test('a row has the columns of the table, and its time in UTC', async () => {
    const [row] = await auditRows(database, { columns: { procid: 'fetch' }, sdata: [] })
    expect(row).toEqual({
      facility: 10,
      severity: 6,
      timestamp: '2026-01-05T10:20:30.100+00:00',
      hostname: null,
      appname: 'conjur',
      procid: 'fetch',
      msgid: 'fetch',
      sdata: {
        'auth@43868': { user: 'acme:host:app' },
        'subject@43868': { resource: 'acme:variable:db/pw' },
        'client@43868': { ip: '10.0.0.2' },
        'action@43868': { result: 'success', operation: 'fetch' },
      },
      message: 'acme:host:app fetched acme:variable:db/pw',
    })
  })

  test.each<[string, Partial<AuditFilter>, readonly string[]]>([
    ['all, newest first', {}, ['whoami', 'policy', 'odd', 'denied', 'fetch', 'login']],
    ['a page', { limit: 2, offset: 1 }, ['policy', 'odd']],
    ['no rows', { limit: 0 }, []],
    ['facility', { columns: { facility: '4' } }, ['whoami']],
    ['severity', { columns: { severity: '4' } }, ['denied']],
    ['two columns', { columns: { msgid: 'fetch', severity: '6' } }, ['odd', 'fetch']],
    [
      'a column that is no filter',
      { columns: { line: 'x' } },
      ['whoami', 'policy', 'odd', 'denied', 'fetch', 'login'],
    ],
    ['structured data', sdata('client@43868', 'ip', '10.0.0.1'), ['policy', 'denied', 'login']],
    ['a resource as subject', { resource: 'acme:variable:db/pw' }, ['denied', 'fetch']],
    ['a resource as service', { resource: 'acme:webservice:conjur/authn' }, ['login']],
    ['a policy as resource', { resource: 'acme:policy:root' }, ['policy']],
    ['a role as user', { role: 'acme:host:app' }, ['whoami', 'odd', 'fetch']],
    ['a role as subject or user', { role: 'acme:user:bob' }, ['policy', 'denied', 'login']],
    ['a role as member', { role: 'acme:user:eve' }, ['policy']],
    ['an entity that is a role', { entity: 'acme:group:ops' }, ['policy']],
    ['an entity that is a resource', { entity: 'acme:variable:db/pw' }, ['denied', 'fetch']],
    ['a role is not found as a resource', { resource: 'acme:user:bob' }, []],
    ['an id with odd characters', { resource: 'acme:variable:a"]\\\u0000b' }, ['odd']],
    ['nothing like it', { entity: 'acme:user:nobody' }, []],
  ])('%s', async (_, filter, expected) => {
    expect(await find(filter)).toEqual(expected)
  })

  test.each<[string, Partial<AuditFilter>]>([
    ['a column', { columns: { procid: 'a\u0000\ud800' } }],
    ['a value', sdata('auth@43868', 'user', '\u0000\udfff')],
    ['names', sdata('\u0000', '\ud800', '')],
    ['an entity', { entity: '\u0000\ud800' }],
  ])('characters that the database cannot hold find nothing in %s', async (_, filter) => {
    expect(await find(filter)).toEqual([])
  })

  test('a database that cannot be read is unavailable, not our fault', async () => {
    const gone: Database = { ...database, query: () => Promise.reject(new Error('ECONNREFUSED')) }
    await expect(auditRows(gone, { columns: {}, sdata: [] })).rejects.toMatchObject({ code: 'unavailable' })
  })
})
