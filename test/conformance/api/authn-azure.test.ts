// Workloads of Azure authenticate by tokens of their managed identities, at the Leader and at a Follower (http-api 8.5).
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { DISCOVERY, IdentityProvider, KEYS } from '../../support/identity-provider.ts'
import { AUTHENTICATORS, blockOf } from '../../support/page.ts'
import { ask, make } from './authenticators.world.ts'
import {
  badTokens,
  type Came,
  enable,
  form,
  hostText,
  letIn,
  post,
  reads,
  refused,
  runWhere,
  startWorkloads,
  told,
  unverified,
  type Workloads,
} from './workloads.world.ts'
import { answered, FORM, settled } from './world.ts'

const subscription = 'c8ab56be-5a4e-4a6b-a7f2-bc5a6e5f6a11'
const oid = '1ff5d7d6-0f9d-4e7b-a1b5-1d5ad7f1e0c9'
const place = `subscriptions/${subscription}/resourcegroups/prod-group/providers`
/** As the identity endpoint gives them to a machine, for its own identity and for one that it was given. */
const system = { oid, xms_mirid: `/${place}/Microsoft.Compute/virtualMachines/vm-1` }
const user = { oid, xms_mirid: `/${place}/Microsoft.ManagedIdentity/userAssignedIdentities/app-id` }

const required = { 'authn-azure/subscription-id': subscription, 'authn-azure/resource-group': 'prod-group' }
const ofSystem = { ...required, 'authn-azure/system-assigned-identity': oid }
const ofUser = { ...required, 'authn-azure/user-assigned-identity': 'app-id' }
/** Hosts of the groups of all services, by id. */
const hosts: Readonly<Record<string, Record<string, string>>> = {
  any: { ...required, description: 'Anything of the group' },
  system: ofSystem,
  user: ofUser,
  'for-prod': {
    'authn-azure/prod/subscription-id': subscription,
    'authn-azure/prod/resource-group': 'prod-group',
    'authn-azure/prod/user-assigned-identity': 'app-id',
  },
  'own-first': { ...required, 'authn-azure/prod/resource-group': 'another-group' },
  'own-last': {
    ...required,
    'authn-azure/resource-group': 'x',
    'authn-azure/prod/resource-group': 'prod-group',
  },
  'for-others': { ...required, 'authn-azure/dev/system-assigned-identity': 'x', 'authn-azure/dev/odd': 'x' },
  none: { 'authn-gcp/project-id': 'x' },
  'no-group': { 'authn-azure/subscription-id': subscription },
  'no-subscription': { 'authn-azure/resource-group': 'prod-group' },
  'half-for-dev': {
    'authn-azure/subscription-id': subscription,
    'authn-azure/dev/resource-group': 'prod-group',
  },
  both: { ...ofUser, ...ofSystem },
  'both-apart': { ...ofUser, 'authn-azure/prod/system-assigned-identity': oid },
  unknown: { ...required, 'authn-azure/location': 'x' },
  'unknown-for-prod': { ...required, 'authn-azure/prod/location': 'x' },
  empty: { ...required, 'authn-azure/system-assigned-identity': '' },
  'other-subscription': { ...required, 'authn-azure/subscription-id': 'x' },
  'other-group': { ...required, 'authn-azure/resource-group': 'prod' },
  'other-case': { ...required, 'authn-azure/resource-group': 'Prod-Group' },
  'other-system': { ...ofSystem, 'authn-azure/system-assigned-identity': 'x' },
  'other-user': { ...ofUser, 'authn-azure/user-assigned-identity': 'x' },
  'named-as-machine': { ...required, 'authn-azure/user-assigned-identity': 'vm-1' },
}
const service = (id: string, variable = true) => `
- !policy
  id: conjur/${id}
  body:
  - !webservice
  - !group apps
  - !permit { role: !group apps, privileges: [ read, authenticate ], resource: !webservice }
  ${variable ? '- !variable provider-uri' : ''}`
const services = [
  'authn-azure',
  'authn-azure/prod',
  'authn-azure/dev',
  'authn-azure/prod/gke',
  'authn-azure/bare',
  'authn-azure/unset',
]
const members = [...Object.keys(hosts), 'far'].map((id) => `!host wl/${id}`)
const policy = `
${services.map((id) => service(id, id !== 'authn-azure/bare')).join('')}
- !policy
  id: wl
  body:
  ${Object.entries(hosts)
    .map(([id, annotations]) => hostText(id, annotations))
    .join('\n  ')}
  ${hostText('outside', required)}
  ${hostText('far', required, ', restricted_to: 10.99.0.0/16')}
  - !user { id: someone, annotations: ${JSON.stringify(required)} }
${services
  .map(
    (id) =>
      `- !grant { role: !group conjur/${id}/apps, members: [ ${members.join(', ')}, !user someone@wl ] }`,
  )
  .join('\n')}
- !grant { role: !group app/readers, member: !host wl/system }
`

let workloads: Workloads
beforeAll(async () => {
  workloads = await startWorkloads()
  const { world, provider } = workloads
  expect((await world.admin.loadPolicy('root', policy)).status).toBe(201)
  // With and without the slash that Azure's own issuers have at the end.
  const uris = {
    'authn-azure': '',
    'authn-azure/prod': '/',
    'authn-azure/dev': '',
    'authn-azure/prod/gke': ' \n',
  }
  for (const [id, end] of Object.entries(uris))
    expect((await world.admin.setSecret(`conjur/${id}/provider-uri`, provider.url + end)).status).toBe(201)
  for (const id of services)
    await enable(workloads, id === 'authn-azure/prod/gke' ? 'authn-azure/prod%2Fgke' : id)
})
afterAll(async () => {
  await workloads?.world.machine.stop()
  await workloads?.provider.goAway()
})

type Claims = Readonly<Record<string, unknown>>
const sign = (claims: Claims): Promise<string> => workloads.provider.sign(claims)

describe.each(['leader', 'follower'] as const)('at the %s', (node) => {
  const ask = (login: string, body: string, path = 'authn-azure/prod'): Promise<Came> => {
    const { world } = workloads
    return post(
      world,
      world.machine[node].url,
      `/${path}/acme/${encodeURIComponent(login)}/authenticate`,
      body,
    )
  }
  const come = async (login: string, claims: Claims, path?: string) =>
    told(await ask(login, form(await sign(claims)), path))

  test('a machine gets a token that reads secrets, and a record', async () => {
    const came = await ask('host/wl/system', form(await sign(system)))
    expect(told(came)).toEqual(letIn('host/wl/system'))
    expect(await reads(workloads.world.machine[node].url, came, 'app/db/pw')).toBe('one')
    expect(came.record).toMatchObject({
      severity: 6,
      message:
        'acme:host:wl/system successfully authenticated with authenticator authn-azure service ' +
        'acme:webservice:conjur/authn-azure/prod',
      sdata: { 'auth@43868': { service: 'acme:webservice:conjur/authn-azure/prod' } },
    })
  })

  test.each<[string, Claims]>([
    ['any', system],
    ['any', user],
    ['user', user],
    ['for-prod', user],
    ['own-last', system],
    ['for-others', system],
  ])('host %s is let in', async (id, claims) => {
    expect(await come(`host/wl/${id}`, claims)).toEqual(letIn(`host/wl/${id}`))
  })

  test('a user with annotations is let in as a host is', async () => {
    expect(await come('someone@wl', system)).toEqual(letIn('someone@wl'))
  })

  test('each service has its own annotations; without a service id there are those of all', async () => {
    expect(await come('host/wl/own-first', system)).toEqual(refused('CONJ00049E'))
    for (const path of ['authn-azure', 'authn-azure/dev', 'authn-azure/prod%2Fgke'])
      expect(await come('host/wl/own-first', system, path)).toEqual(letIn('host/wl/own-first'))
    expect(await come('host/wl/for-prod', user, 'authn-azure')).toEqual(refused('CONJ00057E'))
    expect(await come('host/wl/for-prod', user, 'authn-azure/dev')).toEqual(refused('CONJ00057E'))
    expect(await come('host/wl/for-others', system, 'authn-azure/dev')).toEqual(refused('CONJ00050E'))
    expect(await come('host/wl/other-group', system, 'authn-azure')).toEqual(refused('CONJ00049E'))
    expect(await come('host/wl/outside', system, 'authn-azure')).toEqual({
      ...refused('CONJ00006E'),
      status: 403,
    })
    expect(told(await ask('host/wl/any', '', 'authn-azure'))).toEqual({
      ...refused('CONJ00009E'),
      status: 400,
    })
  })

  test.each<[string, Claims, string]>([
    ['none', system, 'CONJ00057E'],
    ['no-group', system, 'CONJ00057E'],
    ['no-subscription', system, 'CONJ00057E'],
    ['half-for-dev', system, 'CONJ00057E'],
    ['both', system, 'CONJ00055E'],
    ['both', user, 'CONJ00055E'],
    ['both-apart', user, 'CONJ00055E'],
    ['unknown', system, 'CONJ00050E'],
    ['unknown-for-prod', system, 'CONJ00050E'],
    ['empty', system, 'CONJ00100E'],
    ['other-subscription', system, 'CONJ00049E'],
    ['other-group', system, 'CONJ00049E'],
    ['other-case', system, 'CONJ00049E'],
    ['other-system', system, 'CONJ00049E'],
    ['other-user', user, 'CONJ00049E'],
    ['user', system, 'CONJ00049E'],
    ['named-as-machine', system, 'CONJ00049E'],
    // The object id of an identity that was given to a machine is not the machine's own.
    ['system', user, 'CONJ00049E'],
  ])('host %s is refused', async (id, claims, code) => {
    expect(await come(`host/wl/${id}`, claims)).toEqual(refused(code))
  })

  test.each<[string, unknown, string | undefined]>([
    ['without the slash before it', system.xms_mirid.slice(1), undefined],
    ['in other cases', system.xms_mirid.replace('resourcegroups', 'resourceGroups'), undefined],
    [
      'whose group is called as a fixed word',
      system.xms_mirid.replace('prod-group', 'providers'),
      'CONJ00049E',
    ],
    ['absent', undefined, 'CONJ00051E'],
    ['empty', '', 'CONJ00051E'],
    ['no text', 7, 'CONJ00052E'],
    ['a list', [system.xms_mirid], 'CONJ00052E'],
    ['with two slashes before it', `/${system.xms_mirid}`, 'CONJ00053E'],
    ['without a subscription', system.xms_mirid.replace(`subscriptions/${subscription}/`, ''), 'CONJ00053E'],
    ['with an empty subscription', system.xms_mirid.replace(subscription, ''), 'CONJ00053E'],
    ['without a group', system.xms_mirid.replace('resourcegroups/prod-group/', ''), 'CONJ00053E'],
    ['without providers', `/subscriptions/${subscription}/resourcegroups/prod-group`, 'CONJ00053E'],
    ['that goes on in another subscription', `${system.xms_mirid}/subscriptions/x`, 'CONJ00054E'],
    ['that begins with another place', `/subscriptions/x/resourcegroups/y/${place}/p/t/n`, 'CONJ00053E'],
    ['without a name', `/${place}/Microsoft.Compute/virtualMachines`, 'CONJ00054E'],
    ['with an empty name', `/${place}/Microsoft.Compute/virtualMachines/`, 'CONJ00054E'],
    ['with a part of the resource', `/${place}/Microsoft.Web/sites/a/slots/b`, 'CONJ00054E'],
  ])('a resource path %s', async (_, xms_mirid, code) => {
    expect(await come('host/wl/any', { oid, xms_mirid })).toEqual(
      code === undefined ? letIn('host/wl/any') : refused(code),
    )
  })

  test('a user-assigned identity is one by its provider and its type', async () => {
    const lower = `/${place}/microsoft.managedidentity/userassignedidentities/app-id`
    expect(await come('host/wl/user', { oid, xms_mirid: lower })).toEqual(letIn('host/wl/user'))
    for (const resource of [
      'Evil.ManagedIdentity/userAssignedIdentities',
      'Microsoft.ManagedIdentity/identities',
    ])
      expect(await come('host/wl/user', { oid, xms_mirid: `/${place}/${resource}/app-id` })).toEqual(
        refused('CONJ00049E'),
      )
  })

  test('an object id that is none', async () => {
    for (const none of [undefined, '', 7, [oid]])
      expect(await come('host/wl/any', { ...system, oid: none })).toEqual(refused('CONJ00051E'))
  })

  test('the issuer may end with a slash, and with nothing else', async () => {
    const { url } = workloads.provider
    expect(await come('host/wl/any', { ...system, iss: `${url}/` })).toEqual(letIn('host/wl/any'))
    expect(await come('host/wl/any', { ...system, iss: `${url}//` })).toEqual(unverified)
    expect(await come('host/wl/any', { ...system, iss: `${url}/other-tenant/` })).toEqual(unverified)
  })

  test.each(badTokens)('a token %s', async (_, make) => {
    expect(told(await ask('host/wl/any', form(await make(workloads.provider, system))))).toEqual(unverified)
  })

  test('an expired one is told so', async () => {
    expect(await come('host/wl/any', { ...system, exp: Math.floor(Date.now() / 1000) - 3_600 })).toEqual({
      ...refused('CONJ00016E'),
      body: { error: { code: 'unauthorized', message: 'CONJ00016E Token expired' } },
    })
  })

  test('without a token', async () => {
    for (const body of ['', 'jwt=', 'token=x'])
      expect(told(await ask('host/wl/any', body))).toEqual({ ...refused('CONJ00009E'), status: 400 })
  })

  test('nobody else than the role that the path names, if it may', async () => {
    for (const login of ['admin', 'user/admin'])
      expect(await come(login, system)).toEqual(refused('CONJ00017E'))
    expect(await come('host/wl/nobody', system)).toEqual(refused('CONJ00007E'))
    expect(await come('group/app/readers', system)).toEqual(refused('CONJ00007E'))
    expect(await come('host/wl/outside', system)).toEqual({ ...refused('CONJ00006E'), status: 403 })
    expect(await come('host/wl/far', system)).toEqual(refused('CONJ00003E'))
  })

  test('an authenticator without its provider, and one that is not there', async () => {
    expect(await come('host/wl/any', system, 'authn-azure/bare')).toEqual(refused('CONJ00036E'))
    expect(await come('host/wl/any', system, 'authn-azure/unset')).toEqual(refused('CONJ00037E'))
    expect(await come('host/wl/any', system, 'authn-azure/absent')).toEqual(refused('CONJ00004E'))
  })

  test('refusals are recorded without what the token says', async () => {
    const { record } = await ask('host/wl/other-system', form(await sign(system)))
    expect(record).toMatchObject({
      severity: 4,
      message:
        'acme:host:wl/other-system failed to authenticate with authenticator authn-azure service ' +
        'acme:webservice:conjur/authn-azure/prod: CONJ00049E Restriction system-assigned-identity does not match ' +
        'what the request says',
    })
    const unknown = await ask('host/wl/nobody', form(await sign(system)))
    expect(unknown.record.sdata['auth@43868']).toMatchObject({ user: 'not-found' })
  })

  test('keys are asked for once, and stay good while Azure is away', async () => {
    const { provider } = workloads
    expect(await come('host/wl/any', system)).toEqual(letIn('host/wl/any'))
    const asked = provider.asked().length
    expect(await come('host/wl/any', system)).toEqual(letIn('host/wl/any'))
    expect(provider.asked().length).toBe(asked)
    await provider.goAway()
    try {
      expect(await come('host/wl/any', system)).toEqual(letIn('host/wl/any'))
    } finally {
      await provider.comeBack()
    }
    await provider.rotate({ keep: true })
    expect(await come('host/wl/any', system)).toEqual(letIn('host/wl/any'))
    expect(new Set(provider.asked().map(({ url }) => url.pathname))).toEqual(new Set([DISCOVERY, KEYS]))
  })
})

test('each service believes its own provider; another one counts at once, at both', async () => {
  const { world, provider } = workloads
  const other = await IdentityProvider.start()
  const set = async ({ url }: IdentityProvider) => {
    expect((await world.admin.setSecret('conjur/authn-azure/dev/provider-uri', url)).status).toBe(201)
    await settled(world)
  }
  const come = async (by: IdentityProvider, service: string) => {
    const body = form(await by.sign(system, { header: { kid: provider.kid } }))
    const path = `/authn-azure/${service}/acme/host%2Fwl%2Fany/authenticate`
    const { leader, follower } = world.machine
    return (await Promise.all([leader, follower].map(({ url }) => post(world, url, path, body)))).map(told)
  }
  const both = (one: unknown) => [one, one]
  try {
    await set(other)
    expect(await come(provider, 'dev')).toEqual(both(unverified))
    expect(await come(other, 'prod')).toEqual(both(unverified))
    expect(await come(provider, 'prod')).toEqual(both(letIn('host/wl/any')))
    await other.rotate({ keep: true })
    const body = form(await other.sign(system))
    for (const { url } of [world.machine.leader, world.machine.follower])
      expect(
        told(await post(world, url, '/authn-azure/dev/acme/host%2Fwl%2Fany/authenticate', body)),
      ).toEqual(letIn('host/wl/any'))
  } finally {
    await other.goAway()
  }
})

test('one that V2 has made works at both, until V2 switches it off', async () => {
  const { world, provider } = workloads
  const data = { provider_uri: provider.url }
  const item = { type: 'azure', branch: 'conjur/authn-azure', name: 'v2', enabled: true, data }
  expect(await make(world.admin, { type: 'azure', name: 'v2', data })).toMatchObject([201, item])
  const grant = '- !grant { role: !group conjur/authn-azure/v2/apps, member: !host wl/any }'
  expect((await world.admin.loadPolicy('root', grant)).status).toBe(201)
  await settled(world)
  const all = async () => {
    const body = form(await sign(system))
    const came = [world.machine.leader, world.machine.follower].map(async ({ url }) => {
      expect(await ask(world.admin.at(url), 'GET', '/azure/v2')).toMatchObject([200, { type: 'azure', data }])
      return told(await post(world, url, '/authn-azure/v2/acme/host%2Fwl%2Fany/authenticate', body))
    })
    return Promise.all(came)
  }
  expect(await all()).toEqual([letIn('host/wl/any'), letIn('host/wl/any')])
  expect((await ask(world.admin, 'PATCH', '/azure/v2', { enabled: false }))[0]).toBe(200)
  await settled(world)
  expect(await all()).toEqual([refused('CONJ00004E'), refused('CONJ00004E')])
})

test('the page on authenticators works as it is written', async () => {
  const { world, provider } = workloads
  expect((await world.admin.loadPolicy('root', blockOf(AUTHENTICATORS, 'Azure', 'yaml'))).status).toBe(201)
  expect((await world.admin.setSecret('billing/password', 'of-billing')).status).toBe(201)
  await settled(world)
  const group = 'subscriptions/11111111-2222-3333-4444-555555555555/resourcegroups/billing-prod'
  const resource = 'Microsoft.ManagedIdentity/userAssignedIdentities/billing-app'
  provider.answer('/metadata/identity/oauth2/token', async ({ url, headers }) => {
    const aud = url.searchParams.get('resource')
    if (headers.metadata !== 'true' || aud === null) return { status: 400 }
    const access_token = await sign({ oid, aud, xms_mirid: `/${group}/providers/${resource}` })
    return { body: { access_token, client_id: 'c', expires_in: '3599', resource: aud, token_type: 'Bearer' } }
  })
  for (const { url } of [world.machine.leader, world.machine.follower])
    expect(await runWhere(blockOf(AUTHENTICATORS, 'Azure', 'sh'), url, '169.254.169.254:80', provider)).toBe(
      'of-billing',
    )
})

test('a Follower proves it with the Leader away, and with Azure away too', async () => {
  const { world, provider } = workloads
  const { leader, follower } = world.machine
  const status = async () => {
    const body = form(await sign(system))
    const path = '/authn-azure/prod/acme/host%2Fwl%2Fsystem/authenticate'
    return (await answered(fetch(follower.url + path, { method: 'POST', body, headers: FORM })))[0]
  }
  await leader.kill()
  expect(await status()).toBe(200)
  await provider.goAway()
  expect(await status()).toBe(200)
  // A key that it has not seen before has to be fetched.
  await provider.rotate({ keep: true })
  expect(await status()).toBe(401)
})
