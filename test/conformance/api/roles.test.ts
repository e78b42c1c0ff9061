// Roles: who they are, who holds them, adding and removing members; and public keys of users (http-api 10, 12).
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Client } from '../../support/nodes.ts'
import {
  type Answered,
  answered,
  forbidden,
  notFound,
  type ReadCase,
  readCases,
  recordNotFound,
  recordsOf,
  startDirectory,
  unprocessable,
  type World,
} from './world.ts'

/** Inside `dir`, and beside it. */
const policy = `
  - !permit { role: !group all, privileges: [ read ], resources: [ !group all, !group nested ] }
  - !policy
    id: inner
    body:
    - !group team
    - !permit { role: !host /dir/one, privileges: [ read, create ], resource: !group team }
- !policy
  id: many
  body: [ !group crowd, !group c01, !group c02, !group c03, !group c04, !group c05, !group c06, !group c07, !group c08, !group c09, !group c10, !group c11, !group c12, !group c13 ]
- !grant
  role: !group many/crowd
  members: [ !group many/c01, !group many/c02, !group many/c03, !group many/c04, !group many/c05, !group many/c06, !group many/c07, !group many/c08, !group many/c09, !group many/c10, !group many/c11, !group many/c12, !group many/c13 ]
- !user
  id: dora
  public_keys:
  - ssh-ed25519 AAAAC3Nz work
  - ssh-rsa AAAAB3Nz home
`

let world: World
let admin: Client
let one: Client
let other: Client
beforeAll(async () => {
  ;({ world, one, other } = await startDirectory(policy))
  admin = world.admin
})
afterAll(() => world?.machine.stop())

const cases: readonly ReadCase[] = [
  {
    name: 'a role',
    as: 'admin',
    path: '/roles/acme/group/app%2Freaders',
    status: 200,
    body: { id: 'acme:group:app/readers', policy: 'acme:policy:root' },
  },
  {
    name: 'a role that is not seen',
    as: 'onlooker',
    path: '/roles/acme/group/app%2Freaders',
    status: 404,
    body: recordNotFound('group', 'app/readers'),
  },
  {
    name: 'members',
    as: 'admin',
    path: '/roles/acme/group/app%2Freaders?members',
    status: 200,
    body: [
      { member: 'acme:host:app/web', ownership: false },
      { member: 'acme:policy:app', ownership: true, admin_option: true },
      { member: 'acme:user:alice@app' },
    ],
  },
  {
    name: 'members of a kind',
    as: 'admin',
    path: '/roles/acme/group/app%2Freaders?members&kind=user',
    status: 200,
    body: [{ member: 'acme:user:alice@app' }],
  },
  {
    name: 'members counted',
    as: 'admin',
    path: '/roles/acme/group/app%2Freaders?members&count',
    status: 200,
    body: { count: 3 },
  },
  {
    name: 'memberships are direct (http-api note 17)',
    as: 'admin',
    path: '/roles/acme/host/app%2Fweb?memberships',
    status: 200,
    body: [{ role: 'acme:group:app/readers' }, { role: 'acme:group:app/writers' }],
  },
  {
    name: 'all includes the role itself (http-api note 17)',
    as: 'web',
    path: '/roles/acme/host/app%2Fweb?all',
    status: 200,
    body: ['acme:group:app/readers', 'acme:group:app/writers', 'acme:host:app/web'],
  },
  {
    name: 'all, filtered',
    as: 'web',
    path: '/roles/acme/host/app%2Fweb?all&filter[]=group:app/readers',
    status: 200,
    body: ['acme:group:app/readers'],
  },
  { name: 'graph', as: 'admin', path: '/roles/acme/host/app%2Fweb?graph', status: 200 },
]
readCases(() => world, cases)

const membersOf = ([status, body]: Answered): unknown =>
  status === 200 ? (body as { member: string }[]).map(({ member }) => member) : status
describe.each(['leader', 'follower'] as const)('at the %s', (node) => {
  const get = (as: Client, path: string): Promise<Answered> =>
    answered(as.at(world.machine[node].url).request('GET', path))
  const ALL = '/roles/acme/group/dir%2Fall'

  test('members are sorted by id, of a kind that is the second part of the id and nothing else', async () => {
    const members = ['acme:group:dir/nested', 'acme:group:dir/x:user:y', 'acme:host:dir/one']
    expect(membersOf(await get(admin, `${ALL}?members`))).toEqual([
      ...members,
      'acme:policy:dir',
      'acme:user:carol@dir',
    ])
    expect(membersOf(await get(admin, `${ALL}?members&kind=user`))).toEqual(['acme:user:carol@dir'])
    expect(membersOf(await get(admin, `${ALL}?members&kind=USER`))).toEqual([])
    expect(membersOf(await get(admin, `${ALL}?members&kind[]=group&kind[]=host`))).toEqual(members)
  })

  test('pages of at most ten where only an offset is given; counting ignores both (http-api note 14)', async () => {
    const names = (from: number, to: number) =>
      Array.from({ length: to - from + 1 }, (_, i) => `acme:group:many/c${String(from + i).padStart(2, '0')}`)
    const CROWD = '/roles/acme/group/many%2Fcrowd?members'
    expect(membersOf(await get(admin, CROWD))).toEqual([...names(1, 13), 'acme:policy:many'])
    expect(membersOf(await get(admin, `${CROWD}&limit=1&offset=1`))).toEqual(names(2, 2))
    expect(membersOf(await get(admin, `${CROWD}&offset=2`))).toEqual(names(3, 12))
    expect(membersOf(await get(admin, `${CROWD}&limit=12`))).toEqual(names(1, 12))
    for (const page of ['', '&limit=1&offset=1', '&offset=2', '&limit=0'])
      expect(await get(admin, `${CROWD}&count${page}`)).toEqual([200, { count: 14 }])
    const OWNED = '/roles/acme/policy/many?memberships'
    expect((await get(admin, `${OWNED}&limit=1&offset=1`))[1]).toMatchObject([
      { role: 'acme:group:many/c02' },
    ])
    expect((await get(admin, `${OWNED}&offset=2`))[1]).toHaveLength(10)
    expect(await get(admin, `${OWNED}&offset=2&count`)).toEqual([200, { count: 14 }])
    for (const path of [CROWD, OWNED])
      for (const name of ['limit', 'offset'])
        for (const value of ['some', '-1', '1.5'])
          expect(await get(admin, `${path}&${name}=${value}`)).toEqual(
            unprocessable(`'${name}' must be a whole number`),
          )
  })

  test('memberships are direct grants and what it owns; all is the role and what it holds (http-api note 17)', async () => {
    const row = (role: string, member: string, ownership: boolean) => ({
      role: `acme:${role}`,
      member: `acme:${member}`,
      ownership,
      admin_option: ownership,
      policy: 'acme:policy:root',
    })
    expect(await get(admin, '/roles/acme/policy/dir%2Finner?memberships')).toEqual([
      200,
      [row('group:dir/inner/team', 'policy:dir/inner', true)],
    ])
    expect(await get(admin, '/roles/acme/group/dir%2Fnested?memberships')).toEqual([
      200,
      [row('group:dir/all', 'group:dir/nested', false)],
    ])
    expect(await get(admin, '/roles/acme/host/dir%2Fone?memberships')).toEqual([
      200,
      [row('group:dir/all', 'host:dir/one', false)],
    ])
    expect(await get(admin, '/roles/acme/host/dir%2Fone?all')).toEqual([
      200,
      ['acme:group:dir/all', 'acme:group:dir/nested', 'acme:host:dir/one'],
    ])
  })

  test('pages; counting ignores them (http-api note 14)', async () => {
    expect(membersOf(await get(admin, `${ALL}?members&limit=1&offset=1`))).toEqual([
      'acme:group:dir/x:user:y',
    ])
    expect(membersOf(await get(admin, `${ALL}?members&offset=4`))).toEqual(['acme:user:carol@dir'])
    expect(await get(admin, `${ALL}?members&limit=1&offset=3&count`)).toEqual([200, { count: 5 }])
    expect((await get(admin, `${ALL}?members&limit=some`))[0]).toBe(422)
  })

  test('members are searched as resources are', async () => {
    expect(membersOf(await get(admin, `${ALL}?members&search=CAROL`))).toEqual(['acme:user:carol@dir'])
    expect(membersOf(await get(admin, `${ALL}?members&search=carol+dave`))).toEqual([])
  })

  test('all of a role in a cycle, filtered and counted', async () => {
    expect(await get(one, '/roles/acme/group/dir%2Fall?all')).toEqual([
      200,
      ['acme:group:dir/all', 'acme:group:dir/nested'],
    ])
    expect(await get(one, `${ALL}?all&filter=group:dir/nested`)).toEqual([200, ['acme:group:dir/nested']])
    expect(await get(one, `${ALL}?all&filter`)).toEqual([
      200,
      ['acme:group:dir/all', 'acme:group:dir/nested'],
    ])
    expect(await get(one, `${ALL}?all&count`)).toEqual([200, { count: 2 }])
  })

  test('the graph shows the edges whose parent the caller sees, each once', async () => {
    const edge = (parent: string, child: string) => ({ parent: `acme:${parent}`, child: `acme:${child}` })
    expect(await get(one, `${ALL}?graph`)).toEqual([
      200,
      [
        edge('group:dir/all', 'group:dir/nested'),
        edge('group:dir/all', 'group:dir/x:user:y'),
        edge('group:dir/all', 'host:dir/one'),
        edge('group:dir/all', 'policy:dir'),
        edge('group:dir/all', 'user:carol@dir'),
        edge('group:dir/nested', 'group:dir/all'),
        edge('group:dir/nested', 'policy:dir'),
      ],
    ])
  })

  test('a kind without roles has none; an unseen role is not there', async () => {
    const missing = notFound(
      "Variable 'dir/v1' not found in account 'acme'",
      'variable',
      'acme:variable:dir/v1',
    )
    for (const query of ['', '?members', '?memberships', '?all', '?graph']) {
      expect(await get(admin, `/roles/acme/variable/dir%2Fv1${query}`)).toEqual(missing)
      expect((await get(one, `/roles/acme/layer/dir%2Fweb${query}`))[0]).toBe(404)
    }
  })

  test('who holds a role does not see its resource by that', async () => {
    expect((await get(one, '/roles/acme/host/dir%2Fone'))[0]).toBe(404)
    expect((await get(one, '/resources/acme/host/dir%2Fone'))[0]).toBe(404)
  })

  test('public keys: all of a user, by prefix, and by nothing but the same bytes', async () => {
    const nobody = new Client(world.machine[node].url, 'acme')
    const keys = async (path: string): Promise<Answered> => {
      const response = await nobody.request('GET', `/public_keys/acme/${path}`, {
        headers: { Authorization: '' },
      })
      if (response.status === 200) {
        expect(response.headers.get('content-type')).toBe('text/plain; charset=utf-8')
      }
      return [response.status, await response.text()]
    }
    const both = 'ssh-rsa AAAAB3Nz home\nssh-ed25519 AAAAC3Nz work\n'
    expect(await keys('user/dora')).toEqual([200, both])
    expect(await keys('public_key/user%2Fdora')).toEqual([200, both])
    expect(await keys('user/dor')).toEqual([200, '\n'])
    expect(await keys('user/DORA')).toEqual([200, '\n'])
    expect(await keys('user/d%25')).toEqual([200, '\n'])
    expect(await keys('host/dora')).toEqual([404, ''])
  })
})

describe('members', () => {
  test('are added without create by nobody, once, and taken away once (http-api note 18)', async () => {
    const role = 'group/dir%2Finner%2Fteam'
    const change = (method: string, as: Client, id: string) =>
      answered(
        as.request(method, `/roles/acme/${role}?members&member=acme:host:dir/other`, {
          headers: { 'X-Request-Id': id },
        }),
      )
    expect(await change('POST', one, 'no-create')).toEqual(forbidden)
    expect(await change('POST', admin, 'first')).toEqual([204, ''])
    expect(await change('POST', admin, 'again')).toEqual([204, ''])
    expect(await change('DELETE', one, 'no-update')).toEqual(forbidden)
    expect(await change('DELETE', admin, 'away')).toEqual([204, ''])
    expect(await change('DELETE', admin, 'away-again')).toEqual(
      notFound("Host 'dir/other' not found in account 'acme'", 'host', 'acme:host:dir/other'),
    )
    const words = 'membership of acme:host:dir/other in acme:group:dir/inner/team'
    expect((await recordsOf(world, 'first')).map(({ message }) => message)).toEqual([
      `acme:user:admin added ${words}`,
    ])
    expect((await recordsOf(world, 'away')).map(({ message }) => message)).toEqual([
      `acme:user:admin removed ${words}`,
    ])
    for (const id of ['no-create', 'again', 'away-again'])
      expect(await answered(admin.request('GET', `/audit?procid=${id}`))).toEqual([404, []])
  })

  const change = (as: Client, method: string, role: string, member: string): Promise<Answered> =>
    answered(as.request(method, `/roles/acme/${role}?members&member=${encodeURIComponent(member)}`))

  test('the privilege is asked of the policy that the role’s record belongs to, seen or not', async () => {
    expect(await change(one, 'POST', 'group/dir%2Finner%2Fteam', 'acme:user:carol@dir')).toEqual([403, ''])
    expect(await change(one, 'DELETE', 'group/dir%2Finner%2Fteam', 'acme:user:carol@dir')).toEqual([403, ''])
    expect(await change(other, 'POST', 'group/dir%2Finner%2Fteam', 'acme:user:carol@dir')).toEqual(
      notFound("Group 'dir/inner/team' not found in account 'acme'", 'group', 'acme:group:dir/inner/team'),
    )
  })

  test('a role that no policy made is 403', async () => {
    expect(await change(admin, 'POST', 'user/admin', 'acme:user:carol@dir')).toEqual([403, ''])
  })

  test('an unknown member is named; what is added has no policy and can be taken away', async () => {
    const team = 'group/dir%2Finner%2Fteam'
    expect(await change(admin, 'POST', team, 'acme:user:zed')).toEqual(
      notFound("User 'zed' not found in account 'acme'", 'user', 'acme:user:zed'),
    )
    expect(await change(admin, 'POST', team, 'acme:user:carol@dir')).toEqual([204, ''])
    const [, members] = await answered(admin.request('GET', `/roles/acme/${team}?members&kind=user`))
    expect(members).toEqual([
      {
        admin_option: false,
        ownership: false,
        role: 'acme:group:dir/inner/team',
        member: 'acme:user:carol@dir',
      },
    ])
    expect(await change(admin, 'DELETE', team, 'acme:user:carol@dir')).toEqual([204, ''])
    expect(await change(admin, 'DELETE', team, 'acme:user:carol@dir')).toEqual(
      notFound("User 'carol@dir' not found in account 'acme'", 'user', 'acme:user:carol@dir'),
    )
  })
})
