// What is at stake: whoever forges, changes or outlives a token reads secrets (http-api 3, 4).
import { FlattenedSign, importJWK } from 'jose'
import { beforeAll, describe, expect, test } from 'vitest'
import { fromBase64Url, fromUtf8, toBase64, utf8 } from '#shared/base/bytes.ts'
import {
  createTokens,
  newSigningKey,
  payloadText,
  type SigningKey,
  type SigningKeyRow,
  signCompact,
  signingKeyChange,
  signingKeyOf,
  type Tokens,
} from '#shared/token/access-token.ts'
import { runSeed, seeded } from '../../../support/random.ts'

const NOW = Date.UTC(2026, 0, 5, 10, 20, 30, 400)
const IAT = Math.floor(NOW / 1000)
const INVALID = 'Unauthorized: Invalid token'
const MALFORMED = 'Malformed authorization token'

let own: SigningKey
let other: SigningKey
let stranger: SigningKey
beforeAll(async () => {
  ;[own, other, stranger] = await Promise.all([newSigningKey(), newSigningKey(), newSigningKey()])
})

const rowOf = ({ kid, publicJwk }: SigningKey): SigningKeyRow => ({ kid, jwk: JSON.stringify(publicJwk) })

/** A node that believes the first two keys. */
async function newTokens(): Promise<Tokens> {
  const tokens = await createTokens(own, 'leader-1')
  tokens.keysChanged([rowOf(own), rowOf(other)])
  return tokens
}

const encode = (json: string): string => toBase64(utf8(json))

async function sign(
  claims: unknown,
  { key = own, header = {} }: { key?: SigningKey; header?: Record<string, unknown> } = {},
): Promise<string> {
  const text = typeof claims === 'string' ? claims : JSON.stringify(claims)
  const jws = await new FlattenedSign(utf8(text))
    .setProtectedHeader({ alg: 'ES256', kid: key.kid, ...header })
    .sign(await importJWK(key.privateJwk, 'ES256'))
  return JSON.stringify(jws)
}

const claims = { iat: IAT, exp: IAT + 480, sub: 'host/app/web', iss: 'leader-1', aud: 'acme' }

describe('a token', () => {
  test('names role, times and key, and is three texts of which a plain decoder reads the payload', async () => {
    const tokens = await newTokens()
    const issued = await tokens.issue('acme:host:app/web', 480, NOW)
    const members = JSON.parse(issued) as Record<string, string>
    expect(Object.keys(members)).toEqual(['protected', 'payload', 'signature'])
    expect(members.payload).toMatch(/^[A-Za-z0-9+/]+$/)
    expect(JSON.parse(atob(members.payload!))).toEqual(claims)
    expect(JSON.parse(fromUtf8(fromBase64Url(members.protected!)!)!)).toEqual({ alg: 'ES256', kid: own.kid })
    expect(await tokens.verify(encode(issued), NOW)).toEqual({
      role: 'acme:host:app/web',
      issuedAt: IAT * 1000,
      expiresAt: (IAT + 480) * 1000,
      cidr: [],
      kid: own.kid,
    })
  })

  test('is the same one for whoever asks for the same in the same second, and another for anything else', async () => {
    const tokens = await newTokens()
    const ask = (role: string, ttl: number, now: number, cidr?: string[]): Promise<string> =>
      tokens.issue(role, ttl, now, cidr && { cidr })
    const first = await ask('acme:host:app/web', 480, NOW)
    expect(await ask('acme:host:app/web', 480, NOW + 1)).toBe(first)
    const others = await Promise.all([
      ask('acme:host:app/web', 480, NOW + 1_000),
      ask('acme:host:app/web', 481, NOW),
      ask('acme:host:app/web', 480, NOW, ['10.0.0.0/8']),
      ask('acme:host:app/web2', 480, NOW),
      ask('acme:user:app/web', 480, NOW),
      ask('other:host:app/web', 480, NOW),
    ])
    expect(new Set([first, ...others]).size).toBe(7)
    const node = await createTokens(own, 'leader-2')
    expect(await node.issue('acme:host:app/web', 480, NOW)).not.toBe(first)
  })

  test('comes back as the role it was issued for, whatever its name holds', async () => {
    const seed = runSeed('access-token')
    const random = seeded(seed)
    const tokens = await newTokens()
    const pieces = [
      'a',
      'é',
      '😀',
      '~',
      '?',
      '>',
      '"',
      '\\',
      '/',
      ':',
      '@',
      '\u007f',
      '\n',
      ' ',
      '\u2028',
      'ÿ',
    ]
    for (let i = 0; i < 150; i++) {
      const identifier = Array.from({ length: random.int(1, 9) }, () => random.pick(pieces)).join('')
      const role = `acme:${random.pick(['user', 'host', 'policy'])}:${identifier}`
      const issued = await tokens.issue(role, 480, NOW)
      const { payload } = JSON.parse(issued) as { payload: string }
      const context = `seed ${seed}, case ${i}, ${JSON.stringify(role)}`
      expect(payload, context).toMatch(/^[A-Za-z0-9+/]+$/)
      expect(payload.length % 4, context).toBe(0)
      expect(await tokens.verify(encode(issued), NOW), context).toMatchObject({ role })
    }
  })

  test('is believed until its last millisecond, verified before or not', async () => {
    const tokens = await newTokens()
    const encoded = encode(await tokens.issue('acme:user:alice', 2, NOW))
    const end = (IAT + 2) * 1000
    expect(await tokens.verify(encoded, end)).toBe(INVALID)
    expect(await tokens.verify(encoded, end - 1)).toMatchObject({ expiresAt: end })
    expect(tokens.verify(encoded, end - 1)).toMatchObject({ expiresAt: end })
    expect(tokens.verify(encoded, end)).toBe(INVALID)
    expect(await tokens.verify(encode(await tokens.issue('acme:user:alice', 0, NOW)), NOW)).toBe(INVALID)
  })

  test('without exp lives eight minutes from iat', async () => {
    const tokens = await newTokens()
    const encoded = encode(await sign({ ...claims, exp: undefined }))
    expect(await tokens.verify(encoded, IAT * 1000 + 479_999)).toMatchObject({ role: 'acme:host:app/web' })
    expect(await tokens.verify(encoded, IAT * 1000 + 480_000)).toBe(INVALID)
  })

  test('of a node whose clock is ahead is believed: nothing says from when it holds', async () => {
    const tokens = await newTokens()
    const ahead = encode(await tokens.issue('acme:user:alice', 480, NOW + 60_000))
    expect(await tokens.verify(ahead, NOW)).toMatchObject({ role: 'acme:user:alice' })
  })

  test('of another node and for another account is believed for that account and no other', async () => {
    const tokens = await newTokens()
    const edge = await createTokens(other, 'edge-1')
    const encoded = encode(await edge.issue('umbrella:user:alice', 480, NOW))
    expect(await tokens.verify(encoded, NOW)).toMatchObject({ role: 'umbrella:user:alice', kid: other.kid })
  })
})

describe('a claim', () => {
  test.each<[string, unknown, string]>([
    ['nbf', { ...claims, nbf: 0 }, 'token contains unrecognized claims'],
    ['Sub', { ...claims, Sub: 'x' }, 'token contains unrecognized claims'],
    ['__proto__', '{"iat":1,"sub":"a","aud":"acme","__proto__":1}', 'token contains unrecognized claims'],
    ['no iat', { ...claims, iat: undefined }, INVALID],
    ['iat as text', { ...claims, iat: `${IAT}` }, INVALID],
    ['exp as text', { ...claims, exp: `${IAT}` }, INVALID],
    ['exp null', { ...claims, exp: null }, INVALID],
    ['no sub', { ...claims, sub: undefined }, INVALID],
    ['sub as number', { ...claims, sub: 7 }, INVALID],
    ['no account', { ...claims, aud: undefined }, INVALID],
    ['several accounts', { ...claims, aud: ['acme', 'umbrella'] }, INVALID],
    ['cidr as text', { ...claims, cidr: '10.0.0.0/8' }, INVALID],
    ['cidr null', { ...claims, cidr: null }, INVALID],
    ['cidr of numbers', { ...claims, cidr: [10] }, INVALID],
    ['cidr that is none', { ...claims, cidr: ['10.0.0.0/8', 'nowhere'] }, INVALID],
    ['cidr with bits too many', { ...claims, cidr: ['10.0.0.1/8'] }, INVALID],
    ['a list', [claims], INVALID],
    ['no JSON', '{', INVALID],
    ['nothing', '', INVALID],
  ])('%s is refused although the signature is right', async (_name, payload, refusal) => {
    const tokens = await newTokens()
    expect(await tokens.verify(encode(await sign(payload)), NOW)).toBe(refusal)
  })

  test('cidr comes out in its normal form; iss and jti may be anything', async () => {
    const tokens = await newTokens()
    const encoded = encode(
      await sign({ ...claims, iss: 'nobody', jti: 'x', cidr: ['10.0.0.7', '2001:DB8::/32'] }),
    )
    expect(await tokens.verify(encoded, NOW)).toMatchObject({ cidr: ['10.0.0.7/32', '2001:db8::/32'] })
  })
})

describe('a forgery', () => {
  test('a change of any one character is refused, or is the same token in other writing', async () => {
    const seed = runSeed('access-token')
    const random = seeded(seed)
    const tokens = await newTokens()
    const issued = await tokens.issue('acme:host:app/web', 480, NOW)
    const verified = await tokens.verify(encode(issued), NOW)
    let refused = 0
    for (let at = 0; at < issued.length; at++) {
      const changed = random.pick(['A', 'B', '"', ' ', '_', '\u00c3'].filter((c) => c !== issued[at]))
      const forged = issued.slice(0, at) + changed + issued.slice(at + 1)
      const answer = await tokens.verify(encode(forged), NOW)
      if (typeof answer === 'string') refused++
      else expect(answer, `seed ${seed}, character ${at} became ${JSON.stringify(changed)}`).toEqual(verified)
    }
    // The last letter of the signature carries four bits that nobody reads.
    expect(refused).toBeGreaterThanOrEqual(issued.length - 1)
  })

  test('a flip of any one bit of the three parts is refused', async () => {
    const tokens = await newTokens()
    const members = JSON.parse(await tokens.issue('acme:user:alice', 480, NOW)) as Record<string, string>
    for (const name of ['protected', 'payload', 'signature']) {
      const bytes = fromBase64Url(members[name]!)!
      for (let bit = 0; bit < bytes.length * 8; bit++) {
        const flipped = bytes.slice()
        flipped[bit >> 3]! ^= 1 << (bit & 7)
        const part = flipped.toBase64({ alphabet: 'base64url', omitPadding: true })
        const forged = encode(JSON.stringify({ ...members, [name]: part }))
        expect(await tokens.verify(forged, NOW), `bit ${bit} of ${name}`).toBe(INVALID)
      }
    }
  })

  test('one token’s payload under another’s signature is refused', async () => {
    const tokens = await newTokens()
    const alice = JSON.parse(await tokens.issue('acme:user:alice', 480, NOW))
    const admin = JSON.parse(await tokens.issue('acme:user:admin', 480, NOW))
    const forged = encode(JSON.stringify({ ...alice, payload: admin.payload }))
    expect(await tokens.verify(forged, NOW)).toBe(INVALID)
  })

  test('a key that no node has, with its own name or a believed one, is refused', async () => {
    const tokens = await newTokens()
    expect(await tokens.verify(encode(await sign(claims, { key: stranger })), NOW)).toBe(INVALID)
    const posing = await sign(claims, { key: stranger, header: { kid: own.kid } })
    expect(await tokens.verify(encode(posing), NOW)).toBe(INVALID)
    const swapped = await sign(claims, { key: own, header: { kid: other.kid } })
    expect(await tokens.verify(encode(swapped), NOW)).toBe(INVALID)
  })

  test('a key that the token brings along is not looked at', async () => {
    const tokens = await newTokens()
    const header = { kid: own.kid, jwk: stranger.publicJwk }
    expect(await tokens.verify(encode(await sign(claims, { key: stranger, header })), NOW)).toBe(INVALID)
  })

  test.each(['none', 'HS256', 'ES384', 'conjur.org/slosilo/v2'])('alg %s is refused', async (alg) => {
    const tokens = await newTokens()
    const members = JSON.parse(await tokens.issue('acme:user:alice', 480, NOW)) as Record<string, string>
    const head = utf8(JSON.stringify({ alg, kid: own.kid })).toBase64({
      alphabet: 'base64url',
      omitPadding: true,
    })
    for (const signature of ['', members.signature!]) {
      const forged = encode(JSON.stringify({ ...members, protected: head, signature }))
      expect(await tokens.verify(forged, NOW)).toBe(INVALID)
    }
  })

  test('a receipt, signed with the same key, is no token', async () => {
    const tokens = await newTokens()
    const compact = await (await signCompact(own))({ ...claims })
    const [head, payload, signature] = compact.split('.')
    expect(head && payload && signature).toBeTruthy()
    expect(await tokens.verify(encode(compact), NOW)).toBe(MALFORMED)
  })
})

describe('the text of a header', () => {
  test('is read with or without padding, with line breaks and junk between', async () => {
    const tokens = await newTokens()
    for (const role of ['acme:user:a', 'acme:user:ab', 'acme:user:abc']) {
      const text = `${await tokens.issue(role, 480, NOW)} `
      for (const json of [text, `${text} `, `${text}  `]) {
        const encoded = encode(json)
        const writings = [
          encoded,
          encoded.replaceAll('=', ''),
          encoded.replace(/.{60}/g, '$&\n'),
          encoded.replace(/.{7}/g, '$&-_ "'),
        ]
        for (const writing of writings) {
          expect(await tokens.verify(writing, NOW), writing).toMatchObject({ role })
        }
      }
    }
  })

  test.each([
    ['nothing', ''],
    ['junk only', '----'],
    ['no base64', 'A'],
    ['no JSON', encode('hello')],
    ['no UTF-8', toBase64(Uint8Array.of(0x22, 0xff, 0x22))],
    ['no object', encode('["a","b","c"]')],
    ['null', encode('null')],
    ['a part missing', encode('{"protected":"e30","payload":"e30"}')],
    ['a part that is no text', encode('{"protected":"e30","payload":"e30","signature":1}')],
    ['nested too deep', encode('['.repeat(20_000))],
  ])('%s is malformed', async (_name, text) => {
    expect(await (await newTokens()).verify(text, NOW)).toBe(MALFORMED)
  })

  test.each([
    ['no head', ''],
    ['a head that is no JSON', 'AAAA'],
    ['a head without key name', 'e30'],
    ['a key name that is a number', utf8('{"kid":1}').toBase64()],
    ['a key name that every object has', utf8('{"kid":"constructor"}').toBase64()],
  ])('%s is invalid', async (_name, head) => {
    const text = encode(JSON.stringify({ protected: head, payload: 'e30', signature: 'AA' }))
    expect(await (await newTokens()).verify(text, NOW)).toBe(INVALID)
  })

  test('as large as a header may be is read', async () => {
    const tokens = await newTokens()
    const text = await tokens.issue('acme:user:alice', 480, NOW)
    expect(await tokens.verify(encode(text + ' '.repeat(20_000)), NOW)).toMatchObject({
      role: 'acme:user:alice',
    })
  })
})

describe('when keys change', () => {
  test('tokens of a key that is gone are refused at once, remembered or not; others stay', async () => {
    const tokens = await newTokens()
    const gone = encode(await sign(claims, { key: other }))
    const fresh = encode(await sign({ ...claims, jti: '2' }, { key: other }))
    const kept = encode(await sign(claims))
    expect(await tokens.verify(gone, NOW)).toMatchObject({ kid: other.kid })
    tokens.keysChanged([rowOf(own)])
    expect(await tokens.verify(gone, NOW)).toBe(INVALID)
    expect(await tokens.verify(fresh, NOW)).toBe(INVALID)
    expect(await tokens.verify(kept, NOW)).toMatchObject({ kid: own.kid })
  })

  test('a token that is being verified while its key goes is refused and not remembered', async () => {
    const tokens = await newTokens()
    const encoded = encode(await sign(claims, { key: other }))
    // How far a verification has come is nobody's business: the key goes after each of its first steps.
    for (let steps = 0; steps < 40; steps++) {
      tokens.keysChanged([rowOf(own), rowOf(other)])
      const answer = tokens.verify(encoded, NOW)
      for (let step = 0; step < steps; step++) await (step < 20 ? undefined : new Promise(setImmediate))
      tokens.keysChanged([rowOf(own)])
      await answer
      expect(await tokens.verify(encoded, NOW), `after ${steps} steps`).toBe(INVALID)
    }
  })

  test.each([
    ['no JSON', ''],
    ['nothing', '{}'],
    ['null', 'null'],
    ['no point of the curve', '{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}'],
    ['another kind of key', '{"kty":"oct","k":"AAAA"}'],
    ['another curve', '{"kty":"EC","crv":"P-384","x":"AA","y":"AA"}'],
  ])(
    'a row that holds %s harms no other, and its name is believed when a good row comes',
    async (_name, jwk) => {
      const tokens = await newTokens()
      tokens.keysChanged([{ kid: other.kid, jwk }, rowOf(own)])
      expect(await tokens.verify(encode(await sign(claims)), NOW)).toMatchObject({ kid: own.kid })
      const encoded = encode(await sign(claims, { key: other }))
      expect(await tokens.verify(encoded, NOW)).toBe(INVALID)
      tokens.keysChanged([rowOf(own), rowOf(other)])
      expect(await tokens.verify(encoded, NOW)).toMatchObject({ kid: other.kid })
    },
  )

  test('a row cannot put its key under the name of another', async () => {
    const tokens = await createTokens(other, 'edge-1')
    tokens.keysChanged([{ kid: own.kid, jwk: JSON.stringify(stranger.publicJwk) }])
    const posing = await sign(claims, { key: stranger, header: { kid: own.kid } })
    expect(await tokens.verify(encode(posing), NOW)).toBe(INVALID)
  })
})

describe('a signing key', () => {
  test('has a public half without the private one, and the same name when it is read again', async () => {
    const { kid, publicJwk } = await signingKeyOf(JSON.parse(JSON.stringify(own.privateJwk)))
    expect(kid).toBe(own.kid)
    expect(Object.keys(publicJwk)).toEqual(['kty', 'crv', 'x', 'y'])
    const change = signingKeyChange(own, 'leader-1', NOW)
    expect(JSON.stringify(change)).not.toContain(own.privateJwk.d)
    expect(change).toMatchObject({ op: 'put', table: 'signing_keys', row: { kid, node: 'leader-1' } })
  })

  test('has the thumbprint that RFC 7638 describes', async () => {
    const { kty, crv, x, y } = own.publicJwk
    const digest = await crypto.subtle.digest(
      'SHA-256',
      utf8(JSON.stringify({ crv, kty, x, y })) as BufferSource,
    )
    expect(own.kid).toBe(new Uint8Array(digest).toBase64({ alphabet: 'base64url', omitPadding: true }))
  })
})

test('every text of claims is plain base64 and says the same', () => {
  const seed = runSeed('payload')
  const random = seeded(seed)
  for (let i = 0; i < 2_000; i++) {
    const units = Array.from({ length: random.int(0, 12) }, () =>
      random.int(0, random.pick([0x80, 0x100, 0x10000])),
    )
    const sub = String.fromCharCode(...units)
    const text = payloadText({ sub })
    const encoded = toBase64(utf8(text))
    expect(encoded, `seed ${seed}, case ${i}`).toMatch(/^[A-Za-z0-9]*$/)
    expect(JSON.parse(text), `seed ${seed}, case ${i}`).toEqual({ sub })
  }
})
