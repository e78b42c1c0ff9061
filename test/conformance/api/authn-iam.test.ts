// Machines on AWS authenticate by a request that they have signed (http-api 8.4, notes 23 and 26).
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Client } from '../../support/nodes.ts'
import { AUTHENTICATORS, blockOf } from '../../support/page.ts'
import {
  amzDate,
  identityOf,
  type Keys,
  type Signing,
  type Sts,
  signedHeaders,
  startSts,
} from '../../support/sts.ts'
import {
  type Answered,
  answered,
  loadedBy,
  recordsOf,
  settled,
  startWorld,
  unauthorized,
  type World,
} from './world.ts'

const ROLE = '123456789012/my-role'
const LOGIN = `host/aws/${ROLE}`
const policy = `
- !policy
  id: conjur/authn-iam/prod
  body:
  - !webservice
  - !variable optional-signed-headers
- !policy
  id: conjur/authn-iam/plain
  body:
  - !webservice
- !policy
  id: conjur/authn-iam/off
  body:
  - !webservice
- !webservice conjur/authn-iam
- !policy
  id: aws
  body:
  - &known
    - !host ${ROLE}
    - !host 123456789012/other
  - !host
    id: far/${ROLE}
    restricted_to: 10.99.0.0/16
  - !host unknown/${ROLE}
- !group known
- !grant { role: !group known, members: [ !host aws/${ROLE}, !host aws/123456789012/other, !host aws/far/${ROLE} ] }
- !permit { role: !group known, privileges: [ authenticate ], resources: [ !webservice conjur/authn-iam/prod, !webservice conjur/authn-iam/plain, !webservice conjur/authn-iam/off, !webservice conjur/authn-iam ] }
`

let sts: Sts
let world: World
let keys: Keys
beforeAll(async () => {
  sts = await startSts()
  world = await startWorld({
    env: { HOLDFAST_AUTHN_IAM_STS_URL: sts.url, HOLDFAST_AUTHN_PRIVATE_NETWORKS: '127.0.0.0/8' },
  })
  keys = sts.keysOf(`arn:aws:sts::123456789012:assumed-role/my-role/i-0123456789`)
  await loadedBy(world.admin, policy)
  await world.admin.setSecret(
    'conjur/authn-iam/prod/optional-signed-headers',
    'Content-Type; x-kept;content-length',
  )
  for (const path of ['authn-iam/prod', 'authn-iam/plain', 'authn-iam']) {
    const on = world.admin.request('PATCH', `/${path}/acme`, { body: 'enabled=true' })
    expect((await on).status).toBe(204)
  }
  await settled(world)
})
afterAll(async () => {
  await world?.machine.stop()
  await sts?.close()
})

let requests = 0
describe.each(['leader', 'follower'] as const)('at the %s', (node) => {
  const authenticate = async (
    body: unknown,
    login = LOGIN,
    service = 'prod/',
  ): Promise<{ got: Answered; said: string }> => {
    const id = `iam-${node}-${++requests}`
    const path = `/authn-iam/${service}acme/${encodeURIComponent(login)}/authenticate`
    const got = await answered(
      fetch(world.machine[node].url + path, {
        method: 'POST',
        body: typeof body === 'string' ? body : JSON.stringify(body),
        headers: { 'X-Request-Id': id },
      }),
    )
    const [record] = await recordsOf(world, id)
    return { got, said: record?.message ?? '' }
  }
  const signed = (more: Partial<Signing> = {}) => signedHeaders({ keys, host: sts.host, ...more })
  const refusedWith = async (body: unknown, why: string, login?: string, service?: string) => {
    const { got, said } = await authenticate(body, login, service)
    expect(got).toEqual(unauthorized)
    expect(said).toMatch(new RegExp(why))
  }

  test('by its role, from a signature to a secret', async () => {
    const id = `iam-${node}-well`
    const response = await fetch(
      `${world.machine[node].url}/authn-iam/prod/acme/${encodeURIComponent(LOGIN)}/authenticate`,
      {
        method: 'POST',
        body: JSON.stringify(signed()),
        headers: { 'Accept-Encoding': 'base64', 'X-Request-Id': id, 'Content-Type': 'text\\plain' },
      },
    )
    expect(response.status).toBe(200)
    const client = new Client(world.machine[node].url, 'acme', await response.text())
    expect((await answered(client.request('GET', '/whoami')))[1]).toMatchObject({ username: LOGIN })
    expect(await recordsOf(world, id)).toMatchObject([
      {
        msgid: 'authn',
        sdata: {
          'subject@43868': { role: `acme:host:aws/${ROLE}` },
          'auth@43868': {
            user: `acme:host:aws/${ROLE}`,
            authenticator: 'authn-iam',
            service: 'acme:webservice:conjur/authn-iam/prod',
          },
          'action@43868': { operation: 'authenticate', result: 'success' },
        },
        message:
          `acme:host:aws/${ROLE} successfully authenticated with authenticator authn-iam service ` +
          'acme:webservice:conjur/authn-iam/prod',
      },
    ])
  })

  test('names of headers in any case, and regions of any partition', async () => {
    const shouted = Object.entries(signed()).map(([name, value]) => [name.toUpperCase(), value])
    expect((await authenticate(Object.fromEntries(shouted))).got[0]).toBe(200)
    expect((await authenticate(signed({ region: 'us-gov-west-1' }))).got[0]).toBe(200)
    // Nobody has to say whom we ask.
    const { Host: _, ...hostless } = signed()
    expect((await authenticate(hostless)).got[0]).toBe(200)
  })

  test('without a service id', async () => {
    expect((await authenticate(signed(), LOGIN, '')).got[0]).toBe(200)
    await refusedWith('{}', 'CONJ00018E', LOGIN, '')
    expect((await authenticate(signed(), `host/aws/unknown/${ROLE}`, '')).got).toEqual([403, ''])
  })

  test('headers that may be signed besides are sent, others are not', async () => {
    const headers = { 'Content-Type': 'text/plain', 'X-Kept': 'yes' }
    expect((await authenticate({ ...signed({ headers }), 'x-extra': 'no' })).got[0]).toBe(200)
    const { headers: sent } = sts.asked.at(-1)!
    expect(sent).toMatchObject({ 'content-type': 'text/plain', 'x-kept': 'yes', host: sts.host })
    expect(sent).not.toHaveProperty('x-extra')
    await refusedWith(
      signed({ headers }),
      'CONJ00018E Invalid AWS headers: content-type may not be',
      LOGIN,
      'plain/',
    )
    await refusedWith(
      signed({ headers: { 'X-Other': '1' } }),
      'CONJ00018E Invalid AWS headers: x-other may not be',
    )
  })

  test('headers that are not signed are not sent, though they are allowed', async () => {
    expect((await authenticate({ ...signed(), 'x-kept': 'added' })).got[0]).toBe(200)
    expect(sts.asked.at(-1)!.headers).not.toHaveProperty('x-kept')
  })

  test('what would end our request elsewhere is never sent', async () => {
    await refusedWith(signed({ headers: { 'Content-Length': '5' } }), 'content-length may not be signed')
  })

  test('a request after its window, or before it, is refused though STS would take it', async () => {
    const at = (ms: number) => signed({ headers: { 'X-Amz-Date': amzDate(Date.now() + ms) } })
    const before = sts.asked.length
    await refusedWith(at(-16 * 60_000), 'CONJ00063E .*signed too long ago')
    await refusedWith(at(6 * 60_000), 'CONJ00063E .*signed for later')
    expect(sts.asked.length).toBe(before)
    expect((await authenticate(at(-14 * 60_000))).got[0]).toBe(200)
    expect((await authenticate(at(4 * 60_000))).got[0]).toBe(200)
  })

  test('an old signature does not become young by another date', async () => {
    const old = signed({ headers: { 'X-Amz-Date': amzDate(Date.now() - 20 * 60_000) } })
    await refusedWith({ ...old, 'X-Amz-Date': amzDate(Date.now()) }, 'CONJ00063E .*AWS answered 403')
    await refusedWith({ ...old, 'x-amz-date': amzDate(Date.now()) }, 'CONJ00018E .*given twice')
    const { 'X-Amz-Date': _, ...dateless } = old
    await refusedWith(dateless, 'CONJ00018E .*x-amz-date is signed and not given')
    const dated: Record<string, string> = { ...signed(), Date: new Date().toUTCString() }
    dated.Authorization = dated.Authorization!.replace('x-amz-date;', '')
    await refusedWith(dated, 'CONJ00018E .*x-amz-date is not signed')
  })

  test('a signature for somebody else is asked of nobody', async () => {
    const before = sts.asked.length
    for (const host of ['attacker.example', 'sts.amazonaws.com', '127.0.0.1', `${sts.host}.attacker.example`])
      await refusedWith(signed({ host }), 'CONJ00018E .*another host')
    for (const region of [
      'x.attacker.example#',
      '../..',
      'us-east-1.attacker.example',
      'US-EAST-1',
      '127.0.0.1:1',
    ])
      await refusedWith({ ...signed(), ...regional(signed(), region) }, 'CONJ00018E')
    await refusedWith(signed({ service: 's3' }), 'CONJ00018E .*not for STS')
    expect(sts.asked.length).toBe(before)
  })
  const regional = (headers: Record<string, string>, region: string) => ({
    Authorization: headers.Authorization!.replace('/us-east-1/', `/${region}/`),
  })

  test('a wrong signature, key, token', async () => {
    const wrong = { ...keys, secretAccessKey: 'another' }
    await refusedWith(signed({ keys: wrong }), 'CONJ00063E .*AWS answered 403')
    await refusedWith({ ...signed(), 'X-Amz-Security-Token': 'another' }, 'CONJ00063E .*AWS answered 403')
    await refusedWith(signed({ keys: { ...keys, accessKeyId: 'AKIANOBODY' } }), 'CONJ00063E')
  })

  test('only the role that AWS names', async () => {
    await refusedWith(signed(), 'CONJ00063E .*is not the role', 'host/aws/123456789012/other')
    const of = (arn: string) => signed({ keys: sts.keysOf(arn) })
    await refusedWith(of('arn:aws:iam::123456789012:user/my-role'), 'names no assumed role')
    await refusedWith(of('arn:aws:iam::123456789012:role/my-role'), 'names no assumed role')
    await refusedWith(of('arn:aws:sts::210987654321:assumed-role/my-role/i'), 'is not the role')
    await refusedWith(of('arn:aws:sts::123456789012:assumed-role/x/my-role'), 'is not the role')
    expect(
      (await authenticate(of('arn:aws-us-gov:sts::123456789012:assumed-role/my-role/me@x'))).got[0],
    ).toBe(200)
  })

  test('what STS does not say is not believed', async () => {
    const arn = 'arn:aws:sts::123456789012:assumed-role/my-role/i'
    const { text } = identityOf(arn)
    try {
      for (const [status, said] of [
        [201, text],
        [302, text],
        [200, ''],
        [200, '{"Arn":"x"}'],
        [200, text.replace('</Arn>', `</Arn><Arn>${arn}</Arn>`)],
        [200, `<!DOCTYPE x [<!ENTITY a "${arn}">]><Arn>${arn}</Arn>`],
      ] as const) {
        sts.answerWith({ status, text: said })
        await refusedWith(signed(), 'CONJ00063E')
      }
    } finally {
      sts.answerWith(undefined)
    }
  })

  test('bodies that are no headers', async () => {
    const json = { 'Content-Type': 'application/json' }
    const path = `${world.machine[node].url}/authn-iam/prod/acme/${encodeURIComponent(LOGIN)}/authenticate`
    expect(await answered(fetch(path, { method: 'POST', body: '{', headers: json }))).toEqual(unauthorized)
    for (const body of [
      '',
      '{',
      '\0',
      'a%00=b',
      '[]',
      '"x"',
      '{"authorization":1}',
      '{"authorization":"Basic x"}',
      'a=b',
    ])
      await refusedWith(body, 'CONJ00018E')
    await refusedWith(
      { ...signed(), 'X-Amz-Security-Token': 'a\r\nX-Evil: b' },
      'CONJ00018E .*is signed and not given',
    )
  })

  test('who may not, from where, and where it is off', async () => {
    expect((await authenticate(signed(), `host/aws/unknown/${ROLE}`)).got).toEqual([403, ''])
    expect((await authenticate(signed(), `host/aws/unknown/${ROLE}`)).said).toMatch('CONJ00006E')
    await refusedWith(signed(), 'CONJ00003E', `host/aws/far/${ROLE}`)
    await refusedWith(signed(), 'CONJ00007E', `host/aws/nobody/${ROLE}`)
    await refusedWith(signed(), 'CONJ00004E', LOGIN, 'off/')
    await refusedWith(signed(), 'CONJ00004E', LOGIN, 'none-such/')
  })

  test('it knows no login', async () => {
    const headers = { Authorization: `Basic ${btoa('host/app/web:x')}` }
    for (const path of [
      'authn-iam/prod/acme',
      'authn-iam/acme',
      'authn-jwt/x/acme',
      'authn/x/acme',
      'authn-foo/acme',
    ])
      expect(await answered(fetch(`${world.machine[node].url}/${path}/login`, { headers }))).toEqual(
        unauthorized,
      )
  })
})

test('as the page says', async () => {
  expect(
    (await answered(world.admin.loadPolicy('root', blockOf(AUTHENTICATORS, 'AWS IAM', 'yaml'))))[0],
  ).toBe(201)
  const own = sts.keysOf('arn:aws:sts::123456789012:assumed-role/billing-prod/i-1')
  const path = '/authn-iam/prod/acme/host%2Fbilling%2F123456789012%2Fbilling-prod/authenticate'
  const body = JSON.stringify(signedHeaders({ keys: own, host: sts.host, region: 'eu-west-1' }))
  expect((await fetch(world.machine.leader.url + path, { method: 'POST', body })).status).toBe(200)
})

test('with STS away nobody is let in, with the Leader away the Follower lets them in', async () => {
  const path = `/authn-iam/prod/acme/${encodeURIComponent(LOGIN)}/authenticate`
  const body = JSON.stringify(signedHeaders({ keys, host: sts.host }))
  const authenticate = (node: 'leader' | 'follower', id: string) =>
    fetch(world.machine[node].url + path, { method: 'POST', body, headers: { 'X-Request-Id': id } })
  await sts.close()
  for (const node of ['leader', 'follower'] as const) {
    const id = `iam-away-${node}`
    expect(await answered(authenticate(node, id))).toEqual(unauthorized)
    expect((await recordsOf(world, id))[0]!.message).toMatch(/CONJ00063E .*it cannot be asked/)
  }
  await sts.open()
  await world.machine.leader.kill()
  expect((await authenticate('follower', 'iam-alone')).status).toBe(200)
})
