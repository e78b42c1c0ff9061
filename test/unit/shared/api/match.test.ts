// The right route with the right names, whatever a client puts into a path (http-api 1).
import { describe, expect, test } from 'vitest'
import { createMatcher } from '#shared/api/match.ts'
import { parseQuery } from '#shared/api/request.ts'
import type { AnyRoute } from '#shared/api/route.ts'
import { allRoutes } from '#shared/api/routes/index.ts'
import { runSeed, seeded } from '../../../support/random.ts'

const matcher = createMatcher(allRoutes)
const find = (method: string, path: string, query = ''): [string, Record<string, string>] | undefined => {
  const match = matcher(method, path, parseQuery(query))
  return match && [match.route.id, { ...match.params }]
}
const paramsOf = (path: string): Record<string, string> | undefined => find('GET', path)?.[1]

describe('a path', () => {
  test('is matched as it came and each segment is decoded once', () => {
    const secret = { account: 'acme', id: 'app/db/pw' }
    expect(paramsOf('/secrets/acme/variable/app/db/pw')).toEqual(secret)
    expect(paramsOf('/secrets/acme/variable/app%2Fdb%2fpw')).toEqual(secret)
    expect(paramsOf('/secrets/acme/variable/app%252Fdb')).toEqual({ account: 'acme', id: 'app%2Fdb' })
    expect(paramsOf('/secrets/acme/variable/a+b%20c')).toEqual({ account: 'acme', id: 'a+b c' })
    expect(paramsOf('/secrets/acme/variable/a.json')).toEqual({ account: 'acme', id: 'a.json' })
    expect(paramsOf('/secrets/acme/variable/../..:a')).toEqual({ account: 'acme', id: '../..:a' })
    expect(paramsOf('/secrets/acme/variable/%C3%A9')).toEqual({ account: 'acme', id: 'é' })
    expect(find('POST', '/authn/acme/host%2Fapp%2Fweb/authenticate')?.[1]).toEqual({
      account: 'acme',
      login: 'host/app/web',
    })
  })

  test('one trailing slash is not looked at, and HEAD is GET', () => {
    expect(find('GET', '/whoami/')).toEqual(find('GET', '/whoami'))
    expect(find('HEAD', '/whoami')).toEqual(find('GET', '/whoami'))
    expect(find('HEAD', '/authn/acme/alice/authenticate')).toBeUndefined()
    expect(find('GET', '/')).toBeDefined()
  })

  test.each([
    '/secrets/acme/variable/a%00b',
    '/secrets/ac%00me/variable/a',
    '/secrets/ac%2Fme/variable/a',
    '/secrets/acme/variable/%',
    '/secrets/acme/variable/%ff',
    '/secrets/acme/variable/%C0%AF',
    '/secrets/acme/variable/%ED%A0%80',
    '/secrets/acme/variable/',
    '/secrets/acme/variable',
    '/secrets//variable/a',
    '//secrets/acme/variable/a',
    '/Secrets/acme/variable/a',
    '/%73ecrets/acme/variable/a',
    '/whoami//',
    '/whoami/x',
    'whoami',
    '',
    '*',
    'http://host/whoami',
  ])('%j leads nowhere', (path) => {
    expect(find('GET', path)).toBeUndefined()
  })

  test.each(['get', 'OPTIONS', '', 'CONNECT'])('the method %j leads nowhere', (method) => {
    expect(find(method, '/whoami')).toBeUndefined()
  })
})

test('the paths of authenticators lead to them and to nothing else', () => {
  const status = { authn: 'authn-jwt', account: 'acme' }
  expect(find('GET', '/authn-jwt/prod%2Fgke/acme/status')).toEqual([
    'serviceStatus',
    { ...status, service: 'prod/gke' },
  ])
  expect(find('GET', '/authn-jwt/acme/status')).toEqual(['authenticatorStatus', status])
  expect(find('GET', '/authn/acme/status')).toEqual(['authenticatorStatus', { ...status, authn: 'authn' }])
  expect(find('PATCH', '/authn-jwt/ci/acme')).toEqual(['enableService', { ...status, service: 'ci' }])
  expect(find('PATCH', '/authn-gcp/acme')).toEqual(['enableAuthenticator', { ...status, authn: 'authn-gcp' }])
  expect(find('POST', '/authn/acme/status/authenticate')?.[0]).toBe('authenticate')
  expect(find('GET', '/authn/acme/login')?.[0]).toBe('login')
  expect(find('PUT', '/authn/acme/password')?.[0]).toBe('changePassword')
  expect(find('PUT', '/authn/acme/api_key')?.[0]).toBe('rotateApiKey')
  expect(find('GET', '/authenticators')?.[0]).toBe('authenticators')
  expect(find('GET', '/authenticators/acme')?.[0]).toBe('listAuthenticators')
  for (const path of [
    '/authnx/acme/status',
    '/authn-/acme/status',
    '/app/acme/status',
    '/authn/ac%2Fme/status',
  ])
    expect(find('GET', path)).toBeUndefined()
  expect(find('PATCH', '/app/acme')).toBeUndefined()
  expect(find('PATCH', '/accounts/acme')).toBeUndefined()
})

test('a selector chooses by the presence of its key; of several, the order of the table does', () => {
  const role = (query: string) => find('GET', '/roles/acme/group/ops', query)?.[0]
  expect(role('members=x')).toBe(role('members'))
  expect(role('other')).toBe(role(''))
  expect(new Set(['', 'members', 'all', 'graph', 'memberships'].map(role)).size).toBe(5)
  expect(role('all&members')).toBe(role('members&all'))
})

test('the matcher finds what a naive twin finds', () => {
  const seed = runSeed('match')
  const random = seeded(seed)
  const words = [...new Set(allRoutes.flatMap(({ path }) => path.split('/')))].filter((word) =>
    /^\w/.test(word),
  )
  const odd = [
    'acme',
    'authn',
    'authn-x%2Fy',
    'authn-',
    'authnx',
    'a%2Fb',
    '%00',
    '%ff',
    '%',
    'a.b',
    'x:y',
    'variable',
    'host',
    'user',
    '',
  ]
  const selectors = [...new Set(allRoutes.flatMap(({ selector }) => selector ?? []))]
  let found = 0
  for (let i = 0; i < 20_000; i++) {
    const near = random.pick(allRoutes)
    // Mostly the shape of a route with odd names in it, sometimes any words at all.
    const filled = near.path.split('/').map((word) => (word.startsWith(':') ? random.pick(odd) : word))
    const wild = ['', ...Array.from({ length: random.int(0, 6) }, () => random.pick([...words, ...odd]))]
    const path = random.pick([filled, filled, [...filled, random.pick(odd)], wild]).join('/')
    const keys = `${random.pick(selectors)}&${random.pick(selectors)}=1`
    const query = random.pick(['', random.pick(selectors), keys])
    const method = random.pick([near.method, near.method, 'GET', 'HEAD', 'DELETE', 'TRACE'])
    const expected = naive(method, path, query)
    if (expected !== undefined) found++
    const context = `seed ${seed}, case ${i}: ${method} ${path}?${query}`
    expect(find(method, path, query), context).toEqual(expected)
  }
  expect(found).toBeGreaterThan(2_000)
})

function naive(method: string, path: string, query: string): [string, Record<string, string>] | undefined {
  const asked = (path.length > 1 && path.endsWith('/') ? path.slice(0, -1) : path).split('/')
  const keys = query.split('&').map((pair) => pair.split('=')[0])
  for (const route of allRoutes) {
    if (route.method !== (method === 'HEAD' ? 'GET' : method)) continue
    if (route.selector !== undefined && !keys.includes(route.selector)) continue
    const params = naiveParams(route, asked)
    if (params !== undefined) return [route.id, params]
  }
  return undefined
}

function naiveParams(route: AnyRoute, asked: readonly string[]): Record<string, string> | undefined {
  return fits(route.path.split('/'), asked)
}

/** A tail takes as much as it can. */
function fits(wanted: readonly string[], asked: readonly string[]): Record<string, string> | undefined {
  const [word, ...rest] = wanted
  if (word === undefined) return asked.length === 0 ? {} : undefined
  const most = word.endsWith('*') ? asked.length - rest.length : 1
  for (let taken = most; taken >= 1 && taken <= asked.length; taken--) {
    const others = fits(rest, asked.slice(taken))
    if (others === undefined) continue
    const raw = asked.slice(0, taken).join('/')
    if (!word.startsWith(':')) return raw === word ? others : undefined
    const name = word.replace(/[:*]/g, '')
    if (raw === '' || /%(?![0-9a-f]{2})|%00|%ff/i.test(raw)) return undefined
    if (name === 'account' && /%2f/i.test(raw)) return undefined
    if (name === 'authn' && !/^authn(-.|$)/.test(raw)) return undefined
    return { [name]: decodeURIComponent(raw), ...others }
  }
  return undefined
}
