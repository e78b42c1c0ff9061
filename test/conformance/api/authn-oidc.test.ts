// Users log in by OpenID Connect: with an id token, with a code, and from a list of providers (http-api 8.7).
import { createServer, type Server } from 'node:http'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { AuthorizationServer, type Grant } from '../../support/authorization-server.ts'
import { certificatesFor } from '../../support/certificates.ts'
import { DISCOVERY, IdentityProvider } from '../../support/identity-provider.ts'
import { freePorts } from '../../support/nodes.ts'
import { logInWithBrowser, type OidcPackage, startOidcPackage } from '../../support/oidc-package.ts'
import { AUTHENTICATORS, blockOf, runBlock } from '../../support/page.ts'
import { CLIENT, codeFlow, NONCE, type Node, OidcWorld, tokenOf, VERIFIER } from './authn-oidc.world.ts'
import { answered, atTheEdge, configured, FORM, recordsOf, settled, unauthorized } from './world.ts'

const badRequest = [400, '']
const forbidden = [403, '']

let oidc: OidcWorld
/** Providers beside the one of nearly all cases. */
const others: IdentityProvider[] = []
let leaving: IdentityProvider
let secure: IdentityProvider
let packaged: OidcPackage
const servers = new Map<IdentityProvider, AuthorizationServer>()
/** At a loopback address that nobody has allowed. */
let hidden: Server
let askedHidden = 0

async function provider(...tls: Parameters<typeof IdentityProvider.start>): Promise<IdentityProvider> {
  const one = await IdentityProvider.start(...tls)
  others.push(one)
  servers.set(one, new AuthorizationServer(one, CLIENT))
  return one
}

/** One whose discovery document says something else. */
async function saying(changes: (url: string) => object): Promise<string> {
  const one = await provider()
  one.answer(DISCOVERY, () => ({ body: { ...one.discovery(), ...changes(one.url) } }))
  return one.url
}

beforeAll(async () => {
  const [nobodys, hiddenPort] = await freePorts(2)
  hidden = createServer((_, response) => {
    askedHidden++
    response.end('{}')
  }).listen(hiddenPort, '127.0.0.2')
  const inside = `http://127.0.0.2:${hiddenPort}`
  leaving = await provider()
  secure = await provider(await certificatesFor('127.0.0.1'))
  const strangers = await certificatesFor('127.0.0.1')
  const withoutPlaces = await saying(() => ({
    token_endpoint: undefined,
    authorization_endpoint: 'javascript:x',
  }))
  const tenant = await saying((url) => ({ authorization_endpoint: `${url}/authorize?tenant=7` }))
  const hiddenKeys = await saying(() => ({ jwks_uri: `${inside}/keys` }))
  const hiddenToken = await saying(() => ({ token_endpoint: `${inside}/token` }))
  const otherIssuer = await saying(() => ({ issuer: 'https://idp.example' }))
  const failing = await provider()
  failing.answer(DISCOVERY, () => ({ status: 503, body: failing.discovery() }))
  const moved = await provider()
  moved.answer(DISCOVERY, () => ({ status: 302, headers: { Location: `${leaving.url}${DISCOVERY}` } }))
  // Its secrets are printable ASCII.
  const secret = 'a+b c%:&='
  packaged = await startOidcPackage({ ...CLIENT, secret })
  const idToken = (url: string) => ({ 'provider-uri': url, 'id-token-user-property': 'preferred_username' })
  oidc = await OidcWorld.start(({ url }) => ({
    code: codeFlow(url),
    'okta-prod': {
      ...codeFlow(url),
      'provider-scope': 'groups email',
      'token-ttl': 'PT5M',
      name: undefined,
      'ca-cert': undefined,
    },
    named: { ...codeFlow(`${url}/`), name: 'Our Provider', 'response-type': 'code' },
    mail: { ...codeFlow(url), 'claim-mapping': 'email' },
    tenant: codeFlow(tenant),
    'prod/eu': codeFlow(url),
    leaving: codeFlow(leaving.url),
    secure: { ...codeFlow(secure.url), 'ca-cert': secure.ca },
    packaged: { ...codeFlow(packaged.url), 'client-secret': secret },
    off: codeFlow(url),
    'x-unset': { ...codeFlow(url), 'client-secret': undefined },
    'x-absent': { 'provider-uri': url, 'client-id': 'x', 'client-secret': 'x' },
    'x-empty': {},
    'x-ttl': { ...codeFlow(url), 'token-ttl': 'one hour' },
    'x-type': { ...codeFlow(url), 'response-type': 'token' },
    'x-away': codeFlow(`http://127.0.0.1:${nobodys}`),
    'x-text': codeFlow('no address'),
    'x-failing': codeFlow(failing.url),
    'x-moved': codeFlow(moved.url),
    'x-other': codeFlow(otherIssuer),
    'x-query': codeFlow(`${url}?x=1`),
    'x-plain': { ...codeFlow(url), 'ca-cert': secure.ca },
    'x-places': codeFlow(withoutPlaces),
    'x-hidden': codeFlow(inside),
    'x-strangers': { ...codeFlow(secure.url), 'ca-cert': strangers.ca },
    'hidden-token': codeFlow(hiddenToken),
    'hidden-keys': codeFlow(hiddenKeys),
    'token-hidden-keys': idToken(hiddenKeys),
    token: idToken(url),
    'token-slash': idToken(`${url}/`),
    'token-leaving': idToken(leaving.url),
    'token-secure': { ...idToken(secure.url), 'ca-cert': secure.ca },
    'token-strangers': { ...idToken(secure.url), 'ca-cert': strangers.ca },
    'token-other': idToken(otherIssuer),
    'token-unset': { ...idToken(url), 'id-token-user-property': undefined },
    'token-absent': { 'provider-uri': url },
    'token-mail': { ...idToken(url), 'id-token-user-property': 'email' },
  }))
})
afterAll(async () => {
  await oidc?.stop()
  for (const one of others) await one.goAway()
  await packaged?.stop()
  hidden?.close()
})

const alice = { preferred_username: 'alice' }
const seconds = (offset: number): number => Math.floor(Date.now() / 1000) + offset

describe.each(['leader', 'follower'] as const)('at the %s', (node: Node) => {
  /** A Worker takes no authorities of ours. */
  const takesNoAuthority = atTheEdge && node === 'follower'
  const idToken = async (service: string, claims: object, signing = {}) =>
    answered(oidc.byIdToken(node, service, await oidc.provider.sign({ ...claims }, signing)))
  const code = (service: string, query: Readonly<Record<string, string | undefined>>) =>
    answered(oidc.byCode(node, service, query))
  const codeOf = (grant: Partial<Grant>) => code('code', oidc.login(grant))
  const claims = (changes: object) => codeOf({ claims: { ...alice, ...changes } })

  describe('with an id token', () => {
    test('a user gets a token of the usual life', async () => {
      const token = await oidc.provider.sign({ ...alice, aud: 'somebody else' })
      const got = await tokenOf(await oidc.byIdToken(node, 'token', token), oidc.url(node))
      expect(got).toEqual({ role: 'alice', seconds: 480 })
      const headers = { Authorization: `Bearer ${token}` }
      const url = `${oidc.url(node)}/authn-oidc/token/acme/authenticate`
      const byHeader = await fetch(url, { method: 'POST', headers })
      expect(await tokenOf(byHeader, oidc.url(node))).toEqual({ role: 'alice', seconds: 480 })
      const base64 = await oidc.byIdToken(node, 'token', token, { 'Accept-Encoding': 'base64' })
      expect(base64.headers.get('content-encoding')).toBe('base64')
      expect(JSON.parse(atob(await base64.text()))).toHaveProperty('signature')
    })

    test('of a provider that is named with a slash, or by another claim', async () => {
      expect((await idToken('token-slash', alice))[0]).toBe(200)
      expect((await idToken('token', { ...alice, iss: `${oidc.provider.url}/` }))[0]).toBe(200)
      expect((await idToken('token-mail', { ...alice, email: 'alice@example.com' }))[0]).toBe(200)
    })

    test('what is no token: 400 for none, 401 for anything else', async () => {
      const url = `${oidc.url(node)}/authn-oidc/token/acme/authenticate`
      const post = (body: string, headers = {}) =>
        answered(fetch(url, { method: 'POST', body, headers: { ...FORM, ...headers } }))
      expect(await post('')).toEqual(badRequest)
      expect(await post('id_token=')).toEqual(badRequest)
      expect(await post('jwt=x')).toEqual(badRequest)
      expect(await post('', { Authorization: 'Bearer ' })).toEqual(badRequest)
      expect(await post('', { Authorization: 'Basic eDp4' })).toEqual(badRequest)
      expect(await post('', { Authorization: 'Bearer x' })).toEqual(unauthorized)
      expect(await post('id_token=a.b.c')).toEqual(unauthorized)
      // A token of ours is not looked at, and is none of theirs.
      expect(await post('id_token=x', { Authorization: 'Token token="x"' })).toEqual(unauthorized)
    })

    test.each<[string, object]>([
      ['no claim', {}],
      ['an empty claim', { preferred_username: '' }],
      ['a claim that is no text', { preferred_username: ['alice'] }],
      ['a number', { preferred_username: 7 }],
      ['what no store can hold', { preferred_username: 'alice\0' }],
      ['what nobody is called', { preferred_username: 'a'.repeat(1_000) }],
      ['admin', { preferred_username: 'admin' }],
      ['nobody of ours', { preferred_username: 'zed' }],
      ['a host: users only', { preferred_username: 'host/machine' }],
      ['another origin', { preferred_username: 'far' }],
      ['another issuer', { ...alice, iss: 'https://idp.example' }],
      ['no issuer', { ...alice, iss: undefined }],
      ['no end', { ...alice, exp: undefined }],
      ['not yet', { ...alice, nbf: seconds(600) }],
    ])('%s: 401, and nothing more', async (_, claims) => {
      expect(await idToken('token', claims)).toEqual(unauthorized)
    })

    test('one that has expired says so, alone', async () => {
      expect(await idToken('token', { ...alice, exp: seconds(-60) })).toEqual([
        401,
        { error: { code: 'unauthorized', message: 'CONJ00016E Token expired' } },
      ])
    })

    test('who may not: 403', async () => {
      expect(await idToken('token', { preferred_username: 'bob' })).toEqual(forbidden)
    })

    test('what is not set up: 401', async () => {
      for (const service of [
        'token-unset',
        'token-absent',
        'code',
        'off',
        'nothing',
        'listed',
        'token-other',
      ])
        expect([service, ...(await idToken(service, alice))]).toEqual([service, ...unauthorized])
    })

    test('without a service: 401, either way', async () => {
      const url = `${oidc.url(node)}/authn-oidc/acme/authenticate`
      const body = new URLSearchParams({ id_token: await oidc.provider.sign(alice) })
      expect(await answered(fetch(url, { method: 'POST', body }))).toEqual(unauthorized)
      expect(await answered(fetch(`${url}?${new URLSearchParams(oidc.login())}`))).toEqual(unauthorized)
      const login = `${oidc.url(node)}/authn-oidc/token/acme/alice/authenticate`
      expect((await fetch(login, { method: 'POST', body: '' })).status).toBe(404)
    })

    test('an authority of the operator, and no other', async () => {
      const token = await secure.sign(alice)
      const [status] = await answered(oidc.byIdToken(node, 'token-secure', token))
      expect(status).toBe(takesNoAuthority ? 401 : 200)
      expect(await answered(oidc.byIdToken(node, 'token-strangers', token))).toEqual(unauthorized)
    })
  })

  describe('with a code', () => {
    test('from the list of providers to a token, once', async () => {
      const url = oidc.url(node)
      const listed = (await (await fetch(`${url}/authn-oidc/acme/providers`)).json()) as Item[]
      const { nonce, code_verifier, redirect_uri } = listed.find(({ service_id }) => service_id === 'code')!
      const came = await fetch(`${redirect_uri}&login_hint=alice`, { redirect: 'manual' })
      const back = new URL(came.headers.get('location')!).searchParams.get('code')!
      const query = { code: back, nonce, code_verifier }
      const response = await oidc.byCode(node, 'code', query)
      expect(response.status).toBe(200)
      expect(response.headers.get('cache-control')).toBe('no-store')
      expect(await tokenOf(response, url)).toEqual({ role: 'alice', seconds: 3_600 })
      const asked = new URLSearchParams(oidc.provider.asked('/token').at(-1)!.body)
      expect(Object.fromEntries(asked)).toEqual({
        grant_type: 'authorization_code',
        scope: 'openid email profile',
        code: back,
        nonce,
        code_verifier,
        redirect_uri: CLIENT.redirectUri,
      })
      expect(await code('code', query)).toEqual(badRequest)
    })

    test('the token lives as long as is set, and what has no value is not set', async () => {
      const response = await oidc.byCode(node, 'okta-prod', oidc.login())
      expect(await tokenOf(response, oidc.url(node))).toEqual({ role: 'alice', seconds: 300 })
    })

    test('another claim, an access token instead, a login without PKCE, a service below another', async () => {
      const mail = oidc.login({ claims: { email: 'alice@example.com' } })
      const response = await oidc.byCode(node, 'mail', mail)
      expect((await tokenOf(response, oidc.url(node))).role).toBe('alice@example.com')
      const access = await oidc.provider.sign({ ...alice, nonce: NONCE, aud: CLIENT.id })
      expect((await codeOf({ says: { body: { access_token: access } } }))[0]).toBe(200)
      expect(await codeOf({ says: { status: 500, body: { access_token: access } } })).toEqual(badRequest)
      const plain = { ...oidc.login({ challenge: undefined }), code_verifier: undefined }
      expect((await code('code', plain))[0]).toBe(200)
      expect((await code('prod/eu', oidc.login()))[0]).toBe(200)
      expect((await code('named', oidc.login()))[0]).toBe(200)
    })

    test('at a provider that others have written, by its login pages', async () => {
      const items = async () =>
        (await (await fetch(`${oidc.url(node)}/authn-oidc/acme/providers`)).json()) as Item[]
      const codeFor = async (name: string) => {
        const item = (await items()).find(({ service_id }) => service_id === 'packaged')!
        const back = await logInWithBrowser(item.redirect_uri, name, CLIENT.redirectUri)
        return { code: back.searchParams.get('code')!, nonce: item.nonce, code_verifier: item.code_verifier }
      }
      const query = await codeFor('alice')
      const response = await oidc.byCode(node, 'packaged', query)
      expect(await tokenOf(response, oidc.url(node))).toEqual({ role: 'alice', seconds: 3_600 })
      expect(await code('packaged', query)).toEqual(badRequest)
      expect(await code('packaged', { ...(await codeFor('alice')), nonce: NONCE })).toEqual(badRequest)
      expect(await code('packaged', { ...(await codeFor('alice')), code_verifier: VERIFIER })).toEqual(
        badRequest,
      )
      expect(await code('packaged', { ...(await codeFor('alice')), code_verifier: undefined })).toEqual(
        badRequest,
      )
      expect(await code('packaged', await codeFor('bob'))).toEqual(forbidden)
    })

    test('a code or a nonce is missing: 400, and the code stays good', async () => {
      const query = oidc.login()
      for (const name of ['code', 'nonce']) {
        expect(await code('code', { ...query, [name]: undefined })).toEqual(badRequest)
        expect(await code('code', { ...query, [name]: '' })).toEqual(badRequest)
      }
      expect((await code('code', query))[0]).toBe(200)
    })

    test('the provider refuses the code: 400', async () => {
      expect(await code('code', { ...oidc.login(), code: 'of nobody' })).toEqual(badRequest)
      // PKCE: without the verifier, with another, and with one where the login had none.
      expect(await code('code', { ...oidc.login(), code_verifier: undefined })).toEqual(badRequest)
      expect(await code('code', { ...oidc.login(), code_verifier: '' })).toEqual(badRequest)
      expect(await code('code', { ...oidc.login(), code_verifier: `${VERIFIER}x` })).toEqual(badRequest)
      expect(await code('code', oidc.login({ challenge: undefined }))).toEqual(badRequest)
    })

    test.each<[string, Partial<Grant>]>([
      ['no token', { says: { body: { token_type: 'Bearer' } } }],
      ['an empty token', { says: { body: { id_token: '', access_token: 7 } } }],
      ['no JSON', { says: { body: '<html>' } }],
      [
        'an answer that leads elsewhere',
        { says: { status: 307, headers: { Location: '/token' }, body: {} } },
      ],
      ['a token that cannot be read', { says: { body: { id_token: 'x' } } }],
      ['another nonce', { claims: { nonce: '5e'.repeat(25) } }],
      ['a longer nonce', { claims: { nonce: `${NONCE}5f` } }],
      ['no nonce', { claims: { nonce: undefined } }],
      ['a nonce that is no text', { claims: { nonce: [NONCE] } }],
      ['another audience', { claims: { aud: 'another' } }],
      ['no audience', { claims: { aud: undefined } }],
      ['several audiences and no authorised party', { claims: { aud: [CLIENT.id, 'another'] } }],
      ['another authorised party', { claims: { aud: [CLIENT.id, 'another'], azp: 'another' } }],
      ['another authorised party alone', { claims: { azp: 'another' } }],
      ['another issuer', { claims: { iss: 'https://idp.example' } }],
      ['no end', { claims: { exp: undefined } }],
      ['it has expired', { claims: { exp: seconds(-60) } }],
      ['not yet', { claims: { nbf: seconds(600) } }],
      ['nobody of ours', { claims: { preferred_username: 'zed' } }],
      ['a host: users only', { claims: { preferred_username: 'host/machine' } }],
    ])('%s: 400', async (_, grant) => {
      expect(await codeOf(grant)).toEqual(badRequest)
    })

    test('a provider whose clock is ahead of ours by seconds', async () => {
      const ahead = seconds(5)
      expect((await claims({ iat: ahead, nbf: ahead }))[0]).toBe(200)
    })

    test('several audiences, and we are the authorised party', async () => {
      expect((await claims({ aud: ['another', CLIENT.id], azp: CLIENT.id }))[0]).toBe(200)
    })

    test('a token of keys that are not the provider’s: 400', async () => {
      const forged = await leaving.sign({ ...alice, iss: oidc.provider.url, aud: CLIENT.id, nonce: NONCE })
      expect(await codeOf({ says: { body: { id_token: forged } } })).toEqual(badRequest)
    })

    test.each<[string, object]>([
      ['no claim', { preferred_username: undefined }],
      ['an empty claim', { preferred_username: '' }],
      ['admin', { preferred_username: 'admin' }],
      ['another origin', { preferred_username: 'far' }],
    ])('%s: 401', async (_, changes) => {
      expect(await claims(changes)).toEqual(unauthorized)
    })

    test('who may not: 403', async () => {
      expect(await claims({ preferred_username: 'bob' })).toEqual(forbidden)
    })

    test('not enabled: 400; enabled, and there is none: 401', async () => {
      expect(await code('off', oidc.login())).toEqual(badRequest)
      expect(await code('nothing', oidc.login())).toEqual(badRequest)
      expect(await code('listed', oidc.login())).toEqual(unauthorized)
    })

    test('what is not set up, or cannot be asked: 401', async () => {
      const names = ['unset', 'absent', 'empty', 'ttl', 'type', 'away', 'text', 'failing', 'moved', 'other']
      for (const name of [...names, 'places', 'strangers', 'query', 'plain'])
        expect([name, ...(await code(`x-${name}`, oidc.login()))]).toEqual([name, ...unauthorized])
      expect(await code('token', oidc.login())).toEqual(unauthorized)
    })

    test('an authority of the operator', async () => {
      const [status] = await code('secure', oidc.login({}, servers.get(secure)))
      expect(status).toBe(takesNoAuthority ? 401 : 200)
    })
  })

  test('no provider, and nothing that one names, leads to a private address', async () => {
    expect(await code('x-hidden', oidc.login())).toEqual(unauthorized)
    expect(await code('hidden-token', oidc.login())).toEqual(unauthorized)
    expect(await idToken('token-hidden-keys', alice)).toEqual(unauthorized)
    const one = others.find(({ url }) => url === oidc.services['hidden-keys']!['provider-uri'])!
    expect(await code('hidden-keys', oidc.login({}, servers.get(one)))).toEqual(unauthorized)
    expect(one.asked('/token')).not.toHaveLength(0)
    expect(askedHidden).toBe(0)
  })

  describe('the list of providers', () => {
    const list = async (): Promise<Item[]> => {
      const response = await fetch(`${oidc.url(node)}/authn-oidc/acme/providers`, {
        headers: { Authorization: 'Token token="not looked at"' },
      })
      expect(response.status).toBe(200)
      expect(response.headers.get('cache-control')).toBe('no-store')
      return (await response.json()) as Item[]
    }

    test('all that can be used, enabled or not, and no other', async () => {
      const listed = await list()
      const usable = ['code', 'hidden-keys', 'hidden-token', 'leaving', 'mail', 'named', 'off', 'okta-prod']
      expect(listed.map(({ service_id, name }) => [service_id, name])).toEqual([
        ...usable.map((id) => [id, titles[id]]),
        ['packaged', 'Packaged'],
        ['prod/eu', 'Prod/Eu'],
        ...(takesNoAuthority ? [] : [['secure', 'Secure']]),
        ['tenant', 'Tenant'],
      ])
      expect(new Set(listed.map(({ type }) => type))).toEqual(new Set(['authn-oidc']))
    })

    test('each item is for one login', async () => {
      const [first, second] = [await list(), await list()]
      const texts = [...first, ...second].flatMap(({ nonce, code_verifier }) => [nonce, code_verifier])
      expect(texts.filter((text) => !/^[0-9a-f]{50}$/.test(text))).toEqual([])
      expect(new Set(texts).size).toBe(texts.length)
    })

    test('leads to the provider with a challenge', async () => {
      const listed = await list()
      const item = (id: string) => listed.find(({ service_id }) => service_id === id)!
      const { nonce, redirect_uri } = item('okta-prod')
      expect(redirect_uri).toMatch(
        new RegExp(
          `^${oidc.provider.url}/authorize\\?client_id=holdfast%3Aweb&response_type=code&` +
            `scope=openid%20email%20profile%20groups&nonce=${nonce}&code_challenge=[\\w-]{43}&` +
            'code_challenge_method=S256&redirect_uri=https%3A%2F%2Fapp.example%2Fcallback%3Fx%3D1%26y%3D2$',
        ),
      )
      expect(new URL(item('tenant').redirect_uri).search).toMatch(/^\?tenant=7&client_id=/)
    })

    test('who comes while a provider is being asked waits for the same answer', async () => {
      const before = leaving.asked(DISCOVERY).length
      const release = leaving.hold()
      const first = list()
      while (leaving.asked(DISCOVERY).length === before) await new Promise(setImmediate)
      const second = list()
      await (await fetch(`${oidc.url(node)}/authenticators`)).text()
      release()
      for (const listed of await Promise.all([first, second]))
        expect(listed.map(({ service_id }) => service_id)).toContain('leaving')
    })

    test('of an account that is not there is empty', async () => {
      expect(await answered(fetch(`${oidc.url(node)}/authn-oidc/other/providers`))).toEqual([200, []])
    })
  })

  // The offline rule (docs/authenticators.md): keys are remembered, and a code is known to its provider alone.
  test('while the provider is away, id tokens are good, and codes are not', async () => {
    const token = await leaving.sign(alice)
    expect((await answered(oidc.byIdToken(node, 'token-leaving', token)))[0]).toBe(200)
    const query = oidc.login({}, servers.get(leaving))
    await leaving.goAway()
    try {
      expect((await answered(oidc.byIdToken(node, 'token-leaving', token)))[0]).toBe(200)
      expect(await code('leaving', query)).toEqual(unauthorized)
      const listed = (await (await fetch(`${oidc.url(node)}/authn-oidc/acme/providers`)).json()) as Item[]
      expect(listed.map(({ service_id }) => service_id)).not.toContain('leaving')
    } finally {
      await leaving.comeBack()
    }
    expect((await code('leaving', query))[0]).toBe(200)
  })

  describe('what is recorded', () => {
    const what = (service: string) =>
      `with authenticator authn-oidc service acme:webservice:conjur/authn-oidc/${service}`
    const recordOf = async (asked: (headers: Record<string, string>) => Promise<Response>) => {
      const id = `oidc-${node}-${crypto.randomUUID()}`
      await (await asked({ 'X-Request-Id': id })).arrayBuffer()
      const [record, more] = await recordsOf(oidc.world, id)
      expect(more).toBeUndefined()
      return record!
    }

    test('who it was', async () => {
      const record = await recordOf((headers) => oidc.byCode(node, 'code', oidc.login(), headers))
      expect(record).toMatchObject({
        facility: 10,
        severity: 6,
        msgid: 'authn',
        message: `acme:user:alice successfully authenticated ${what('code')}`,
        sdata: {
          'subject@43868': { role: 'acme:user:alice' },
          'auth@43868': {
            user: 'acme:user:alice',
            authenticator: 'authn-oidc',
            service: 'acme:webservice:conjur/authn-oidc/code',
          },
          'action@43868': { result: 'success', operation: 'authenticate' },
        },
      })
    })

    test.each<[string, Partial<Grant>, string]>([
      [
        'code',
        { challenge: 'x' },
        'CONJ00133E Access Token retrieval failure: it was answered 400 invalid_grant',
      ],
      [
        'code',
        { says: { status: 400, body: { error: 'secret words' } } },
        'CONJ00133E Access Token retrieval failure: it was answered 400 unknown error',
      ],
      [
        'code',
        { claims: { nonce: 'x' } },
        'CONJ00128E JWT Token validation failed: the nonce is not that of the request',
      ],
      ['mail', {}, "CONJ00013E Claim 'email' not found or empty in ID token"],
      ['off', {}, "CONJ00004E 'authn-oidc/off' is not enabled"],
      [
        'x-ttl',
        {},
        'CONJ00130E The OIDC provider variable values are misconfigured: ' +
          'acme:variable:conjur/authn-oidc/x-ttl/token-ttl: it is no ISO 8601 duration',
      ],
      ['x-other', {}, 'CONJ00011E Provider cannot be discovered: its document names another issuer'],
    ])('what was wrong (%s, %j)', async (service, grant, words) => {
      const record = await recordOf((headers) => oidc.byCode(node, service, oidc.login(grant), headers))
      expect(record).toMatchObject({
        severity: 4,
        message: `not-found failed to authenticate ${what(service)}: ${words}`,
        sdata: { 'auth@43868': { user: 'not-found' } },
      })
    })

    test('who may not, and who is not here', async () => {
      const by = (preferred_username: string) =>
        recordOf(async (headers) =>
          oidc.byIdToken(node, 'token', await oidc.provider.sign({ preferred_username }), headers),
        )
      expect(await by('bob')).toMatchObject({
        message:
          `acme:user:bob failed to authenticate ${what('token')}: CONJ00006E 'bob' does not have 'authenticate' ` +
          'privilege on acme:webservice:conjur/authn-oidc/token',
        sdata: { 'auth@43868': { user: 'acme:user:bob' } },
      })
      expect(await by('zed')).toMatchObject({
        message: `acme:user:zed failed to authenticate ${what('token')}: CONJ00007E 'acme:user:zed' not found`,
        sdata: { 'auth@43868': { user: 'not-found' }, 'subject@43868': { role: 'acme:user:zed' } },
      })
      expect((await by('admin')).message).toContain('CONJ00017E admin user is not allowed')
    })

    test('that no service was named', async () => {
      const { message } = await recordOf((headers) =>
        fetch(`${oidc.url(node)}/authn-oidc/acme/authenticate`, { method: 'POST', body: '', headers }),
      )
      expect(message).toBe(
        'not-found failed to authenticate with authenticator authn-oidc service acme:webservice:conjur/authn-oidc: ' +
          "CONJ00075E Service id is required for 'authn-oidc'",
      )
    })
  })
})

test('the steps of the documentation lead to a token', async () => {
  const { admin } = oidc.world
  expect((await admin.loadPolicy('root', blockOf(AUTHENTICATORS, 'OIDC', 'yaml'))).status).toBe(201)
  await configured(admin, 'authn-oidc', 'okta', codeFlow(oidc.provider.url))
  await settled(oidc.world)
  for (const node of ['leader', 'follower'] as const) {
    const printed = await runBlock(blockOf(AUTHENTICATORS, 'OIDC', 'sh'), {
      HOLDFAST_URL: oidc.url(node),
      ...oidc.login(),
    })
    expect(JSON.parse(atob(printed))).toHaveProperty('payload')
  }
})

type Item = {
  readonly service_id: string
  readonly type: string
  readonly name: string
  readonly nonce: string
  readonly code_verifier: string
  readonly redirect_uri: string
}
const titles: Readonly<Record<string, string>> = {
  code: 'Code',
  'hidden-keys': 'Hidden Keys',
  'hidden-token': 'Hidden Token',
  leaving: 'Leaving',
  mail: 'Mail',
  named: 'Our Provider',
  off: 'Off',
  'okta-prod': 'Okta Prod',
}
