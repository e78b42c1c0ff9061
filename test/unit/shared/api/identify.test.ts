// Who asks: a refusal says what is wrong and no more, and nobody is believed by what only he says (http-api 2, 3).
import { beforeAll, describe, expect, test } from 'vitest'
import { clientCertificate, createRequestIds, identify } from '#shared/api/identify.ts'
import type { ApiNode } from '#shared/api/node.ts'
import type { RawRequest } from '#shared/api/request.ts'
import { clientAddressThrough, proxiesOf } from '#shared/authz/address.ts'
import { toBase64, utf8 } from '#shared/base/bytes.ts'
import { createTokens, newSigningKey, type Tokens } from '#shared/token/access-token.ts'

const NOW = Date.UTC(2026, 0, 5, 10, 20, 30)
const clientAddress = clientAddressThrough(['10.0.0.0/8'])

let tokens: Tokens
let header: string
beforeAll(async () => {
  const key = await newSigningKey()
  tokens = await createTokens(key, 'leader-1')
  tokens.keysChanged([{ kid: key.kid, jwk: JSON.stringify(key.publicJwk) }])
  header = `Token token="${toBase64(utf8(await tokens.issue('acme:host:app', 480, NOW)))}"`
})

function ask(access: 'open' | 'optional' | 'token', headers: Record<string, string>, now = NOW) {
  const request = { peer: '10.0.0.1', header: (name: string) => headers[name] }
  return identify(access, request as RawRequest, { tokens, clientAddress } as ApiNode, 'id-1', now)
}

const anonymous = { role: undefined, tokenIssuedAt: undefined, clientIp: '10.0.0.1', requestId: 'id-1' }
const refusal = (text: string) => ({ status: 401, body: { kind: 'text', text } })

describe('a caller', () => {
  test('with a token is its role, at once when the token is remembered', async () => {
    const caller = { ...anonymous, role: 'acme:host:app', tokenIssuedAt: NOW }
    expect(await ask('token', { authorization: header })).toEqual(caller)
    expect(ask('token', { authorization: header })).toEqual(caller)
    expect(ask('optional', { authorization: header })).toEqual(caller)
  })

  test('of an open route is nobody, whatever token is sent', () => {
    expect(ask('open', { authorization: header })).toEqual(anonymous)
    expect(ask('open', { authorization: 'Token token="x"' })).toEqual(anonymous)
  })

  test('without a token is refused where one is needed and nobody where it is optional', () => {
    for (const headers of [{}, { authorization: 'Basic YTpi' }, { authorization: 'token token="x"' }]) {
      expect(ask('token', headers)).toMatchObject(refusal('Authorization missing'))
      expect(ask('optional', headers)).toEqual(anonymous)
    }
  })

  test('with a bad token is refused, also where it is optional', async () => {
    for (const access of ['token', 'optional'] as const) {
      const bad = { authorization: 'Token token=""' }
      expect(await ask(access, bad)).toMatchObject(refusal('Malformed authorization token'))
      const late = await ask(access, { authorization: header }, NOW + 480_000)
      expect(late).toMatchObject(refusal('Unauthorized: Invalid token'))
    }
  })

  test('behind a trusted proxy has the address it names', () => {
    const forwarded = { 'x-forwarded-for': '192.0.2.1, 203.0.113.7, 10.0.0.2' }
    expect(ask('open', forwarded)).toMatchObject({ clientIp: '203.0.113.7' })
  })
})

describe('a certificate of a client', () => {
  const isProxy = proxiesOf(['10.0.0.0/8'])
  const PEM = '-----BEGIN CERTIFICATE-----\nMII+/A==\n-----END CERTIFICATE-----\n'
  const of = (peer: string, header: string | undefined, shown?: string) => {
    const request = {
      peer,
      header: (name: string) => (name === 'x-ssl-client-certificate' ? header : undefined),
    }
    return clientCertificate({ ...request, certificate: () => shown } as RawRequest, { isProxy })
  }

  test('is what a trusted proxy says, escaped as a URL or as a form', () => {
    for (const peer of ['10.0.0.1', '::ffff:10.0.0.1', '127.0.0.1', '::1'])
      expect(of(peer, encodeURIComponent(PEM))).toBe(PEM)
    expect(of('10.0.0.1', encodeURIComponent(PEM).replaceAll('%2B', '+'))).toBe(PEM)
    expect(of('10.0.0.1', encodeURIComponent(PEM).replaceAll('%20', '+'))).toBe(PEM)
    expect(of('10.0.0.1', undefined)).toBeUndefined()
    expect(of('10.0.0.1', '%zz')).toBeUndefined()
  })

  test('is nothing that anybody else says', () => {
    for (const peer of ['11.0.0.1', '192.0.2.1', '127.0.0.2', '/run/local.sock', '', 'localhost'])
      expect(of(peer, encodeURIComponent(PEM))).toBeUndefined()
  })

  test('is nothing when a proxy has added its own to what the client says', () => {
    const [forged, shown] = [PEM, PEM.replace('MII', 'MIJ')].map(encodeURIComponent)
    expect(of('10.0.0.1', `${forged}, ${shown}`)).toBeUndefined()
    expect(of('10.0.0.1', `${forged},`)).toBeUndefined()
  })

  test('is the one of the connection, whatever a header says', () => {
    expect(of('192.0.2.1', encodeURIComponent('other'), PEM)).toBe(PEM)
    expect(of('10.0.0.1', encodeURIComponent('other'), PEM)).toBe(PEM)
  })
})

describe('a request id', () => {
  const ids = createRequestIds((length) => new Uint8Array(length).fill(0xab))

  test('is the client’s own, without odd characters and not too long', () => {
    expect(ids('a-B_c.d@e1')).toBe('a-B_c.d@e1')
    expect(ids('a b\r\nX-Evil: 1"]\u2028é')).toBe('abX-Evil1')
    expect(ids('x'.repeat(10_000))).toBe('x'.repeat(255))
  })

  test('is a new one each time when the client has none', () => {
    const made = [undefined, '', ' \n', 'é'].map(ids)
    expect(new Set(made).size).toBe(4)
    for (const id of made) expect(id).toMatch(/^(ab){10}[0-9a-f]{12}$/)
  })
})
