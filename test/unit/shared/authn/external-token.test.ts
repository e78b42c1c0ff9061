// What is at stake: whoever makes a provider's token up, or uses one that was made for somebody else, gets in.
import { constants, createHmac, generateKeyPairSync, sign as signWith } from 'node:crypto'
import { beforeAll, describe, expect, test } from 'vitest'
import { Refused } from '#shared/authn/contract.ts'
import { type Expected, verifyExternalToken } from '#shared/authn/external-token.ts'
import type { KeySet } from '#shared/authn/provider-keys.ts'
import { toBase64Url, utf8 } from '#shared/base/bytes.ts'
import { limits } from '#shared/base/limits.ts'
import { wall } from '#shared/base/time.ts'

const NOW = Date.UTC(2026, 0, 5, 10, 20, 30, 400)
const SECONDS = Math.floor(NOW / 1000)
const ISSUER = 'https://idp.example'

const newKey = (bits = 2048) => generateKeyPairSync('rsa', { modulusLength: bits })
const own = newKey()
const stranger = newKey()
const small = newKey(1024)
const elliptic = generateKeyPairSync('ec', { namedCurve: 'P-256' })
type Pair = { readonly publicKey: { export(options: { format: 'jwk' }): object } }
const jwkOf = ({ publicKey }: Pair, more: object = {}) => ({
  ...publicKey.export({ format: 'jwk' }),
  ...more,
})

const keySet = {
  keys: [
    jwkOf(own, { kid: 'own', use: 'sig' }),
    jwkOf(small, { kid: 'small' }),
    jwkOf(elliptic, { kid: 'elliptic' }),
    jwkOf(own, { kid: 'for-512', alg: 'RS512' }),
    jwkOf(own, { kid: 'for-sealing', use: 'enc' }),
    jwkOf(own, { kid: 'twice' }),
    jwkOf(stranger, { kid: 'twice' }),
    { kty: 'oct', kid: 'shared', k: toBase64Url(utf8('a secret that is shared by both')) },
    { kty: 'RSA', kid: 'broken', n: '!', e: 'AQAB' },
  ],
} as unknown as KeySet

const text = (value: unknown): string => (typeof value === 'string' ? value : JSON.stringify(value))
const part = (value: unknown): string => toBase64Url(utf8(text(value)))
const good = { iss: ISSUER, aud: 'conjur', sub: 'me', iat: SECONDS - 5, exp: SECONDS + 60 }
const header = { alg: 'RS256', kid: 'own', typ: 'JWT' }

/** Objects, or texts for what no object can say. */
function signed(
  claims: unknown = good,
  head: unknown = header,
  key = own.privateKey,
  hash = 'sha256',
): string {
  const input = `${part(head)}.${part(claims)}`
  return `${input}.${toBase64Url(signWith(hash, utf8(input), key))}`
}

const expected: Expected = {
  keys: async () => keySet,
  issuer: ISSUER,
  audience: 'conjur',
  now: wall(NOW),
}

async function outcome(token: string, more: Partial<Expected> = {}): Promise<string> {
  try {
    const { sub } = await verifyExternalToken(token, { ...expected, ...more })
    return `taken ${sub}`
  } catch (error) {
    if (!(error instanceof Refused)) throw error
    return `${error.kind} ${error.message}`
  }
}

let right: string
beforeAll(() => {
  right = signed()
})

describe('a token that is right', () => {
  test.each<[string, unknown, unknown, string?]>([
    ['as usual', good, header],
    ['without a type', good, { alg: 'RS256', kid: 'own' }],
    ['of an access token', good, { ...header, typ: 'application/AT+JWT' }],
    ['of SPIFFE', good, { ...header, typ: 'JOSE' }],
    ['RS384', good, { ...header, alg: 'RS384' }, 'sha384'],
    ['RS512', good, { ...header, alg: 'RS512' }, 'sha512'],
    ['for several', { ...good, aud: ['other', 'conjur'] }, header],
    ['valid since now', { ...good, nbf: SECONDS, iat: SECONDS }, header],
    [
      'with a key beside it that nobody asked for',
      good,
      { ...header, jwk: jwkOf(stranger), jku: 'https://evil' },
    ],
  ])('%s', async (_, claims, head, hash) => {
    expect(await outcome(signed(claims, head, own.privateKey, hash))).toBe('taken me')
  })

  test('names no key where one fits only', async () => {
    const only = { keys: [jwkOf(own)] } as unknown as KeySet
    const token = signed(good, { alg: 'RS256' })
    expect(await outcome(token, { keys: async () => only })).toBe('taken me')
    expect(await outcome(token)).toMatch('CONJ00035E')
  })

  test('without an issuer, where that is allowed', async () => {
    const { iss: _, ...without } = good
    expect(await outcome(signed(without))).toBe(
      "unauthorized CONJ00091E Failed to validate token: mandatory claim 'iss' is missing",
    )
    expect(await outcome(signed(without), { mayLackIssuer: true })).toBe('taken me')
    expect(await outcome(signed(without), { issuer: undefined })).toBe('taken me')
    for (const iss of ['https://evil', null, ''])
      expect(await outcome(signed({ ...good, iss }), { mayLackIssuer: true })).toMatch('CONJ00035E')
  })
})

describe('whose key signed it', () => {
  test('a stranger’s, also when the header brings it along', async () => {
    const asked: unknown[] = []
    const keys = async (kid: string | undefined) => {
      asked.push(kid)
      return keySet
    }
    const jwk = jwkOf(stranger, { kid: 'own' })
    for (const more of [
      {},
      { jwk },
      { jku: 'https://evil/keys' },
      { x5u: 'https://evil/cert' },
      { x5c: ['MIIB'] },
    ])
      expect(await outcome(signed(good, { ...header, ...more }, stranger.privateKey), { keys })).toBe(
        'unauthorized CONJ00035E Failed to decode token: ERR_JWS_SIGNATURE_VERIFICATION_FAILED',
      )
    expect(asked).toEqual(['own', 'own', 'own', 'own', 'own'])
  })

  test('a public key is no shared secret (alg confusion)', async () => {
    const pem = own.publicKey.export({ type: 'spki', format: 'pem' })
    const secrets = [pem, pem.toString().trim(), 'a secret that is shared by both']
    for (const secret of secrets)
      for (const kid of ['own', 'shared']) {
        const input = `${part({ ...header, kid, alg: 'HS256' })}.${part(good)}`
        const mac = createHmac('sha256', secret).update(input).digest()
        expect(await outcome(`${input}.${toBase64Url(mac)}`)).toMatch('ERR_JOSE_ALG_NOT_ALLOWED')
      }
  })

  test.each(['none', 'None', 'NONE', '', 'rs256', 'ES256', 'PS256', 'EdDSA'])('alg %j', async (alg) => {
    const [, , signature] = right.split('.')
    for (const last of ['', signature])
      expect(await outcome(`${part({ ...header, alg })}.${part(good)}.${last}`)).toMatch(
        /^unauthorized CONJ000(35|77)E/,
      )
  })

  test('a right signature of another algorithm', async () => {
    const pss = { key: own.privateKey, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 }
    const input = `${part({ ...header, alg: 'PS256' })}.${part(good)}`
    expect(await outcome(`${input}.${toBase64Url(signWith('sha256', utf8(input), pss))}`)).toMatch(
      'ERR_JOSE_ALG_NOT_ALLOWED',
    )
    const curve = { key: elliptic.privateKey, dsaEncoding: 'ieee-p1363' } as const
    const other = `${part({ ...header, kid: 'elliptic', alg: 'ES256' })}.${part(good)}`
    expect(await outcome(`${other}.${toBase64Url(signWith('sha256', utf8(other), curve))}`)).toMatch(
      'ERR_JOSE_ALG_NOT_ALLOWED',
    )
  })

  test('the name of a key is a text before anybody is asked for it', async () => {
    const keys = () => {
      throw new Error('asked')
    }
    for (const kid of [7, ['own'], { own: 1 }, null])
      expect(await outcome(signed(good, { ...header, kid }), { keys })).toMatch('CONJ00035E')
  })

  test('alg is one text', async () => {
    for (const alg of [undefined, null, ['RS256'], { toString: 'RS256' }, 1])
      expect(await outcome(signed(good, { ...header, alg }))).toMatch('CONJ00035E')
  })

  test.each(['for-512', 'for-sealing', 'twice', 'elliptic', 'unknown', ''])('key %j', async (kid) => {
    expect(await outcome(signed(good, { ...header, kid }))).toMatch('unauthorized CONJ00035E')
  })

  test('a key that is too short, and one that is none', async () => {
    expect(await outcome(signed(good, { ...header, kid: 'small' }, small.privateKey))).toMatch(
      /CONJ000(15|35)E/,
    )
    expect(await outcome(signed(good, { ...header, kid: 'broken' }))).toMatch(/CONJ000(15|35)E/)
    for (const set of [{ keys: 'x' }, { keys: [7] }, {}])
      expect(await outcome(right, { keys: async () => set as unknown as KeySet })).toMatch('CONJ00035E')
  })
})

describe('what a token says of itself', () => {
  test.each<[string, unknown]>([
    ['a logout token', { ...header, typ: 'logout+jwt' }],
    ['a proof of possession', { ...header, typ: 'dpop+jwt' }],
    ['no text for a type', { ...header, typ: ['JWT'] }],
    ['an empty type', { ...header, typ: '' }],
    ['an extension', { ...header, crit: ['exp'], exp: 1 }],
    ['an unencoded payload', { ...header, crit: ['b64'], b64: false }],
    ['an extension that changes nothing', { ...header, crit: ['b64'], b64: true }],
    ['an empty list of extensions', { ...header, crit: [] }],
    ['no text for a key', { ...header, kid: 7 }],
    ['no object', '["RS256"]'],
    ['no JSON', '{"alg":"RS256"'],
    ['an algorithm twice', '{"alg":"none","alg":"RS256","kid":"own"}'],
    ['an algorithm twice, once in escapes', '{"\\u0061lg":"none","alg":"RS256","kid":"own"}'],
  ])('header: %s', async (_, head) => {
    expect(await outcome(signed(good, head))).toMatch('unauthorized CONJ00035E')
  })

  test.each<[string, unknown]>([
    ['no object', '"me"'],
    ['a list', '[]'],
    ['nothing', 'null'],
    ['a subject twice', `${JSON.stringify(good).slice(0, -1)},"sub":"root"}`],
    ['a nested name twice', `${JSON.stringify(good).slice(0, -1)},"a":{"b":1,"b":2}}`],
    ['too deep', `${JSON.stringify(good).slice(0, -1)},"a":${'['.repeat(70)}${']'.repeat(70)}}`],
  ])('claims: %s', async (_, claims) => {
    expect(await outcome(signed(claims))).toMatch('unauthorized CONJ00035E')
  })

  test('no Unicode', async () => {
    const input = `${part(header)}.${toBase64Url(new Uint8Array([0x7b, 0xff, 0x7d]))}`
    const signature = toBase64Url(signWith('sha256', utf8(input), own.privateKey))
    expect(await outcome(`${input}.${signature}`)).toMatch('CONJ00035E')
  })
})

describe('how long it is good', () => {
  test.each<[string, object, string]>([
    ['expired', { exp: SECONDS - 1 }, 'expired CONJ00016E Token expired'],
    ['expired now', { exp: SECONDS }, 'expired CONJ00016E Token expired'],
    ['expired long ago', { exp: 0 }, 'expired CONJ00016E Token expired'],
    [
      'for ever',
      { exp: undefined },
      "unauthorized CONJ00091E Failed to validate token: mandatory claim 'exp' is missing",
    ],
    [
      'until a text',
      { exp: '9999999999' },
      "unauthorized CONJ00035E Failed to decode token: claim 'exp' is not as it must be",
    ],
    [
      'until nothing',
      { exp: null },
      "unauthorized CONJ00035E Failed to decode token: claim 'exp' is not as it must be",
    ],
    [
      'not yet',
      { nbf: SECONDS + 1 },
      "unauthorized CONJ00035E Failed to decode token: claim 'nbf' is not as it must be",
    ],
    [
      'not yet a text',
      { nbf: '0' },
      "unauthorized CONJ00035E Failed to decode token: claim 'nbf' is not as it must be",
    ],
    [
      'made tomorrow',
      { iat: SECONDS + 1 },
      "unauthorized CONJ00035E Failed to decode token: claim 'iat' is not as it must be",
    ],
    [
      'made at a text',
      { iat: 'x' },
      "unauthorized CONJ00035E Failed to decode token: claim 'iat' is not as it must be",
    ],
  ])('%s', async (_, more, words) => {
    expect(await outcome(signed({ ...good, ...more }))).toBe(words)
  })

  test('of one that is expired and forged only the second is said', async () => {
    expect(await outcome(signed({ ...good, exp: 1 }, header, stranger.privateKey))).toMatch(
      'unauthorized CONJ00035E',
    )
    expect(await outcome(signed({ ...good, exp: 1, iss: 'x' }))).toMatch('unauthorized CONJ00035E')
  })
})

describe('by whom and for whom', () => {
  test.each<[string, unknown]>([
    ['another', 'https://evil.example'],
    ['a longer one', `${ISSUER}.evil`],
    ['one with a slash', `${ISSUER}/`],
    ['a shorter one', ISSUER.slice(0, -1)],
    ['in other letters', ISSUER.toUpperCase()],
    ['a list with it', [ISSUER]],
    ['a list of lists', [[ISSUER]]],
    ['an object', { 0: ISSUER }],
    ['nobody', ''],
  ])('issuer: %s', async (_, iss) => {
    expect(await outcome(signed({ ...good, iss }))).toBe(
      "unauthorized CONJ00035E Failed to decode token: claim 'iss' is not as it must be",
    )
  })

  test.each<[string, unknown]>([
    ['another', 'other'],
    ['a longer one', 'conjur2'],
    ['a shorter one', 'conju'],
    ['a list in a text', 'other,conjur'],
    ['a list of lists', [['conjur']]],
    ['an object', { conjur: true, 0: 'conjur', length: 1 }],
    ['nobody', []],
    ['nothing', null],
  ])('audience: %s', async (_, aud) => {
    expect(await outcome(signed({ ...good, aud }))).toBe(
      "unauthorized CONJ00035E Failed to decode token: claim 'aud' is not as it must be",
    )
  })

  test('audience: unsaid', async () => {
    expect(await outcome(signed({ ...good, aud: undefined }))).toMatch("mandatory claim 'aud' is missing")
    expect(await outcome(signed({ ...good, aud: undefined }), { audience: undefined })).toBe('taken me')
  })
})

describe('how it is written', () => {
  const parts = () => right.split('.') as [string, string, string]

  test('three parts, none of them empty', async () => {
    const [head, claims, signature] = parts()
    for (const token of [
      '',
      'x',
      head,
      `${head}.${claims}`,
      `${head}.${claims}.`,
      `.${claims}.${signature}`,
      `${head}..${signature}`,
      `${right}.`,
      `${right}.${signature}`,
      `${right}.${signature}.x`,
      '..',
    ])
      expect(await outcome(token)).toBe(
        'unauthorized CONJ00077E The request holds no JWT: it has not three parts',
      )
  })

  test('the JSON form of a signature, and of several', async () => {
    const [head, payload, signature] = parts()
    const one = { protected: head, signature }
    for (const form of [
      { payload, ...one },
      { payload, signatures: [one, one] },
    ])
      expect(await outcome(JSON.stringify(form))).toMatch('CONJ000')
  })

  test('one spelling only', async () => {
    const [head, claims, signature] = parts()
    // 256 bytes: the last character holds four bits that mean nothing.
    const loose = `${signature.slice(0, -1)}${String.fromCharCode(signature.charCodeAt(signature.length - 1) + 1)}`
    for (const token of [
      `${head}.${claims}.${signature}=`,
      `${head}.${claims}.${signature}==`,
      `${head}.${claims}.${loose}`,
      `${head}.${claims}\n.${signature}`,
      ` ${right}`,
      `${right}\n`,
      `${head}.${claims}.${signature.slice(0, 10)} ${signature.slice(10)}`,
      `${head}.${claims}.${signature}A`,
      `${head}.${claims}.é`,
      `${head}.${claims}.${signature.replace(/[-_]/, '+')}`,
    ])
      expect(await outcome(token)).toMatch('unauthorized CONJ00035E')
  })

  test('not longer than there is a reason for', async () => {
    const room = limits.externalTokenBytes - signed({ ...good, more: '' }).length
    const fits = signed({ ...good, more: 'x'.repeat(Math.floor((room * 3) / 4) - 4) })
    expect(await outcome(fits)).toBe('taken me')
    expect(await outcome(signed({ ...good, more: 'x'.repeat(room) }))).toBe(
      'unauthorized CONJ00035E Failed to decode token: it is too long',
    )
  })
})

describe('what is remembered of a token that was right', () => {
  const at = (seconds: number) => ({ now: wall(seconds * 1000) })

  test('is not how long it is good', async () => {
    const token = signed({ ...good, nbf: SECONDS - 2 })
    expect(await outcome(token)).toBe('taken me')
    expect(await outcome(token, at(good.exp - 1))).toBe('taken me')
    expect(await outcome(token, at(good.exp))).toBe('expired CONJ00016E Token expired')
    // The clock of a node may be set back.
    expect(await outcome(token, at(SECONDS - 3))).toMatch("claim 'nbf' is not as it must be")
    expect(await outcome(signed(), at(SECONDS - 6))).toMatch("claim 'iat' is not as it must be")
    expect(await outcome(token)).toBe('taken me')
  })

  test('is not for whom it is', async () => {
    const token = signed()
    expect(await outcome(token)).toBe('taken me')
    expect(await outcome(token, { audience: 'other' })).toMatch("claim 'aud' is not as it must be")
    expect(await outcome(token, { issuer: 'https://other.example' })).toMatch(
      "claim 'iss' is not as it must be",
    )
    expect(await outcome(token, { issuer: ['https://other.example', ISSUER] })).toBe('taken me')
    expect(await outcome(token, { issuer: [] })).toMatch("claim 'iss' is not as it must be")
    const { iss: _, ...without } = good
    expect(await outcome(signed(without), { mayLackIssuer: true })).toBe('taken me')
    expect(await outcome(signed(without))).toMatch("mandatory claim 'iss' is missing")
  })

  test('is not whose key it was, once that is gone', async () => {
    const token = signed()
    expect(await outcome(token)).toBe('taken me')
    const gone = { keys: keySet.keys.filter(({ kid }) => kid !== 'own') }
    expect(await outcome(token, { keys: async () => gone })).toMatch('ERR_JWKS_NO_MATCHING_KEY')
    const another = { keys: [jwkOf(stranger, { kid: 'own' })] } as unknown as KeySet
    expect(await outcome(token, { keys: async () => another })).toMatch('SIGNATURE_VERIFICATION_FAILED')
    expect(await outcome(token)).toBe('taken me')
  })

  test('is not another of the same claims', async () => {
    const token = signed()
    expect(await outcome(token)).toBe('taken me')
    const [head, claims] = token.split('.')
    const [, , foreign] = signed(good, header, stranger.privateKey).split('.')
    expect(await outcome(`${head}.${claims}.${foreign}`)).toMatch('SIGNATURE_VERIFICATION_FAILED')
  })
})

test('words hold nothing of the token', async () => {
  const hush = { ...good, iss: 'hush', aud: 'hush', sub: 'hush', exp: 'hush', hush: 1 }
  for (const token of [
    signed(hush),
    signed({ ...good, nbf: 'hush' }),
    signed(good, { ...header, kid: 'hush' }),
    signed(good, { ...header, crit: ['hush'] }),
    signed(good, { ...header, typ: 'hush' }),
    signed(good, { ...header, alg: 'hush' }),
    signed('hush'),
    'hush',
  ])
    expect(await outcome(token)).not.toMatch('hush')
})
