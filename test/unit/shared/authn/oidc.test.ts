// How long the token of an OpenID login lives: whoever may write the variable makes none that outlives every other.
import { expect, test } from 'vitest'
import { codeFlowOf } from '#shared/authn/oidc.ts'
import { limits } from '#shared/base/limits.ts'

const flowWith = (ttl: string) =>
  codeFlowOf({
    prefix: 'acme:variable:conjur/authn-oidc/idp/',
    values: new Map([
      ['provider-uri', 'https://idp.example'],
      ['client-id', 'conjur'],
      ['client-secret', 'x'],
      ['claim-mapping', 'email'],
      ['token-ttl', ttl],
    ]),
    annotations: new Map(),
  })

test.each([
  ['PT5M', 300],
  ['', 3_600],
  ['PT5H', limits.tokenTtlSecondsMax],
  ['PT5H1S', limits.tokenTtlSecondsMax],
  ['P100Y', limits.tokenTtlSecondsMax],
])('of %j it is %d s', (ttl, seconds) => {
  expect(flowWith(ttl).ttlSeconds).toBe(seconds)
})
