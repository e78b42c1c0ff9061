// Workloads that show their provider's token (http-api 8.8): who gets in, who does not, and what is written down.
import { createHmac, createPublicKey } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { toBase64Url, utf8 } from '#shared/base/bytes.ts'
import { IdentityProvider, KEYS } from '../../support/identity-provider.ts'
import { Client } from '../../support/nodes.ts'
import { AUTHENTICATORS, blockOf } from '../../support/page.ts'
import { type JwtWorld, type Service, startJwt } from './authn-jwt.world.ts'
import {
  type Answered,
  atTheEdge,
  configured,
  FORM,
  forbidden,
  recordsOf,
  settled,
  unauthorized,
} from './world.ts'

let jwt: JwtWorld
/** A provider that no authenticator names. */
let stranger: IdentityProvider
beforeAll(async () => {
  jwt = await startJwt()
  stranger = await IdentityProvider.start()
})
afterAll(async () => {
  await jwt?.stop()
  await stranger?.goAway()
})

const nodes = ['leader', 'follower'] as const
type Node = (typeof nodes)[number]

const expired: Answered = [401, { error: { code: 'unauthorized', message: 'CONJ00016E Token expired' } }]
const badRequest: Answered = [400, '']

type Asking = {
  /** Default: the one of claims. */
  readonly service?: string
  readonly login?: string
  readonly account?: string
  readonly headers?: Readonly<Record<string, string>>
}

let asked = 0
/** Answers of refusals as they are; for a token: who it is for, as the node itself says. */
async function ask(node: Node, body: string, asking: Asking = {}): Promise<readonly [Answered, id: string]> {
  const { service = 'keys', login, account = 'acme', headers = {} } = asking
  const { url } = jwt.world.machine[node]
  const id = `jwt-${++asked}`
  const path = [service, account, ...(login === undefined ? [] : [login])].map(encodeURIComponent).join('/')
  const response = await fetch(`${url}/authn-jwt/${path}/authenticate`, {
    method: 'POST',
    body,
    headers: { ...FORM, 'Accept-Encoding': 'base64', 'X-Request-Id': id, ...headers },
  })
  const text = await response.text()
  if (response.status !== 200) return [[response.status, text === '' ? '' : JSON.parse(text)], id]
  const who = await new Client(url, 'acme', text).request('GET', '/whoami')
  return [[200, ((await who.json()) as { username: string }).username], id]
}

const web = { host: 'web', project: 'seven', aud: 'conjur' }
const kube = { 'kube.io': { ns: 'north', pod: { name: 'kube' } }, ref: 'main' }
type Claims = Readonly<Record<string, unknown>>
/** Of the provider of the service. */
const tokenOf = (service: string, claims: Claims): Promise<string> =>
  (['jwks', 'provider', 'hostname', 'nobody'].includes(service)
    ? jwt.fetched
    : service === 'secure' || service === 'untrusted'
      ? jwt.secure
      : jwt.provider
  ).sign(claims)

const messageOf = async (id: string): Promise<string> =>
  (await recordsOf(jwt.world, id)).map(({ message }) => message).join('\n')

describe.each(nodes)('at the %s', (node) => {
  const now = (): number => Math.floor(Date.now() / 1000)
  const issuedByHost = { iss: '127.0.0.1' }

  test.concurrent.each<[Service, Claims, string, login?: string]>([
    ['keys', web, 'host/apps/web'],
    ['keys', { ...web, aud: ['a', 'conjur'], nbf: 1 }, 'host/apps/web'],
    ['prod/gke', web, 'host/apps/web'],
    ['jwks', web, 'host/apps/web'],
    ['jwks', { ...web, host: '/web', aud: undefined }, 'host/apps/web'],
    ['jwks', { ...web, host: 'general' }, 'host/apps/general'],
    ['provider', web, 'host/apps/web'],
    ['hostname', { ...web, ...issuedByHost }, 'host/apps/web'],
    ['login', web, 'host/apps/web', 'host/apps/web'],
    ['login', { project: 'seven' }, 'ursula', 'ursula'],
    ['nested', kube, 'host/apps/kube'],
    [
      'nested',
      { ...kube, 'kube.io/ns': 'north', 'kube.io': { ns: 7, pod: { name: 'kube' } } },
      'host/apps/kube',
    ],
    ['renamed', { ...web, host: 'branch' }, 'host/apps/branch'],
  ])('%s lets in %j', async (service, claims, who, login) => {
    const token = await tokenOf(service, claims)
    const [got, id] = await ask(node, `jwt=${token}`, { service, ...(login === undefined ? {} : { login }) })
    expect(got).toEqual([200, who])
    const role = `acme:${who.startsWith('host/') ? who.replace('host/', 'host:') : `user:${who}`}`
    const [record, ...more] = await recordsOf(jwt.world, id)
    expect(more).toEqual([])
    expect(record).toMatchObject({
      severity: 6,
      msgid: 'authn',
      message:
        `${role} successfully authenticated with authenticator authn-jwt service ` +
        `acme:webservice:conjur/authn-jwt/${service}`,
    })
  })

  test.concurrent.each<[string, Service, Claims, string, login?: string]>([
    // Whom it names.
    ['a host that is not there', 'keys', { ...web, host: 'nobody' }, 'CONJ00007E'],
    ['another branch', 'keys', { ...web, host: '../web' }, 'CONJ00007E'],
    ['a role that is no host', 'keys', { ...web, host: 'crowd' }, 'CONJ00007E'],
    ['a claim that is not there', 'keys', { ...web, host: undefined }, 'CONJ00081E'],
    ['an empty claim', 'keys', { ...web, host: '' }, 'CONJ00081E'],
    ['a list', 'keys', { ...web, host: ['web'] }, 'CONJ00118E'],
    ['what no store holds', 'keys', { ...web, host: 'web\0' }, 'CONJ00118E'],
    ['no path of a claim', 'unpathed', web, 'CONJ00117E'],
    ['nobody at all', 'login', web, 'CONJ00098E'],
    ['two roles', 'keys', web, 'CONJ00098E', 'host/apps/web'],
    ['a login that is not there', 'login', web, 'CONJ00007E', 'host/apps/nobody'],
    ['a login that is no role', 'login', web, 'CONJ00007E', 'group/workloads'],
    // What binds it.
    ['no annotation', 'keys', { ...web, host: 'plain' }, 'CONJ00099E'],
    ['only one without the service', 'keys', { ...web, host: 'general' }, 'CONJ00099E'],
    ['another project', 'keys', { ...web, host: 'eight' }, 'CONJ00049E'],
    ['a list of projects', 'keys', { ...web, project: ['seven'] }, 'CONJ00049E'],
    ['a project that is an object', 'keys', { ...web, project: { seven: 'seven' } }, 'CONJ00049E'],
    ['one of two', 'keys', { ...web, host: 'half', ref: 'other' }, 'CONJ00049E'],
    ['one of two is not there', 'keys', { ...web, host: 'half' }, 'CONJ00084E'],
    ['no project', 'keys', { ...web, project: undefined }, 'CONJ00084E'],
    ['a project that is nothing', 'keys', { ...web, project: null }, 'CONJ00084E'],
    ['an empty annotation', 'keys', { ...web, host: 'empty', project: '' }, 'CONJ00100E'],
    ['a registered claim', 'keys', { ...web, host: 'times' }, 'CONJ00069E'],
    ['an annotation that is no claim', 'keys', { ...web, host: 'odd', 'project id': 'seven' }, 'CONJ00119E'],
    ['an alias gone around', 'renamed', web, 'CONJ00069E'],
    ['an enforced claim that is not bound', 'demanding', { ...web, ref: 'main' }, 'CONJ00057E'],
    [
      'a nested claim of another',
      'nested',
      { ...kube, 'kube.io': { ns: 'south', pod: { name: 'kube' } } },
      'CONJ00049E',
    ],
    [
      'a nested claim that is not bound',
      'nested',
      { ...kube, 'kube.io': { ns: 'north', pod: { name: 'web' } } },
      'CONJ00057E',
    ],
    ['another origin', 'keys', { ...web, host: 'far' }, 'CONJ00003E'],
    // Standard claims (http-api note 23).
    ['no expiry', 'keys', { ...web, exp: undefined }, 'CONJ00091E'],
    ['not yet', 'keys', { ...web, nbf: 9_999_999_999 }, 'CONJ00035E'],
    ['made in the future', 'keys', { ...web, iat: 9_999_999_998 }, 'CONJ00035E'],
    ['another issuer', 'keys', { ...web, iss: 'https://evil.example' }, 'CONJ00035E'],
    ['a list of issuers', 'keys', { ...web, iss: ['https://evil.example'] }, 'CONJ00035E'],
    ['the issuer of keys by their host', 'hostname', web, 'CONJ00035E'],
    ['an issuer with a slash', 'provider', { ...web, iss: 'http://127.0.0.1/' }, 'CONJ00035E'],
    ['no audience', 'keys', { ...web, aud: undefined }, 'CONJ00091E'],
    ['another audience', 'keys', { ...web, aud: 'conjur2' }, 'CONJ00035E'],
    ['an audience in a list in a list', 'keys', { ...web, aud: [['conjur']] }, 'CONJ00035E'],
    // Settings.
    ['a variable without a value', 'unset', web, 'CONJ00037E'],
    ['no keys', 'bare', web, 'CONJ00122E'],
    ['two sources of keys', 'both', web, 'CONJ00122E'],
    ['a certificate for keys at hand', 'pinned', web, 'CONJ00122E'],
    ['keys at hand without an issuer', 'unnamed', web, 'CONJ00122E'],
    ['keys that are none', 'broken', web, 'CONJ00120E'],
    ['a registered claim enforced', 'reserved', web, 'CONJ00105E'],
    ['an alias twice', 'doubled', web, 'CONJ00113E'],
    ['one that is off', 'off', web, 'CONJ00004E'],
    ['no key set', 'nobody', web, 'CONJ00087E'],
    ['a certificate of nobody', 'untrusted', web, 'CONJ00087E'],
  ])('401 for %s', async (_, service, claims, code, login) => {
    const token = await tokenOf(service, claims)
    const [got, id] = await ask(node, `jwt=${token}`, { service, ...(login === undefined ? {} : { login }) })
    expect(got).toEqual(unauthorized)
    const message = await messageOf(id)
    expect(message).toMatch(
      new RegExp(
        'failed to authenticate with authenticator authn-jwt service ' +
          `acme:webservice:conjur/authn-jwt/${service}: ${code} `,
      ),
    )
    for (const part of [...token.split('.'), 'evil.example', 'seven', 'conjur2'])
      expect(message).not.toContain(part)
  })

  test('expired: the only one that is told why (http-api note 23)', async () => {
    const [got, id] = await ask(node, `jwt=${await jwt.provider.sign({ ...web, exp: now() })}`)
    expect(got).toEqual(expired)
    expect(await messageOf(id)).toMatch(
      /service acme:webservice:conjur\/authn-jwt\/keys: CONJ00016E Token expired$/,
    )
    const [forged] = await ask(node, `jwt=${await stranger.sign({ ...web, iss: jwt.provider.url, exp: 1 })}`)
    expect(forged).toEqual(unauthorized)
  })

  test('403 for one who may not', async () => {
    const [got, id] = await ask(node, `jwt=${await jwt.provider.sign({ ...web, host: 'stranger' })}`)
    expect(got).toEqual(forbidden)
    const [record] = await recordsOf(jwt.world, id)
    expect(record).toMatchObject({
      severity: 4,
      sdata: {
        'auth@43868': { user: 'acme:host:apps/stranger', service: 'acme:webservice:conjur/authn-jwt/keys' },
      },
      message:
        'acme:host:apps/stranger failed to authenticate with authenticator authn-jwt service ' +
        "acme:webservice:conjur/authn-jwt/keys: CONJ00006E 'host/apps/stranger' does not have 'authenticate' " +
        'privilege on acme:webservice:conjur/authn-jwt/keys',
    })
  })

  test('the same for a login of the path', async () => {
    const stranger = { service: 'login', login: 'host/apps/stranger' }
    const [got, id] = await ask(node, `jwt=${await jwt.provider.sign(web)}`, stranger)
    expect(got).toEqual(forbidden)
    expect(await messageOf(id)).toContain("CONJ00006E 'host/apps/stranger' does not have 'authenticate'")
    expect((await ask(node, 'jwt=', stranger))[0]).toEqual(badRequest)
  })

  test('a name that nobody has is written down as nobody', async () => {
    const [, id] = await ask(node, `jwt=${await jwt.provider.sign({ ...web, host: 'nobody' })}`)
    const [record] = await recordsOf(jwt.world, id)
    expect(record?.sdata['auth@43868']).toMatchObject({ user: 'not-found' })
  })

  test.concurrent.each<[string, string, Record<string, string>?]>([
    ['nothing', ''],
    ['another field', 'token=x'],
    ['an empty field', 'jwt='],
    ['a list', 'jwt[]=x'],
    ['another field of JSON', '{"token":"x"}', { 'Content-Type': 'application/json' }],
    ['no text', '{"jwt":null}', { 'Content-Type': 'application/json' }],
  ])('400 for a body with %s', async (_, body, headers = {}) => {
    const [got, id] = await ask(node, body, { headers })
    expect(got).toEqual(badRequest)
    expect(await messageOf(id)).toMatch(/: CONJ00009E /)
  })

  test('a form whatever it is called, and JSON (http-api note 26)', async () => {
    const token = await jwt.provider.sign(web)
    for (const type of ['application/x-www-form-urlencoded', 'text\\plain', 'text/plain', ''])
      expect((await ask(node, `jwt=${token}`, { headers: { 'Content-Type': type } }))[0]).toEqual([
        200,
        'host/apps/web',
      ])
    const json = { 'Content-Type': 'application/json' }
    expect((await ask(node, JSON.stringify({ jwt: token }), { headers: json }))[0]).toEqual([
      200,
      'host/apps/web',
    ])
  })

  test.each<[string, Asking]>([
    ['account', { account: 'other' }],
    ['service', { service: 'none' }],
    ['service above', { service: 'prod' }],
    ['service below', { service: 'keys/x' }],
    ['status', { service: 'keys/status' }],
  ])('401 for another %s', async (_, asking) => {
    expect((await ask(node, `jwt=${await jwt.provider.sign(web)}`, asking))[0]).toEqual(unauthorized)
  })

  test('without an issuer: where the node’s setting allows it, and only then', async () => {
    const token = await jwt.provider.sign({ ...web, iss: undefined })
    const [got, id] = await ask(node, `jwt=${token}`)
    expect(got).toEqual(node === 'follower' ? [200, 'host/apps/web'] : unauthorized)
    if (node === 'leader') expect(await messageOf(id)).toMatch(/: CONJ00091E .*'iss' is missing$/)
    for (const iss of [null, '', 'https://evil.example'])
      expect((await ask(node, `jwt=${await jwt.provider.sign({ ...web, iss })}`))[0]).toEqual(unauthorized)
  })

  test('the authority of a provider’s certificate is a setting', async () => {
    const [got, id] = await ask(node, `jwt=${await jwt.secure.sign(web)}`, { service: 'secure' })
    if (atTheEdge && node === 'follower') {
      // The platform has authorities of its own and takes no others.
      expect(got).toEqual(unauthorized)
      expect(await messageOf(id)).toMatch(/: CONJ00087E .* authorities of its platform only$/)
    } else expect(got).toEqual([200, 'host/apps/web'])
  })

  describe('attacks', () => {
    const claims = (more: Claims = {}): Claims => ({
      iss: jwt.provider.url,
      iat: now() - 5,
      exp: now() + 60,
      ...web,
      ...more,
    })
    const header = (more: Claims = {}): string =>
      JSON.stringify({ alg: 'RS256', kid: jwt.provider.kid, typ: 'JWT', ...more })
    const unsigned = (alg: string): string =>
      [header({ alg }), JSON.stringify(claims())].map((part) => toBase64Url(utf8(part))).join('.')
    const publicJwk = () => jwt.provider.keySet().keys[0]!
    const twice = (name: string, value: unknown): string =>
      `${JSON.stringify(claims()).slice(0, -1)},${JSON.stringify(name)}:${JSON.stringify(value)}}`

    test.concurrent.each<[string, string, () => string | Promise<string>]>([
      ['no signature', 'CONJ00077E', () => `${unsigned('none')}.`],
      ['no algorithm', 'CONJ00035E', () => `${unsigned('none')}.AAAA`],
      [
        'the public key as a shared secret',
        'CONJ00035E',
        () => {
          const pem = createPublicKey({ key: publicJwk(), format: 'jwk' }).export({
            type: 'spki',
            format: 'pem',
          })
          const input = unsigned('HS256')
          return `${input}.${toBase64Url(createHmac('sha256', pem).update(input).digest())}`
        },
      ],
      [
        'another algorithm',
        'CONJ00035E',
        () => jwt.provider.signText(header({ alg: 'PS256' }), JSON.stringify(claims())),
      ],
      ['a stranger’s signature', 'CONJ00035E', () => stranger.signText(header(), JSON.stringify(claims()))],
      [
        'a key in the header',
        'CONJ00035E',
        () => stranger.signText(header({ jwk: stranger.keySet().keys[0] }), JSON.stringify(claims())),
      ],
      [
        'an address of keys in the header',
        'CONJ00035E',
        () => stranger.signText(header({ jku: stranger.jwksUri }), JSON.stringify(claims())),
      ],
      [
        'an address of a certificate',
        'CONJ00035E',
        () => stranger.signText(header({ x5u: stranger.jwksUri }), JSON.stringify(claims())),
      ],
      [
        'a key that is not known',
        'CONJ00035E',
        () => jwt.provider.signText(header({ kid: 'none' }), JSON.stringify(claims())),
      ],
      [
        'another type',
        'CONJ00035E',
        () => jwt.provider.signText(header({ typ: 'logout+jwt' }), JSON.stringify(claims())),
      ],
      [
        'an extension',
        'CONJ00035E',
        () => jwt.provider.signText(header({ crit: ['b64'], b64: false }), JSON.stringify(claims())),
      ],
      ['a claim twice', 'CONJ00035E', () => jwt.provider.signText(header(), twice('host', 'kube'))],
      [
        'an issuer twice',
        'CONJ00035E',
        () => jwt.provider.signText(header(), twice('iss', jwt.provider.url)),
      ],
      [
        'a header twice',
        'CONJ00035E',
        () => jwt.provider.signText(`{"alg":"none",${header().slice(1)}`, JSON.stringify(claims())),
      ],
      ['two signatures', 'CONJ00077E', async () => `${await jwt.provider.sign(web)}.AAAA`],
      ['padding', 'CONJ00035E', async () => `${await jwt.provider.sign(web)}%3D%3D`],
      ['a space', 'CONJ00035E', async () => `${await jwt.provider.sign(web)}%20`],
      ['one part', 'CONJ00077E', () => 'x'],
      ['no base64url', 'CONJ00035E', () => 'a.é.c'],
      ['too much', 'CONJ00035E', () => jwt.provider.sign({ ...web, more: 'x'.repeat(20_000) })],
      [
        'the JSON form',
        'CONJ00077E',
        async () => {
          const [head, payload, signature] = (await jwt.provider.sign(web)).split('.')
          return encodeURIComponent(JSON.stringify({ payload, signatures: [{ protected: head, signature }] }))
        },
      ],
    ])('%s', async (_, code, make) => {
      const [got, id] = await ask(node, `jwt=${await make()}`)
      expect(got).toEqual(unauthorized)
      expect(await messageOf(id)).toMatch(new RegExp(`^not-found failed to authenticate .*: ${code} `))
    })

    test('nobody is asked for keys that a header names', async () => {
      expect(stranger.asked()).toEqual([])
      const token = await jwt.provider.signText(header({ jku: stranger.jwksUri }), JSON.stringify(claims()))
      // Some providers say where their keys are: it harms nobody.
      expect((await ask(node, `jwt=${token}`))[0]).toEqual([200, 'host/apps/web'])
      expect(stranger.asked()).toEqual([])
    })
  })
})

describe.each(nodes)('keys that are fetched, at the %s', (node) => {
  test('are fetched once, and again for a key that is new', async () => {
    const { fetched } = jwt
    expect((await ask(node, `jwt=${await fetched.sign(web)}`, { service: 'jwks' }))[0][0]).toBe(200)
    const before = fetched.asked(KEYS).length
    for (let n = 0; n < 3; n++)
      expect((await ask(node, `jwt=${await fetched.sign(web)}`, { service: 'jwks' }))[0][0]).toBe(200)
    expect(fetched.asked(KEYS)).toHaveLength(before)
    await fetched.rotate({ keep: true })
    expect((await ask(node, `jwt=${await fetched.sign(web)}`, { service: 'jwks' }))[0][0]).toBe(200)
    expect(fetched.asked(KEYS)).toHaveLength(before + 1)
  })
})

test('as the documentation says it', async () => {
  const { world, fetched } = jwt
  const policy = blockOf(AUTHENTICATORS, 'JWT', 'yaml')
  expect((await world.admin.loadPolicy('root', policy)).status).toBe(201)
  const values = {
    'provider-uri': fetched.url,
    audience: 'holdfast',
    'token-app-property': 'repository',
    'identity-path': 'pipelines',
    'enforced-claims': 'ref',
  }
  await configured(world.admin, 'authn-jwt', 'ci', values)
  const claims = { aud: 'holdfast', repository: 'acme/billing', ref: 'refs/heads/main' }
  const show = async (more: Claims) =>
    (await ask('leader', `jwt=${await fetched.sign({ ...claims, ...more })}`, { service: 'ci' }))[0]
  expect(await show({})).toEqual([200, 'host/pipelines/acme/billing'])
  expect(await show({ ref: 'refs/heads/mine' })).toEqual(unauthorized)
  expect(await show({ repository: 'evil/billing' })).toEqual(unauthorized)
})

// Last: the Leader is away when this ends.
describe('with the Leader away', () => {
  beforeAll(async () => {
    await settled(jwt.world)
    await jwt.world.machine.leader.kill()
  })

  test('a Follower proves whose keys stand in a variable, with the provider away too', async () => {
    await jwt.provider.goAway()
    for (let n = 0; n < 2; n++)
      expect((await ask('follower', `jwt=${await jwt.provider.sign(web)}`))[0]).toEqual([
        200,
        'host/apps/web',
      ])
    expect((await ask('follower', `jwt=${await jwt.provider.sign({ ...web, exp: 1 })}`))[0]).toEqual(expired)
    expect((await ask('follower', `jwt=${await jwt.provider.sign({ ...web, host: 'eight' })}`))[0]).toEqual(
      unauthorized,
    )
  })

  test('keys that were fetched stay good while their provider is away', async () => {
    await jwt.fetched.goAway()
    const token = await jwt.fetched.sign(web)
    expect((await ask('follower', `jwt=${token}`, { service: 'jwks' }))[0]).toEqual([200, 'host/apps/web'])
    await jwt.fetched.comeBack()
  })

  test('from its own copy, after a start of its own', async () => {
    const { follower } = jwt.world.machine
    await follower.kill()
    follower.start()
    await follower.answered()
    const answer = async () => (await ask('follower', `jwt=${await jwt.provider.sign(web)}`))[0]
    await expect.poll(answer).toEqual([200, 'host/apps/web'])
  })

  test('a key that it has not seen proves nothing while its provider is away', async () => {
    await jwt.fetched.goAway()
    await jwt.fetched.rotate()
    const token = await jwt.fetched.sign(web)
    expect((await ask('follower', `jwt=${token}`, { service: 'jwks' }))[0]).toEqual(unauthorized)
  })

  test('what it has let in is written down when the Leader is back', async () => {
    const [got, id] = await ask('follower', `jwt=${await jwt.provider.sign(web)}`)
    expect(got[0]).toBe(200)
    const { leader } = jwt.world.machine
    leader.start()
    await leader.ready()
    expect(await messageOf(id)).toMatch(
      /^acme:host:apps\/web successfully authenticated with authenticator authn-jwt /,
    )
  })
})
