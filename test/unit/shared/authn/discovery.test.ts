// What a node believes of a provider's discovery document, and how often it asks for it.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createDiscovery, discover } from '#shared/authn/discovery.ts'
import { parseRanges } from '#shared/authz/address.ts'
import { outgoingThrough } from '#shared/node/outgoing.ts'
import { certificatesFor } from '../../../support/certificates.ts'
import { DISCOVERY, IdentityProvider } from '../../../support/identity-provider.ts'

const outgoing = outgoingThrough(parseRanges(['127.0.0.1/32'], 'test'))
let plain: IdentityProvider
let secure: IdentityProvider
beforeAll(async () => {
  plain = await IdentityProvider.start()
  secure = await IdentityProvider.start(await certificatesFor('127.0.0.1'))
})
afterAll(async () => {
  await plain?.goAway()
  await secure?.goAway()
})

test('who asks for a document that is being fetched waits for the same one', async () => {
  const discovery = createDiscovery(outgoing)
  const provider = { url: plain.url, ca: undefined }
  const [first, second] = [discovery(provider), discovery({ ...provider })]
  // Another spelling is another provider, and what was fetched is not remembered.
  const third = discovery({ ...provider, url: `${plain.url}/` })
  expect(await first).toBe(await second)
  expect(await third).toEqual(await first)
  expect(plain.asked(DISCOVERY)).toHaveLength(2)
  expect(await discovery(provider)).toEqual(await first)
  expect(plain.asked(DISCOVERY)).toHaveLength(3)
})

test('a refusal is remembered by nobody either', async () => {
  const discovery = createDiscovery(outgoing)
  const provider = { url: plain.url, ca: undefined }
  plain.answer(DISCOVERY, () => ({ status: 503 }))
  const [first, second] = await Promise.allSettled([discovery(provider), discovery(provider)])
  expect(first).toEqual(second)
  expect(first).toMatchObject({ reason: { message: expect.stringContaining('it was answered 503') } })
  plain.answer(DISCOVERY, () => ({ body: plain.discovery() }))
  expect((await discovery(provider)).jwksUri).toBe(plain.jwksUri)
})

test('addresses that nobody should be sent to are none', async () => {
  const said = { ...secure.discovery() }
  secure.answer(DISCOVERY, () => ({ body: said }))
  const provider = { url: secure.url, ca: secure.ca }
  expect((await discover(provider, outgoing)).tokenEndpoint).toBe(`${secure.url}/token`)
  for (const at of ['javascript:alert(1)', 'file:///x', '/token', 'x', 7, null, plain.url]) {
    said.token_endpoint = at
    said.authorization_endpoint = at
    expect(await discover(provider, outgoing)).toEqual({
      jwksUri: secure.jwksUri,
      authorizationEndpoint: undefined,
      tokenEndpoint: undefined,
    })
  }
  said.jwks_uri = plain.jwksUri
  await expect(discover(provider, outgoing)).rejects.toThrow('names no keys that can be fetched')
})

test('a document is that of the provider that was asked', async () => {
  const provider = { url: plain.url, ca: undefined }
  // What stands behind a query is a part of it: whoever answers there need not be the provider.
  const elsewhere = `${plain.url}/?x=1`
  plain.answer('/', () => ({ body: { ...plain.discovery(), issuer: elsewhere } }))
  await expect(discover({ ...provider, url: elsewhere }, outgoing)).rejects.toThrow('a query or a fragment')
  for (const issuer of [
    undefined,
    '',
    `${plain.url}/x`,
    `${plain.url}//`,
    [plain.url],
    plain.url.toUpperCase(),
  ]) {
    plain.answer(DISCOVERY, () => ({ body: { ...plain.discovery(), issuer } }))
    await expect(discover(provider, outgoing)).rejects.toThrow('names another issuer')
  }
})
