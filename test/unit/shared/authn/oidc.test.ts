// What the variables of an OpenID authenticator may say: how long tokens live, and who its provider is checked with.
import { expect, test } from 'vitest'
import { codeFlowOf } from '#shared/authn/oidc.ts'
import { limits } from '#shared/base/limits.ts'

const flowWith = (more: Readonly<Record<string, string | undefined>>) =>
  codeFlowOf({
    prefix: 'acme:variable:conjur/authn-oidc/idp/',
    values: new Map<string, string | undefined>([
      ['provider-uri', 'https://idp.example'],
      ['client-id', 'conjur'],
      ['client-secret', 'x'],
      ['claim-mapping', 'email'],
      ...Object.entries(more),
    ]),
    annotations: new Map(),
  })

test.each([
  ['PT5M', 300],
  ['', 3_600],
  ['PT5H', limits.tokenTtlSecondsMax],
  ['PT5H1S', limits.tokenTtlSecondsMax],
  ['P100Y', limits.tokenTtlSecondsMax],
])('with a token-ttl of %j a token lives for %d s', (ttl, seconds) => {
  expect(flowWith({ 'token-ttl': ttl }).ttlSeconds).toBe(seconds)
})

test('an authority that is no text is not replaced by the public ones', () => {
  expect(flowWith({ 'ca-cert': '' }).provider.ca).toBe('')
  expect(flowWith({ 'ca-cert': undefined }).provider.ca).toBeUndefined()
  expect(flowWith({}).provider.ca).toBeUndefined()
})
