// A Leader and a Follower as processes, with a policy that the API cases are about.
import { describe, expect, test } from 'vitest'
import { roleOfLogin } from '#shared/id/login.ts'
import { Client, type MachineOptions, type OneMachine, oneMachine } from '../../support/nodes.ts'

export const policy = `
- !policy
  id: app
  annotations:
    description: An application under test
  body:
  - !group readers
  - !group writers
  - !layer
  - !host
    id: web
    annotations: { zone: north }
  - !host
    id: far
    restricted_to: 10.99.0.0/16
  - !host onlooker
  - !user alice
  - &secrets
    - !variable
      id: db/pw
      mime_type: text/plain
      annotations: { description: "Running databases" }
    - !variable empty
    - !variable "odd a+b:c"
  - !variable hidden
  - !permit { role: !group readers, privileges: [ read, execute ], resources: *secrets }
  - !permit { role: !group writers, privileges: [ read, update ], resources: *secrets }
  - !permit { role: !host onlooker, privileges: [ read ], resources: *secrets }
  - !permit { role: !group readers, privileges: [ read ], resource: !host web }
  - !grant { role: !group readers, members: [ !host web, !user alice ] }
  - !grant { role: !group writers, member: !host web }
  - !host-factory { id: factory, layers: [ !layer ] }
  - !user
    id: bob
    public_keys:
    - ssh-ed25519 AAAAC3Nz laptop
`

export type World = {
  readonly machine: OneMachine
  readonly admin: Client
  readonly web: Client
  readonly onlooker: Client
  /** API keys by role id. */
  readonly keys: ReadonlyMap<string, string>
}

export async function startWorld(options: MachineOptions = {}): Promise<World> {
  const machine = await oneMachine(options)
  machine.leader.start()
  await machine.leader.ready()
  machine.follower.start()
  await machine.follower.ready()
  const admin = await new Client(machine.leader.url, machine.account).login('admin', machine.adminKey())
  const loaded = (await (await admin.loadPolicy('root', policy)).json()) as {
    created_roles: Record<string, { api_key: string }>
  }
  const keys = new Map(Object.entries(loaded.created_roles).map(([id, { api_key }]) => [id, api_key]))
  const as = (id: string): Promise<Client> =>
    new Client(machine.leader.url, machine.account).login(`host/app/${id}`, keys.get(`acme:host:app/${id}`)!)
  const world = { machine, admin, web: await as('web'), onlooker: await as('onlooker'), keys }
  const set = await admin.setSecret('app/db/pw', 'one')
  if (set.status !== 201) throw new Error(`the first secret was answered ${set.status}`)
  await settled(world)
  return world
}

/** Loads a policy into root; the result logs its users and hosts in. */
export async function loadedBy(admin: Client, policy: string): Promise<(login: string) => Promise<Client>> {
  const loaded = await admin.loadPolicy('root', policy)
  const { created_roles } = (await loaded.json()) as { created_roles: Record<string, { api_key: string }> }
  return (login) =>
    new Client(admin.url, admin.account).login(
      login,
      created_roles[roleOfLogin(admin.account, login)]!.api_key,
    )
}

/** A branch for cases about records: host one is in the group of all, host other is not. */
const directory = `
- !policy
  id: dir
  body:
  - !group all
  - !group "x:user:y"
  - !group nested
  - !host one
  - !host other
  - !user carol
  - !layer web
  - !variable v1
  - !grant { role: !group all, members: [ !group "x:user:y", !group nested, !user carol, !host one ] }
  - !grant { role: !group nested, member: !group all }`

export type Directory = { readonly world: World; readonly one: Client; readonly other: Client }

/** `more`: how the policy text of that branch goes on. */
export async function startDirectory(more: string): Promise<Directory> {
  const world = await startWorld()
  const as = await loadedBy(world.admin, `${directory}${more}`)
  const clients = { one: await as('host/dir/one'), other: await as('host/dir/other') }
  await settled(world)
  return { world, ...clients }
}

type Settling = { readonly machine: { readonly follower: { readonly url: string } }; readonly admin: Client }

/** Resolves when the Follower has everything the Leader has acknowledged. */
export async function settled({ machine, admin }: Settling): Promise<void> {
  const head = (await admin.request('GET', '/whoami')).headers.get('holdfast-position')!
  const answer = await admin.at(machine.follower.url).request('GET', '/whoami', {
    headers: { 'Holdfast-Min-Position': head, 'Holdfast-Inconsistent': 'wait' },
  })
  if (answer.status !== 200) throw new Error(`the Follower did not reach ${head}: ${answer.status}`)
}

/** What came of a request: its status, and its body as JSON where it is JSON. */
export type Answered = readonly [status: number, body: unknown]

export async function answered(response: Promise<Response>): Promise<Answered> {
  const got = await response
  const text = await got.text()
  const isJson = got.headers.get('content-type')?.startsWith('application/json') ?? false
  return [got.status, isJson ? JSON.parse(text) : text]
}

export const notFound = (message: string, target: string, id: string) => [
  404,
  {
    error: { code: 'not_found', message, target, details: { code: 'not_found', target: 'id', message: id } },
  },
]
/** The body of a 404; `id` without its account and kind. */
export const recordNotFound = (kind: string, id: string) =>
  notFound(
    `${kind[0]!.toUpperCase()}${kind.slice(1)} '${id}' not found in account 'acme'`,
    kind,
    `acme:${kind}:${id}`,
  )[1]
export const argument = (message: string) => [422, { error: { code: 'argument_error', message } }]
export const unprocessable = (message: string) => [422, { error: { code: 'unprocessable_entity', message } }]
export const forbidden: Answered = [403, '']
export const unauthorized: Answered = [401, '']
/** What a Follower answers to a write that the Leader would have done. */
export const readOnly: Answered = [405, { error: { code: 405, message: 'Write operations are not allowed' } }]

export const V2 = 'application/x.secretsmgr.v2beta+json'

/** What came of a request for V2: its body is read only when its type is V2's. */
export async function answeredV2(response: Promise<Response>): Promise<Answered> {
  const got = await response
  const text = await got.text()
  const isV2 = got.headers.get('content-type') === V2
  return [got.status, isV2 && text !== '' ? JSON.parse(text) : text]
}
export const refusedV2 = (code: number, message: string) => [code, { code: String(code), message }]

export const FORM = { 'Content-Type': 'application/x-www-form-urlencoded' }

/** Sets the variables of an authenticator and switches it on; undefined: it keeps no value. Rejects when a node says no. */
export async function configured(
  admin: Client,
  authenticator: string,
  service: string,
  values: Readonly<Record<string, string | undefined>>,
  isOn = true,
): Promise<void> {
  for (const [name, value] of Object.entries(values)) {
    if (value === undefined) continue
    const { status } = await admin.setSecret(`conjur/${authenticator}/${service}/${name}`, value)
    if (status !== 201) throw new Error(`${authenticator}/${service}/${name}: ${status}`)
  }
  if (!isOn) return
  const path = `/${authenticator}/${encodeURIComponent(service)}/acme`
  const { status } = await admin.request('PATCH', path, { body: 'enabled=true', headers: FORM })
  if (status !== 204) throw new Error(`${authenticator}/${service}: ${status}`)
}

export const basic = (login: string, secret: string) => ({
  Authorization: `Basic ${btoa(`${login}:${secret}`)}`,
})

type Who = 'admin' | 'web' | 'onlooker' | 'nobody'

export type ReadCase = {
  readonly name: string
  readonly as: Who
  readonly path: string
  readonly method?: string
  readonly headers?: Record<string, string>
  readonly status: number
  /** Text, or a part of the JSON. */
  readonly body?: unknown
  /** What a Worker answers instead, with the platform's reason beside it. */
  readonly bodyAtTheEdge?: unknown
}

/** The Follower of these cases is a Worker. */
export const atTheEdge = process.env.HOLDFAST_TEST_FOLLOWER === 'worker'

/** Each case at the Leader and at the Follower: the same request, the same answer. */
export function readCases(worldOf: () => World, cases: readonly ReadCase[]): void {
  describe.each(['leader', 'follower'] as const)('read at the %s', (node) => {
    test.each(cases)('$name', async (asked) => {
      const { as, path, method = 'GET', headers = {}, status } = asked
      const body =
        atTheEdge && node === 'follower' && asked.bodyAtTheEdge !== undefined
          ? asked.bodyAtTheEdge
          : asked.body
      const world = worldOf()
      const { url } = world.machine[node]
      const client = as === 'nobody' ? new Client(url, 'acme') : world[as].at(url)
      const anonymous = as === 'nobody' ? { Authorization: '' } : {}
      const got = await client.request(method, path, { headers: { ...anonymous, ...headers } })
      const text = await got.text()
      expect(`${got.status} ${text}`).toMatch(new RegExp(`^${status} `))
      if (body === undefined) return
      if (typeof body === 'object' && !('asymmetricMatch' in (body as object))) {
        expect(JSON.parse(text)).toMatchObject(body as object)
      } else expect(text).toEqual(body)
    })
  })
}

export type AuditRow = {
  readonly facility: number
  readonly severity: number
  readonly msgid: string
  readonly sdata: Readonly<Record<string, Readonly<Record<string, string>>>>
  readonly message: string
}

/** Records of one request, oldest first. Those of a Follower come a little later than its answer. */
export async function recordsOf({ admin }: Pick<World, 'admin'>, requestId: string): Promise<AuditRow[]> {
  for (let attempt = 0; attempt < 200; attempt++) {
    const [status, rows] = await answered(admin.request('GET', `/audit?procid=${requestId}`))
    if (status === 200) return (rows as AuditRow[]).reverse()
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  return []
}
