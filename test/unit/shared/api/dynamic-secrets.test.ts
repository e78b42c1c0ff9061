// What the engine is asked, and what callers learn of its answer: never the issuer's keys (http-api 14).
import { describe, expect, test } from 'vitest'
import { dynamicSecret } from '#shared/api/dynamic-secrets.ts'
import type { SecretAnswer, SecretOrder } from '#shared/api/node.ts'
import { utf8 } from '#shared/base/bytes.ts'
import type { DynamicSource } from '#shared/ledger/reads/issuer.ts'
import { recordId } from '#shared/secret/keyring.ts'
import { plainKeyring } from '../../../support/loading.ts'

const VARIABLE = 'acme:variable:data/dynamic/key'
const policy = 'acme:policy:conjur/issuers/aws-1'
const data = { access_key_id: 'AKIAIOSFODNN7EXAMPLE', secret_access_key: 'k'.repeat(40) }
const source: DynamicSource = {
  annotations: new Map([
    ['issuer', 'aws-1'],
    ['method', 'assume-role'],
    ['Role-Arn', 'arn:aws:iam::1:role/x'],
  ]),
  issuer: {
    policy,
    type: 'aws',
    max_ttl: 3600,
    sealed: plainKeyring.seal(recordId('issuers', policy), utf8(JSON.stringify(data))),
  },
}
const caller = { role: 'acme:host:app', tokenIssuedAt: 1, clientIp: '10.0.0.7', requestId: 'r-1' }

const asked = (answer: SecretAnswer | undefined, from: DynamicSource | undefined = source) => {
  const orders: SecretOrder[] = []
  const askEngine =
    answer &&
    (async (order: SecretOrder) => {
      orders.push(order)
      return answer
    })
  return { orders, secret: dynamicSecret(VARIABLE, from, { keyring: plainKeyring, askEngine }, caller) }
}
const made = (text: string): SecretAnswer => ({ kind: 'made', text })
const refused = (text: string): SecretAnswer => ({ kind: 'refused', text })

test('the engine is told who asks, the issuer and the annotations', async () => {
  const { orders, secret } = asked(made('{ "id": 1 }'))
  expect(await secret).toEqual({ json: '{ "id": 1 }' })
  expect(orders).toEqual([
    {
      requestId: 'r-1',
      body: {
        type: 'aws',
        method: 'assume-role',
        role: 'acme:host:app',
        issuer: { max_ttl: 3600, data },
        secret: { issuer: 'aws-1', method: 'assume-role', role_arn: 'arn:aws:iam::1:role/x' },
      },
    },
  ])
})

describe('there is no secret', () => {
  const NO_JSON = 'The secret engine did not answer with JSON'
  test.each<[string, SecretAnswer | undefined, DynamicSource | undefined, number, string]>([
    [
      'without an issuer',
      made('{}'),
      { ...source, issuer: undefined },
      422,
      `Issuer assigned to ${VARIABLE} was not found`,
    ],
    ['without an engine', undefined, source, 422, 'No ephemeral secret engine configured for Conjur'],
    [
      'when the engine is away',
      { kind: 'failed', status: 504 },
      source,
      504,
      'The secret engine did not answer',
    ],
    ['when it makes something else', made('<html>'), source, 502, NO_JSON],
    ['when something else refuses', refused('<html>'), source, 502, NO_JSON],
    ['when it refuses without an object', refused('[]'), source, 502, NO_JSON],
    [
      'when it refuses, with its words but for the keys',
      refused(
        JSON.stringify({
          code: 7,
          message: `no ${data.secret_access_key}\0`,
          description: `of ${data.access_key_id}`,
        }),
      ),
      source,
      422,
      'Failed to create the dynamic secret. Code: 7, Message: no *****, description: of *****',
    ],
  ])('%s', async (_, answer, from, status, error) => {
    expect(await asked(answer, from).secret).toMatchObject({ error, outcome: { status } })
  })

  test('and words that are none are left out', async () => {
    const answer = await asked(refused('{"code":{"toString":1},"message":null,"description":true}')).secret
    expect(answer).toMatchObject({
      error: 'Failed to create the dynamic secret. Code: , Message: , description: ',
    })
  })

  test('for a variable of which nothing is known', async () => {
    const secret = dynamicSecret(VARIABLE, undefined, { keyring: plainKeyring, askEngine: undefined }, caller)
    expect(await secret).toMatchObject({ error: `Issuer assigned to ${VARIABLE} was not found` })
  })

  test('and what the engine says is not repeated without end', async () => {
    const answer = await asked(refused(JSON.stringify({ message: 'x'.repeat(10_000) }))).secret
    expect('error' in answer && answer.error.length).toBeLessThan(1_000)
  })
})
