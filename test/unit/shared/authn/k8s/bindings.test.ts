// Which pods a host may be, of its id alone: an id that is read otherwise than it looks lets the wrong pods in.
import { expect, test } from 'vitest'
import { bindingOf } from '#shared/authn/k8s/bindings.ts'

const of = (identifier: string) => bindingOf({ service: 'prod', identifier, annotations: new Map() })

test('the last three names are a namespace, what it is, and what it is called', () => {
  expect(of('apps/shop/deployment/web')).toMatchObject({
    namespace: 'shop',
    workload: { type: 'deployment', name: 'web' },
  })
  expect(of('apps/shop/stateful_set/db')).toMatchObject({ workload: { type: 'stateful-set', name: 'db' } })
  expect(of('apps/shop/service_account/web')).toMatchObject({ namespace: 'shop', serviceAccount: 'web' })
  expect(of('shop/*/*')).toMatchObject({ namespace: 'shop', workload: undefined })
})

test.each(['web', 'shop/web', 'shop/*/web', 'shop/deployment/', 'shop/job/web'])('%s is no binding', (id) => {
  expect(() => of(id)).toThrow(/^CONJ00/)
})

test.each(['apps/shop/namespace/bank', 'shop/namespace_label_selector/a=b'])(
  '%s names no other namespace',
  (id) => {
    expect(() => of(id)).toThrow(/CONJ00048E/)
  },
)
