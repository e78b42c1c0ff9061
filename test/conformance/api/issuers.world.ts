// A world with dynamic secrets, with some who may make issuers or see them, and how issuers are asked for.
import { expect } from 'vitest'
import type { Client, MachineOptions } from '../../support/nodes.ts'
import { type Answered, answered, loadedBy, startWorld, type World } from './world.ts'

const policy = `
- !policy
  id: data
  body:
  - !policy dynamic
  - !variable plain
- !host maker
- !host reader
- !host app
- !host seer
- !host stranger
- !permit { role: !host maker, privileges: [ create, update ], resource: !policy data/dynamic }
- !permit { role: !host app, privileges: [ read, execute ], resource: !variable data/plain }
`

export type IssuersWorld = {
  readonly world: World
  readonly maker: Client
  readonly reader: Client
  readonly app: Client
  readonly seer: Client
  readonly stranger: Client
}

export async function startIssuers(env: MachineOptions['env'] = {}): Promise<IssuersWorld> {
  const world = await startWorld({ env: { CONJUR_FEATURE_DYNAMIC_SECRETS_ENABLED: 'true', ...env } })
  const as = await loadedBy(world.admin, policy)
  const [maker, reader, app, seer, stranger] = [
    await as('host/maker'),
    await as('host/reader'),
    await as('host/app'),
    await as('host/seer'),
    await as('host/stranger'),
  ]
  return { world, maker, reader, app, seer, stranger }
}

export const KEY = {
  access_key_id: 'AKIAIOSFODNN7EXAMPLE',
  secret_access_key: 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY',
}
export const aws = (id: string, more: object = {}) => ({ id, type: 'aws', max_ttl: 3600, data: KEY, ...more })

export const ask = (
  as: Client,
  method: string,
  path: string,
  body?: unknown,
  type = 'application/json',
): Promise<Answered> =>
  answered(
    as.request(method, path, {
      ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
      headers: { 'Content-Type': type },
    }),
  )
export const create = (as: Client, body: unknown, type?: string): Promise<Answered> =>
  ask(as, 'POST', '/issuers/acme', body, type)
export const one = (as: Client, id: string): Promise<Answered> => ask(as, 'GET', `/issuers/acme/${id}`)
export const change = (as: Client, id: string, body: unknown): Promise<Answered> =>
  ask(as, 'PATCH', `/issuers/acme/${id}`, body)
export const drop = (as: Client, id: string, query = ''): Promise<Answered> =>
  ask(as, 'DELETE', `/issuers/acme/${id}${query}`)

export const missing = [404, { error: { code: 'not_found', message: 'Issuer not found' } }]
/** As an issuer is shown. */
export const shown = (id: string, more: object = {}) => ({
  id,
  account: 'acme',
  max_ttl: 3600,
  type: 'aws',
  data: { access_key_id: KEY.access_key_id, secret_access_key: '*****' },
  created_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT.*\+00:00$/),
  modified_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT.*\+00:00$/),
  ...more,
})

export const exists = async (admin: Client, kind: string, id: string): Promise<boolean> =>
  (await ask(admin, 'GET', `/resources/acme/${kind}/${encodeURIComponent(id)}`))[0] === 200

/** Newest first. */
export async function records(
  admin: Client,
  msgid: string,
  limit: number,
): Promise<{ severity: number; message: string }[]> {
  const [, rows] = await ask(admin, 'GET', `/audit?msgid=${msgid}&limit=${limit}`)
  return rows as { severity: number; message: string }[]
}

/** Lets a host use an issuer. */
export async function consume(admin: Client, issuer: string, host: string): Promise<void> {
  const consumers = encodeURIComponent(`conjur/issuers/${issuer}/delegation/consumers`)
  const [status] = await ask(admin, 'POST', `/roles/acme/group/${consumers}?members&member=acme:host:${host}`)
  if (status !== 204) throw new Error(`${host} as a consumer of ${issuer} was answered ${status}`)
}
