// Roles, resources and public keys in detail (http-api 10, 11, 12): what is read is read at
// both nodes, what is written at the Leader.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Client } from '../../support/nodes.ts'
import {
  type Answered,
  answered,
  argument,
  loadedBy,
  notFound,
  settled,
  startWorld,
  unprocessable,
  type World,
} from './world.ts'

const policy = `
- !policy
  id: dir
  body:
  - !group all
  - !group "x:user:y"
  - !group nested
  - !host one
  - !host
    id: fixed
    restricted_to: [ 10.0.0.1, 10.1.0.0/16 ]
  - !host other
  - !user carol
  - !layer web
  - !layer zone
  - !host-factory { id: hf, layers: [ !layer web, !layer zone ] }
  - !webservice { id: ping, annotations: { description: The jumping fox } }
  - !variable v1
  - !grant { role: !group all, members: [ !group "x:user:y", !group nested, !user carol, !host one ] }
  - !grant { role: !group nested, member: !group all }
  - !permit { role: !group all, privileges: [ read ], resources: [ !group all, !group nested, !host-factory hf, !policy inner ] }
  - !permit { role: !group nested, privileges: [ read, execute ], resources: [ !variable v1, !webservice ping ] }
  - !permit { role: !host other, privileges: [ execute ], resources: [ !host-factory hf, !group all ] }
  - !policy
    id: inner
    body:
    - !group team
    - &many
      - !variable m01
      - !variable m02
      - !variable m03
      - !variable m04
      - !variable m05
      - !variable m06
      - !variable m07
      - !variable m08
      - !variable m09
      - !variable m10
      - !variable m11
      - !variable m12
    - !permit { role: !host /dir/one, privileges: [ read ], resources: *many }
    - !permit { role: !host /dir/one, privileges: [ read ], resource: !group team }
    - !permit { role: !host /dir/one, privileges: [ create ], resource: !group team }
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
  world = await startWorld()
  admin = world.admin
  const as = await loadedBy(admin, policy)
  other = await as('host/dir/other')
  await admin.loadPolicy('dir', '- !group late')
  one = await as('host/dir/one')
  await settled(world)
})
afterAll(() => world?.machine.stop())

const idsOf = ([status, body]: Answered): unknown =>
  status === 200 ? (body as { id: string }[]).map(({ id }) => id) : status
const membersOf = ([status, body]: Answered): unknown =>
  status === 200 ? (body as { member: string }[]).map(({ member }) => member) : status
describe.each(['leader', 'follower'] as const)('at the %s', (node) => {
  const get = (as: Client, path: string): Promise<Answered> =>
    answered(as.at(world.machine[node].url).request('GET', path))
  const ALL = '/roles/acme/group/dir%2Fall'

  describe('roles', () => {
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

    test('note 14: pages; counting ignores them', async () => {
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
  })

  describe('resources', () => {
    test('a host shows where it may come from, a policy its versions, a webservice its annotations', async () => {
      expect(await get(admin, '/resources/acme/host/dir%2Ffixed')).toEqual([
        200,
        {
          created_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00$/),
          id: 'acme:host:dir/fixed',
          owner: 'acme:policy:dir',
          policy: 'acme:policy:root',
          permissions: [],
          annotations: [],
          restricted_to: ['10.0.0.1/32', '10.1.0.0/16'],
        },
      ])
      expect(await get(admin, '/resources/acme/policy/dir')).toMatchObject([
        200,
        {
          policy_versions: [
            {
              version: 1,
              id: 'acme:policy:dir',
              role: 'acme:user:admin',
              client_ip: '127.0.0.1',
              policy_text: '- !group late',
              policy_sha256: expect.stringMatching(/^[0-9a-f]{64}$/),
            },
          ],
        },
      ])
      expect(await get(admin, '/resources/acme/webservice/dir%2Fping')).toMatchObject([
        200,
        {
          permissions: [
            { privilege: 'execute', role: 'acme:group:dir/nested', policy: 'acme:policy:root' },
            { privilege: 'read', role: 'acme:group:dir/nested', policy: 'acme:policy:root' },
          ],
          annotations: [{ name: 'description', value: 'The jumping fox', policy: 'acme:policy:root' }],
        },
      ])
    })

    test('lists: an offset alone means ten, pages do not overlap, the owner may be partial', async () => {
      const m = (from: number, to: number) =>
        Array.from(
          { length: to - from + 1 },
          (_, i) => `acme:variable:dir/inner/m${String(from + i).padStart(2, '0')}`,
        )
      expect(idsOf(await get(one, '/resources/acme/variable?offset=0'))).toEqual(m(1, 10))
      expect(idsOf(await get(one, '/resources/acme/variable?offset=10'))).toEqual([
        ...m(11, 12),
        'acme:variable:dir/v1',
      ])
      expect(idsOf(await get(one, '/resources?kind=variable&limit=2&offset=3'))).toEqual(m(4, 5))
      expect(await get(one, '/resources/acme?kind=variable&count=true&limit=2')).toEqual([200, { count: 13 }])
      expect(idsOf(await get(one, '/resources/acme?owner=policy:dir/inner&limit=20'))).toEqual([
        'acme:group:dir/inner/team',
        ...m(1, 12),
      ])
      expect(await get(one, '/resources/acme?owner=user:zed')).toEqual(
        notFound("User 'zed' not found in account 'acme'", 'user', 'acme:user:zed'),
      )
    })

    test('an owner counts with the roles that it holds', async () => {
      expect(idsOf(await get(one, '/resources/acme/webservice?owner=user:admin'))).toEqual([
        'acme:webservice:dir/ping',
      ])
      expect(idsOf(await get(one, '/resources/acme/webservice?owner=host:dir/one'))).toEqual([])
    })

    test('note 15: as a role that is held one sees what it sees; an unknown role is 403', async () => {
      const path = '/resources/acme/variable?limit=20'
      expect(idsOf(await get(one, `${path}&acting_as=acme:group:dir/nested`))).toEqual([
        'acme:variable:dir/v1',
      ])
      expect(idsOf(await get(one, `${path}&role=acme:group:dir/all`))).toEqual(['acme:variable:dir/v1'])
      expect(await get(one, `${path}&role=acme:group:none`)).toEqual([403, ''])
      expect(await get(one, '/resources/acme?offset=-1')).toEqual(
        unprocessable(
          "'offset' contains an invalid value. 'offset' must be an integer greater than or equal to 0.",
        ),
      )
    })

    test('note 16: a search splits at / . - and takes stems; words that say nothing find nothing', async () => {
      expect(idsOf(await get(one, '/resources/acme?search=JUMPED'))).toEqual(['acme:webservice:dir/ping'])
      expect(idsOf(await get(one, '/resources/acme?search=dir/ping+fox'))).toEqual([
        'acme:webservice:dir/ping',
      ])
      expect(idsOf(await get(one, '/resources/acme?search=webservice'))).toEqual(['acme:webservice:dir/ping'])
      expect(idsOf(await get(one, '/resources/acme?search=the'))).toEqual([])
      expect(idsOf(await get(one, '/resources/acme?search=pi'))).toEqual([])
      const words = Array.from({ length: 2_000 }, (_, i) => `w${i}`).join('+')
      expect(await get(one, `/resources/acme?search=${words}`)).toEqual([200, []])
    })

    test('check as another role comes before the resource; the caller must see it', async () => {
      const check = (as: Client, id: string, query: string) =>
        get(as, `/resources/acme/${id}?check&privilege=${query}`)
      expect(await check(one, 'variable/dir%2Fv1', 'execute&role=acme:group:dir/nested')).toEqual([204, ''])
      expect(await check(one, 'variable/dir%2Fv1', 'update&role=acme:group:dir/nested')).toEqual([404, ''])
      expect(await check(one, 'variable/none', 'read&role=acme:host:dir/other')).toEqual([403, ''])
      expect(await check(one, 'variable/none', 'read')).toEqual(
        notFound("Variable 'none' not found in account 'acme'", 'variable', 'acme:variable:none'),
      )
      expect(await check(one, 'variable/none', '')).toEqual(argument('privilege'))
    })

    test('permitted roles by either name, of a resource that is seen', async () => {
      const permitted = (as: Client, query: string) =>
        get(as, `/resources/acme/variable/dir%2Fv1?permitted_roles${query}`)
      const roles = [
        'acme:group:dir/all',
        'acme:group:dir/nested',
        'acme:group:dir/x:user:y',
        'acme:host:dir/one',
        'acme:policy:dir',
        'acme:user:admin',
        'acme:user:carol@dir',
      ]
      expect(await permitted(one, '&permission=execute')).toEqual([200, roles])
      expect(await permitted(one, '&privilege=update')).toEqual([200, ['acme:policy:dir', 'acme:user:admin']])
      expect(await permitted(one, '')).toEqual(argument('privilege'))
      expect((await permitted(other, '&privilege=read'))[0]).toBe(404)
    })
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
