// A world with branches, with some who may make and see them, and how they are asked for.
import type { Client } from '../../support/nodes.ts'
import {
  type Answered,
  answered,
  answeredV2,
  loadedBy,
  refusedV2,
  settled,
  startWorld,
  V2,
  type World,
} from './world.ts'

const policy = `
- !group ops
- !user uma
- !host maker
- !host reader
- !host stranger
- !policy
  id: data
  annotations: { purpose: everything }
  body:
  - !policy app
  - !policy { id: apple, body: [ !variable pw ] }
  - !policy
    id: deep
    owner: !group /ops
    body:
    - !policy { id: er, annotations: { b: "2", a: "1" } }
- !policy lone/some
- !policy hidden
- !policy hidden/seen
- !permit { role: !host maker, privileges: [ read, create, update ], resource: !policy data }
- !permit { role: !host maker, privileges: [ read, update ], resource: !policy data/app }
- !permit { role: !host reader, privileges: [ read ], resources: [ !policy data, !policy hidden/seen, !policy lone/some ] }
- !permit { role: !host reader, privileges: [ update ], resource: !policy data/apple }
`

export type BranchesWorld = {
  readonly world: World
  readonly as: (login: string) => Promise<Client>
  readonly maker: Client
  readonly reader: Client
  readonly stranger: Client
}

export async function startBranches(): Promise<BranchesWorld> {
  const world = await startWorld()
  const as = await loadedBy(world.admin, policy)
  const clients = {
    maker: await as('host/maker'),
    reader: await as('host/reader'),
    stranger: await as('host/stranger'),
  }
  await settled(world)
  return { world, as, ...clients }
}

export function ask(client: Client, method: string, path: string, body?: unknown): Promise<Answered> {
  const sent = body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }
  return answeredV2(client.request(method, `/branches/acme${path}`, { ...sent, headers: { Accept: V2 } }))
}
export const make = (client: Client, body: unknown, query = ''): Promise<Answered> =>
  ask(client, 'POST', query, body)
export const show = (client: Client, path: string): Promise<Answered> => ask(client, 'GET', `/${path}`)
export const change = (client: Client, path: string, body: unknown): Promise<Answered> =>
  ask(client, 'PATCH', `/${path}`, body)
export const drop = (client: Client, path: string): Promise<Answered> => ask(client, 'DELETE', `/${path}`)

export const missing = (id: string) => refusedV2(404, `Branch '${id}' not found in account 'acme'`)

/** As a branch is shown. `owner`: its kind and identifier. */
export const item = (path: string, owner: string, annotations: object = {}) => {
  const slash = path.lastIndexOf('/')
  const [kind, id] = owner.split(':')
  return {
    name: path.slice(slash + 1),
    branch: slash < 0 ? '/' : path.slice(0, slash),
    owner: { kind, id },
    annotations,
  }
}

/** `id`: kind and identifier. */
export const resource = (client: Client, id: string): Promise<Answered> =>
  answered(client.request('GET', `/resources/acme/${id.replace(':', '/')}`))

export async function may(admin: Client, role: string, privilege: string, id: string): Promise<boolean> {
  const path = `/resources/acme/${id.replace(':', '/')}?check&privilege=${privilege}&role=acme:${role}`
  return (await admin.request('GET', path)).status === 204
}

/** The newest record of such an operation on a branch. */
export async function newest(admin: Client, operation: string): Promise<unknown> {
  const query = `msgid=branch&action@43868/operation=${operation}&limit=1`
  return ((await answered(admin.request('GET', `/audit?${query}`)))[1] as unknown[])[0]
}
