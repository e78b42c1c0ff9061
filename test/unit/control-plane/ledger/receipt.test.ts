import { compactVerify, importJWK } from 'jose'
import { expect, test } from 'vitest'
import { createReceipts } from '#control-plane/ledger/receipt.ts'
import { wall } from '#shared/base/time.ts'
import { systemClock } from '#shared/node/clock.ts'
import { newSigningKey } from '#shared/token/access-token.ts'

test('a receipt says what was acknowledged, for which request and when, under the key of the node', async () => {
  const key = await newSigningKey()
  const receipt = await createReceipts(key, { ...systemClock, wall: () => wall(1_767_608_430_000) })
  const text = await receipt({ epoch: 3, seq: 42 }, 'request-1')
  const { payload, protectedHeader } = await compactVerify(text, await importJWK(key.publicJwk, 'ES256'))
  expect(protectedHeader).toMatchObject({ kid: key.kid, typ: 'receipt' })
  expect(JSON.parse(new TextDecoder().decode(payload))).toEqual({
    position: '3.42',
    request_id: 'request-1',
    at: 1_767_608_430_000,
  })
  const other = await newSigningKey()
  await expect(compactVerify(text, await importJWK(other.publicJwk, 'ES256'))).rejects.toThrow()
})
