// Nodes that end mutual TLS themselves: the certificate of the connection is the client's, and what a header says of one is
// dropped, also where the peer would be believed as a proxy (http-api 8.9).
import { once } from 'node:events'
import { request as overHttps, type RequestOptions } from 'node:https'
import { text } from 'node:stream/consumers'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { certificatesFor, type TestAuthority, testAuthority } from '../support/certificates.ts'
import { KubernetesApi } from '../support/kubernetes-api.ts'
import { settled, startWorld, type World } from './api/world.ts'

// `fetch` of the support files takes no authority: here they ask nodes of their own.
process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0'

const policy = `
- !policy
  id: conjur/authn-k8s/dev
  body:
  - !webservice
  - !variable ca/cert
  - !variable kubernetes/api-url
  - !variable kubernetes/ca-cert
  - !variable kubernetes/service-account-token
- !host { id: web, annotations: { authn-k8s/namespace: shop } }
- !permit { role: !host web, privileges: [ authenticate ], resource: !webservice conjur/authn-k8s/dev }
`
const PODS = { name: 'CN=Pods' }
const PATH = '/authn-k8s/dev/acme/host%2Fweb/authenticate'

let cluster: KubernetesApi
let authority: TestAuthority
let world: World
let ca: string
beforeAll(async () => {
  cluster = await KubernetesApi.start()
  cluster.pod('shop', 'web-1')
  authority = await testAuthority(PODS)
  const tls = await certificatesFor('127.0.0.1')
  ca = tls.ca
  world = await startWorld({
    tls,
    env: {
      HOLDFAST_CLIENT_CERTIFICATES: 'true',
      // Which is not for them.
      NODE_TLS_REJECT_UNAUTHORIZED: '1',
      HOLDFAST_AUTHN_PRIVATE_NETWORKS: '127.0.0.1/32',
      HOLDFAST_AUTHENTICATORS: 'authn,authn-k8s/dev',
    },
  })
  const { admin } = world
  expect((await admin.loadPolicy('root', policy)).status).toBe(201)
  for (const [name, value] of Object.entries({
    'ca/cert': authority.ca,
    'kubernetes/api-url': cluster.url,
    'kubernetes/ca-cert': cluster.ca,
    'kubernetes/service-account-token': cluster.token,
  }))
    expect((await admin.setSecret(`conjur/authn-k8s/dev/${name}`, value)).status).toBe(201)
  await settled(world)
})
afterAll(async () => {
  await world?.machine.stop()
  await cluster?.close()
})

const certified = (host: string) =>
  authority.issueClient(`CN=host.${host}`, ['spiffe://cluster.local/namespace/shop/podname/web-1'])

describe.each(['leader', 'follower'] as const)('the %s', (node) => {
  const authenticate = async (options: RequestOptions): Promise<number> => {
    const { port } = new URL(world.machine[node].url)
    const request = overHttps({
      host: '127.0.0.1',
      port,
      path: PATH,
      method: 'POST',
      ca,
      agent: false,
      ...options,
    })
    const [response] = await once(request.end(), 'response')
    await text(response)
    return response.statusCode
  }

  test('knows a client by the certificate of the connection', async () => {
    expect(await authenticate(await certified('web'))).toBe(200)
    expect(await authenticate(await certified('other'))).toBe(401)
    expect(await authenticate(await (await testAuthority(PODS)).issueClient('CN=host.web', []))).toBe(401)
    expect(await authenticate({})).toBe(401)
  })

  test('drops what a header says of another', async () => {
    const { cert } = await certified('web')
    const headers = { 'X-SSL-Client-Certificate': encodeURIComponent(cert) }
    expect(await authenticate({ ...(await certified('other')), headers })).toBe(401)
    expect(await authenticate({ ...(await certified('other')), headers, localAddress: '127.0.0.2' })).toBe(
      401,
    )
    expect(await authenticate({ headers, localAddress: '127.0.0.2' })).toBe(401)
    // Of a proxy on this machine that shows none itself.
    expect(await authenticate({ headers })).toBe(200)
  })
})
