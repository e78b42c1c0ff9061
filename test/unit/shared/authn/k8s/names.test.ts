// What stands in the paths of a cluster's API comes from certificates and annotations: nothing of it may lead elsewhere.
import { describe, expect, test } from 'vitest'
import {
  defaultPrefix,
  isName,
  isNamespace,
  loginOfName,
  nameOfLogin,
  podOfSpiffeId,
  spiffeIdOf,
} from '#shared/authn/k8s/names.ts'

describe('a host', () => {
  test('is its login with dots', () => {
    expect(loginOfName('host.apps.shop.deployment.web')).toBe('host/apps/shop/deployment/web')
    expect(nameOfLogin('host/apps/shop/*/*')).toBe('host.apps.shop.*.*')
    expect(defaultPrefix('prod/gke')).toBe('host.conjur.authn-k8s.prod.gke.apps')
  })
})

describe('a pod', () => {
  test.each([
    ['spiffe://cluster.local/namespace/shop/podname/web-5d-1', { namespace: 'shop', name: 'web-5d-1' }],
    ['spiffe://cluster.local/namespace/0/podname/db.v2', { namespace: '0', name: 'db.v2' }],
  ])('%s', (id, pod) => {
    expect(podOfSpiffeId(id)).toEqual(pod)
    expect(spiffeIdOf(pod)).toBe(id)
  })

  test.each([
    '',
    'spiffe://cluster.local/namespace/shop/podname/',
    'spiffe://cluster.local/namespace//podname/web',
    'spiffe://cluster.local/namespace/shop/podname/web/exec',
    'spiffe://cluster.local/namespace/shop/podname/..',
    'spiffe://cluster.local/namespace/../podname/web',
    'spiffe://cluster.local/namespace/shop/podname/web?a=b',
    'spiffe://cluster.local/namespace/shop/podname/web%2F',
    'spiffe://cluster.local/namespace/shop/podname/Web',
    'spiffe://cluster.local/namespace/shop/podname/web\n',
    'spiffe://cluster.local.evil/namespace/shop/podname/web',
    'spiffe://cluster.local/ns/shop/sa/web',
    'https://cluster.local/namespace/shop/podname/web',
    ` spiffe://cluster.local/namespace/shop/podname/web`,
    `spiffe://cluster.local/namespace/${'a'.repeat(64)}/podname/web`,
    `spiffe://cluster.local/namespace/shop/podname/${Array(30).fill('a'.repeat(10)).join('.')}`,
  ])('is not named by %j', (id) => {
    expect(podOfSpiffeId(id)).toBeUndefined()
  })

  test('is not looked for again and again in a long text', () => {
    const many = 'a/podname/'.repeat(100_000)
    expect(podOfSpiffeId(`spiffe://cluster.local/namespace/${many}\n`)).toBeUndefined()
  })
})

test('names are those of Kubernetes', () => {
  for (const name of ['a', 'web-5d', '0', 'a.b-c', 'a'.repeat(63)]) expect(isName(name)).toBe(true)
  for (const name of [
    '',
    '.',
    '..',
    'a/b',
    '-a',
    'a-',
    'a..b',
    'A',
    'a b',
    '*',
    'a?b',
    '%2e',
    'a\n',
    'a'.repeat(64),
  ])
    expect(isName(name)).toBe(false)
  expect(isNamespace('a.b')).toBe(false)
})
