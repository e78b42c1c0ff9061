// Keys that stand in a variable are believed as those of a provider are: a larger one would make each token a long computation.
import { generateKeyPairSync, sign } from 'node:crypto'
import { expect, test } from 'vitest'
import type { Attempt, Stored, Tools } from '#shared/authn/contract.ts'
import { jwtProver } from '#shared/authn/jwt.ts'
import { toBase64Url, utf8 } from '#shared/base/bytes.ts'
import { limits } from '#shared/base/limits.ts'
import { wall } from '#shared/base/time.ts'

const NOW = Date.UTC(2026, 0, 5, 10, 20, 30)
const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
const jwk = publicKey.export({ format: 'jwk' })
const large = toBase64Url(new Uint8Array(limits.providerKeyBitsMax / 4).fill(0xab))

const stored: Stored = {
  prefix: 'acme:variable:conjur/authn-jwt/ci/',
  values: new Map([
    ['issuer', 'https://idp.example'],
    [
      'public-keys',
      JSON.stringify({
        type: 'jwks',
        value: {
          keys: [
            { ...jwk, kid: 'own' },
            { ...jwk, n: large, kid: 'large' },
          ],
        },
      }),
    ],
  ]),
  annotations: new Map(),
}

function claimBy(kid: string) {
  const parts = [
    { alg: 'RS256', kid },
    { iss: 'https://idp.example', exp: NOW / 1000 + 60 },
  ]
  const input = parts.map((part) => toBase64Url(utf8(JSON.stringify(part)))).join('.')
  const token = `${input}.${toBase64Url(sign('sha256', utf8(input), privateKey))}`
  const attempt = { account: 'acme', login: 'host/web', field: () => token }
  const tools = { settings: { jwtIgnoreMissingIssuer: false }, now: wall(NOW) }
  return jwtProver.claim!(attempt as unknown as Attempt, stored, tools as unknown as Tools)
}

test('a key of a usual size proves who signed', async () => {
  expect(await claimBy('own')).toMatchObject({ role: 'acme:host:web' })
})

test('a larger one is no key', async () => {
  await expect(claimBy('large')).rejects.toThrow(
    'CONJ00035E Failed to decode token: ERR_JWKS_NO_MATCHING_KEY',
  )
})
