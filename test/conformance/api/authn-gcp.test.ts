// Workloads of Google Cloud authenticate by identity tokens of Google, at the Leader and at a Follower (http-api 8.6).
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { DISCOVERY, KEYS } from '../../support/identity-provider.ts'
import { Client } from '../../support/nodes.ts'
import { AUTHENTICATORS, blockOf } from '../../support/page.ts'
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
import { FORM, settled } from './world.ts'

/** As the metadata server gives them for `format=full`; `standard` is what else is signed for service accounts. */
const standard = {
  azp: '112233445566778899000',
  sub: '112233445566778899000',
  email: 'app@proj-1.iam.gserviceaccount.com',
  email_verified: true,
}
const full = {
  ...standard,
  google: {
    compute_engine: {
      project_id: 'proj-1',
      project_number: 739419398126,
      zone: 'us-west1-a',
      instance_id: '152986662232938449',
      instance_name: 'vm-1',
      instance_creation_timestamp: 1496952205,
    },
  },
}
const project = { 'authn-gcp/project-id': 'proj-1' }
const every = {
  ...project,
  'authn-gcp/instance-name': 'vm-1',
  'authn-gcp/service-account-id': standard.sub,
  'authn-gcp/service-account-email': standard.email,
}
/** Hosts of group apps, by id. */
const hosts: Readonly<Record<string, Record<string, string>>> = {
  every: { ...every, description: 'All there are' },
  project,
  'account-id': { 'authn-gcp/service-account-id': standard.sub },
  'account-email': { 'authn-gcp/service-account-email': standard.email },
  'deep/er/app': project,
  admin: project,
  none: { description: 'Nothing for Google', 'authn-azure/subscription-id': 'x' },
  'instance-only': { 'authn-gcp/instance-name': 'vm-1' },
  unknown: { ...every, 'authn-gcp/zone': 'us-west1-a' },
  deeper: { ...every, 'authn-gcp/prod/instance-name': 'vm-1' },
  empty: { ...every, 'authn-gcp/instance-name': '' },
  'other-project': { ...every, 'authn-gcp/project-id': 'proj-2' },
  'other-instance': { ...every, 'authn-gcp/instance-name': 'vm-2' },
  'other-account-id': { ...every, 'authn-gcp/service-account-id': '9' },
  'other-account-email': { ...every, 'authn-gcp/service-account-email': 'x@y.z' },
  'of-number': { 'authn-gcp/project-id': '739419398126' },
}
const policy = `
- !policy
  id: conjur/authn-gcp
  body:
  - !webservice
  - !group apps
  - !permit { role: !group apps, privileges: [ read, authenticate ], resource: !webservice }
- !policy
  id: wl
  body:
  ${Object.entries(hosts)
    .map(([id, annotations]) => hostText(id, annotations))
    .join('\n  ')}
  ${hostText('outside', every)}
  ${hostText('far', every, ', restricted_to: 10.99.0.0/16')}
  - !user { id: someone, annotations: ${JSON.stringify(every)} }
- !grant
  role: !group conjur/authn-gcp/apps
  members: [ ${[...Object.keys(hosts), 'far'].map((id) => `!host wl/${id}`).join(', ')}, !user someone@wl ]
- !grant { role: !group app/readers, member: !host wl/every }
`

let workloads: Workloads
beforeAll(async () => {
  workloads = await startWorkloads(({ url }) => ({ HOLDFAST_AUTHN_GCP_PROVIDER: `${url}/` }))
  expect((await workloads.world.admin.loadPolicy('root', policy)).status).toBe(201)
  await enable(workloads, 'authn-gcp')
})
afterAll(async () => {
  await workloads?.world.machine.stop()
  await workloads?.provider.goAway()
})

const aud = (login: string): { aud: string } => ({ aud: `conjur/acme/${login}` })
const sign = (claims: Readonly<Record<string, unknown>>): Promise<string> => workloads.provider.sign(claims)

describe.each(['leader', 'follower'] as const)('at the %s', (node) => {
  const ask = (body: string, account = 'acme'): Promise<Came> =>
    post(workloads.world, workloads.world.machine[node].url, `/authn-gcp/${account}/authenticate`, body)
  const come = async (claims: Readonly<Record<string, unknown>>) => told(await ask(form(await sign(claims))))

  test('an instance gets a token that reads secrets, and a record', async () => {
    const came = await ask(form(await sign({ ...full, ...aud('host/wl/every') })))
    expect(told(came)).toEqual(letIn('host/wl/every'))
    expect(await reads(workloads.world.machine[node].url, came, 'app/db/pw')).toBe('one')
    expect(came.record).toMatchObject({
      severity: 6,
      message:
        'acme:host:wl/every successfully authenticated with authenticator authn-gcp service ' +
        'acme:webservice:conjur/authn-gcp',
      sdata: {
        'subject@43868': { role: 'acme:host:wl/every' },
        'auth@43868': {
          user: 'acme:host:wl/every',
          authenticator: 'authn-gcp',
          service: 'acme:webservice:conjur/authn-gcp',
        },
      },
    })
  })

  test.each(['project', 'account-id', 'account-email', 'deep/er/app', 'admin'])(
    'host %s, with what it asks for only',
    async (id) => expect(await come({ ...full, ...aud(`host/wl/${id}`) })).toEqual(letIn(`host/wl/${id}`)),
  )

  test('a service account without an instance', async () => {
    for (const id of ['account-id', 'account-email'])
      expect(await come({ ...standard, ...aud(`host/wl/${id}`) })).toEqual(letIn(`host/wl/${id}`))
    expect(await come({ ...standard, ...aud('host/wl/project') })).toEqual(refused('CONJ00068E'))
    expect(await come({ sub: standard.sub, ...aud('host/wl/account-email') })).toEqual(refused('CONJ00068E'))
  })

  test.each([
    ['none', 'CONJ00069E'],
    ['instance-only', 'CONJ00069E'],
    ['unknown', 'CONJ00050E'],
    ['deeper', 'CONJ00050E'],
    ['empty', 'CONJ00100E'],
    ['other-project', 'CONJ00049E'],
    ['other-instance', 'CONJ00049E'],
    ['other-account-id', 'CONJ00049E'],
    ['other-account-email', 'CONJ00049E'],
    ['of-number', 'CONJ00049E'],
  ])('host %s is refused: %s', async (id, code) => {
    expect(await come({ ...full, ...aud(`host/wl/${id}`) })).toEqual(refused(code))
  })

  test.each<[string, unknown, string]>([
    ['absent', undefined, 'CONJ00051E'],
    ['of another service', 'https://vault.example', 'CONJ00067E'],
    ['without a host', 'conjur/acme', 'CONJ00067E'],
    ['without the name of a host', 'conjur/acme/host/', 'CONJ00067E'],
    ['with words before', 'x-conjur/acme/host/wl/every', 'CONJ00067E'],
    ['of another account', 'conjur/other/host/wl/every', 'CONJ00070E'],
    ['of an account whose name begins alike', 'conjur/acme2/host/wl/every', 'CONJ00070E'],
    ['of a user', 'conjur/acme/someone@wl', 'CONJ00067E'],
    ['of a user, with his kind', 'conjur/acme/user/someone@wl', 'CONJ00067E'],
    ['of a group', 'conjur/acme/group/conjur/authn-gcp/apps', 'CONJ00067E'],
    ['of the admin', 'conjur/acme/admin', 'CONJ00017E'],
    ['of the admin, with his kind', 'conjur/acme/user/admin', 'CONJ00017E'],
    ['that is a list', ['conjur/acme/host/wl/every'], 'CONJ00067E'],
    ['that is two', ['conjur/acme/host/wl/every', 'https://vault.example'], 'CONJ00067E'],
    ['that is a number', 7, 'CONJ00067E'],
    ['that no store can hold', 'conjur/acme/host/wl/every\0', 'CONJ00067E'],
    ['of a host that is not there', 'conjur/acme/host/wl/nobody', 'CONJ00007E'],
    ['of a name in another case', 'conjur/acme/host/wl/Every', 'CONJ00007E'],
  ])('an audience %s', async (_, audience, code) => {
    expect(await come({ ...full, aud: audience })).toEqual(refused(code))
  })

  test('claims of the wrong type are none', async () => {
    for (const google of ['x', null, [], { compute_engine: 'x' }, { compute_engine: { project_id: 7 } }])
      expect(await come({ ...standard, google, ...aud('host/wl/project') })).toEqual(refused('CONJ00068E'))
    const flat = { ...standard, 'google/compute_engine/project_id': 'proj-1' }
    expect(await come({ ...flat, ...aud('host/wl/project') })).toEqual(refused('CONJ00068E'))
  })

  test.each(badTokens)('a token %s', async (_, make) => {
    const token = await make(workloads.provider, { ...full, ...aud('host/wl/every') })
    expect(told(await ask(form(token)))).toEqual(unverified)
  })

  test('an expired one is told so', async () => {
    const body = { error: { code: 'unauthorized', message: 'CONJ00016E Token expired' } }
    expect(
      await come({ ...full, ...aud('host/wl/every'), exp: Math.floor(Date.now() / 1000) - 3_600 }),
    ).toEqual({
      ...refused('CONJ00016E'),
      body,
    })
  })

  test('without a token', async () => {
    for (const body of ['', 'jwt=', 'token=x'])
      expect(told(await ask(body))).toEqual({ ...refused('CONJ00009E'), status: 400 })
  })

  test('a host that may not, and one from elsewhere', async () => {
    const came = await ask(form(await sign({ ...full, ...aud('host/wl/outside') })))
    expect(told(came)).toEqual({ ...refused('CONJ00006E'), status: 403 })
    expect(await come({ ...full, ...aud('host/wl/far') })).toEqual(refused('CONJ00003E'))
  })

  test('refusals are recorded with the role, if there is one', async () => {
    const what =
      'failed to authenticate with authenticator authn-gcp service acme:webservice:conjur/authn-gcp'
    const known = await ask(form(await sign({ ...full, ...aud('host/wl/other-project') })))
    expect(known.record).toMatchObject({
      severity: 4,
      message: `acme:host:wl/other-project ${what}: CONJ00049E Restriction project-id does not match what the request says`,
      sdata: { 'auth@43868': { user: 'acme:host:wl/other-project' } },
    })
    const unknown = await ask(form(await sign({ ...full, ...aud('host/wl/nobody') })))
    expect(unknown.record.message).toBe(
      `acme:host:wl/nobody ${what}: CONJ00007E 'acme:host:wl/nobody' not found`,
    )
    expect(unknown.record.sdata['auth@43868']).toMatchObject({ user: 'not-found' })
    const unread = await ask(form('nonsense'))
    expect(unread.record.sdata['subject@43868']).toMatchObject({ role: 'not-found' })
  })

  test('an account that is not there', async () => {
    const body = form(await sign({ ...full, aud: 'conjur/other/host/wl/every' }))
    expect(told(await ask(body, 'other'))).toMatchObject({ status: 401, body: '' })
  })

  test('a login, a service and other methods have no route', async () => {
    const { url } = workloads.world.machine[node]
    const body = form(await sign({ ...full, ...aud('host/wl/every') }))
    const as = new Client(url, 'acme')
    for (const path of ['/authn-gcp/acme/host%2Fwl%2Fevery/authenticate', '/authn-gcp/x/acme/y/authenticate'])
      expect((await as.request('POST', path, { body })).status).toBe(404)
    for (const method of ['GET', 'PUT'])
      expect((await as.request(method, '/authn-gcp/acme/authenticate')).status).toBe(404)
  })

  test('keys are asked for once, and stay good while Google is away', async () => {
    const { provider } = workloads
    const token = form(await sign({ ...full, ...aud('host/wl/every') }))
    expect((await ask(token)).status).toBe(200)
    const asked = provider.asked().length
    expect((await ask(token)).status).toBe(200)
    expect(provider.asked().length).toBe(asked)
    await provider.goAway()
    try {
      expect(told(await ask(token))).toEqual(letIn('host/wl/every'))
      const later = await sign({ ...full, ...aud('host/wl/project') })
      expect(told(await ask(form(later)))).toEqual(letIn('host/wl/project'))
    } finally {
      await provider.comeBack()
    }
    await provider.rotate({ keep: true })
    expect(await come({ ...full, ...aud('host/wl/every') })).toEqual(letIn('host/wl/every'))
    expect(new Set(provider.asked().map(({ url }) => url.pathname))).toEqual(new Set([DISCOVERY, KEYS]))
  })
})

test('off is off at both, and on again', async () => {
  const { world } = workloads
  const body = form(await sign({ ...full, ...aud('host/wl/every') }))
  const codes = async () => {
    const came = [world.machine.leader, world.machine.follower].map(({ url }) =>
      post(world, url, '/authn-gcp/acme/authenticate', body),
    )
    return (await Promise.all(came)).map(told)
  }
  await enable(workloads, 'authn-gcp', false)
  expect(await codes()).toEqual([refused('CONJ00004E'), refused('CONJ00004E')])
  await enable(workloads, 'authn-gcp')
  expect(await codes()).toEqual([letIn('host/wl/every'), letIn('host/wl/every')])
})

test('a role loses its right with its group, at both', async () => {
  const { world } = workloads
  const revoke = '- !revoke { role: !group conjur/authn-gcp/apps, member: !host wl/account-id }'
  expect((await world.admin.loadPolicy('root', revoke, 'PATCH')).status).toBe(201)
  await settled(world)
  const body = form(await sign({ ...full, ...aud('host/wl/account-id') }))
  for (const { url } of [world.machine.leader, world.machine.follower]) {
    const came = await post(world, url, '/authn-gcp/acme/authenticate', body)
    expect(told(came)).toEqual({ ...refused('CONJ00006E'), status: 403 })
  }
})

test('the page on authenticators works as it is written', async () => {
  const { world, provider } = workloads
  expect((await world.admin.loadPolicy('root', blockOf(AUTHENTICATORS, 'GCP', 'yaml'))).status).toBe(201)
  expect((await world.admin.setSecret('billing/password', 'of-billing')).status).toBe(201)
  await settled(world)
  provider.answer(
    '/computeMetadata/v1/instance/service-accounts/default/identity',
    async ({ url, headers }) => {
      if (headers['metadata-flavor'] !== 'Google') return { status: 403 }
      const aud = url.searchParams.get('audience')
      const email = 'billing@billing-prod.iam.gserviceaccount.com'
      const google = { compute_engine: { project_id: 'billing-prod', instance_name: 'vm' } }
      const isFull = url.searchParams.get('format') === 'full'
      return { body: await sign({ ...standard, aud, email, ...(isFull ? { google } : {}) }) }
    },
  )
  for (const { url } of [world.machine.leader, world.machine.follower]) {
    const printed = runWhere(
      blockOf(AUTHENTICATORS, 'GCP', 'sh'),
      url,
      'metadata.google.internal:80',
      provider,
    )
    expect(await printed).toBe('of-billing')
  }
})

test('a Follower proves it with the Leader away, and with Google away too', async () => {
  const { world, provider } = workloads
  const { leader, follower } = world.machine
  const status = async () => {
    const body = form(await sign({ ...full, ...aud('host/wl/every') }))
    const path = '/authn-gcp/acme/authenticate'
    return (await fetch(follower.url + path, { method: 'POST', body, headers: FORM })).status
  }
  await leader.kill()
  expect(await status()).toBe(200)
  await provider.goAway()
  expect(await status()).toBe(200)
  // A key that it has not seen before has to be fetched.
  await provider.rotate({ keep: true })
  expect(await status()).toBe(401)
})
