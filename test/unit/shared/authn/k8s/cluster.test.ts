// Which cluster is asked: never another than was meant.
import { expect, test } from 'vitest'
import { type Cluster, clusterOf } from '#shared/authn/k8s/cluster.ts'

const own: Cluster = { url: 'https://10.96.0.1:443', ca: 'CA', token: 'own', own: true }
const inPod = { own: async () => own }
const elsewhere = { own: async () => undefined }
const stored = (values: Readonly<Record<string, string | undefined>>) => ({
  prefix: 'acme:variable:conjur/authn-k8s/dev/',
  values: new Map(Object.entries(values).map(([name, value]) => [`kubernetes/${name}`, value])),
})
const PEM = '-----BEGIN CERTIFICATE-----\nMII=\n-----END CERTIFICATE-----'
const all = {
  'api-url': ' https://k8s.example:6443/ ',
  'ca-cert': `${PEM}\n`,
  'service-account-token': 'bearer\n',
}

test('that of the variables, in a pod or not', async () => {
  const named = { url: 'https://k8s.example:6443', ca: PEM, token: 'bearer', own: false }
  for (const door of [inPod, elsewhere]) expect(await clusterOf(stored(all), door)).toEqual(named)
  const behind = { ...all, 'api-url': 'https://rancher.example/k8s/clusters/c-1/' }
  expect((await clusterOf(stored(behind), elsewhere)).url).toBe('https://rancher.example/k8s/clusters/c-1')
})

test('that of the node when the variables have no values', async () => {
  for (const values of [{}, { 'api-url': undefined }, { 'api-url': ' ', 'ca-cert': '' }]) {
    expect(await clusterOf(stored(values), inPod)).toBe(own)
    await expect(clusterOf(stored(values), elsewhere)).rejects.toThrow(/CONJ0003[67]E/)
  }
})

test.each(Object.keys(all))('none without %s', async (name) => {
  const { [name]: _, ...others } = all as Record<string, string>
  for (const values of [others, { ...others, [name]: undefined }])
    for (const door of [inPod, elsewhere])
      await expect(clusterOf(stored(values), door)).rejects.toThrow(/CONJ0003[67]E/)
})

test('none without an authority', async () => {
  for (const ca of [' ', 'nothing'])
    await expect(clusterOf(stored({ ...all, 'ca-cert': ca }), inPod)).rejects.toThrow(/CONJ00154E/)
})

test.each([
  'http://k8s.example',
  'https://user@k8s.example',
  'https://k8s.example/?a=b',
  'k8s.example',
  'https://',
])('none at %s', async (url) => {
  const refused = clusterOf(stored({ ...all, 'api-url': url }), inPod)
  // Words say which variable it is, and never what is in it.
  await expect(refused).rejects.toThrow(/^CONJ00042E [^@?]*kubernetes\/api-url$/)
})
