// Pods are given certificates and authenticate with them (http-api 8.9). Whoever asks for a certificate proves nothing: it is
// put where only the pod can read it. Whoever shows one is believed as far as somebody has seen that he has its key.
import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { request as overHttp } from 'node:http'
import { createServer, request as overHttps, type RequestOptions } from 'node:https'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  certificatesFor,
  requestWithKey,
  type TestAuthority,
  testAuthority,
} from '../../support/certificates.ts'
import { KubernetesApi } from '../../support/kubernetes-api.ts'
import { Client } from '../../support/nodes.ts'
import { type AuditRow, atTheEdge, recordsOf, settled, startWorld, type World } from './world.ts'

type Annotations = Readonly<Record<string, string>>

/** Longer than what it signs. */
const PODS = { name: 'CN=Pods', days: 30 }
const DAY_MS = 24 * 60 * 60 * 1000
const id = (path: string): string => `conjur/authn-k8s/dev/apps/${path}`

/** Hosts by what binds them, in `pods/`: annotations, a pod of `shop`, and what comes of it. */
const bound: Readonly<Record<string, readonly [Annotations, pod: string, refusal?: string]>> = {
  'of-namespace': [{ 'authn-k8s/namespace': 'shop' }, 'web-1'],
  'of-service': [{ 'authn-k8s/namespace': 'other', 'authn-k8s/dev/namespace': 'shop' }, 'web-1'],
  'of-other-service': [
    { 'authn-k8s/namespace': 'shop', 'authn-k8s/prod/namespace': 'other', 'authn-k8s/prod/odd': 'x' },
    'web-1',
  ],
  'of-other-namespace': [{ 'authn-k8s/namespace': 'other' }, 'web-1', 'CONJ00023E'],
  'of-labels': [{ 'authn-k8s/namespace-label-selector': 'team=sales, stage==prod' }, 'web-1'],
  'of-other-label': [
    { 'authn-k8s/namespace-label-selector': 'team=sales,stage=test' },
    'web-1',
    'CONJ00049E',
  ],
  'of-absent-label': [{ 'authn-k8s/namespace-label-selector': 'zone=' }, 'web-1', 'CONJ00049E'],
  'of-set-of-labels': [{ 'authn-k8s/namespace-label-selector': 'team in (sales)' }, 'web-1', 'CONJ00050E'],
  'of-deployment': [{ 'authn-k8s/namespace': 'shop', 'authn-k8s/deployment': 'web' }, 'web-1'],
  'of-other-deployment': [
    { 'authn-k8s/namespace': 'shop', 'authn-k8s/deployment': 'api' },
    'web-1',
    'CONJ00061E',
  ],
  'of-absent-deployment': [
    { 'authn-k8s/namespace': 'shop', 'authn-k8s/deployment': 'none' },
    'web-1',
    'CONJ00026E',
  ],
  'of-odd-deployment': [
    { 'authn-k8s/namespace': 'shop', 'authn-k8s/deployment': '../pods/web-1' },
    'web-1',
    'CONJ00026E',
  ],
  'of-deployment-alone': [
    { 'authn-k8s/namespace': 'shop', 'authn-k8s/deployment': 'web' },
    'alone',
    'CONJ00062E',
  ],
  'of-deployment-that-was': [
    { 'authn-k8s/namespace': 'shop', 'authn-k8s/deployment': 'web' },
    'stale-1',
    'CONJ00062E',
  ],
  'of-stateful-set': [{ 'authn-k8s/namespace': 'shop', 'authn-k8s/stateful-set': 'db' }, 'db-0'],
  'of-other-stateful-set': [
    { 'authn-k8s/namespace': 'shop', 'authn-k8s/stateful-set': 'db' },
    'web-1',
    'CONJ00062E',
  ],
  'of-deployment-config': [{ 'authn-k8s/namespace': 'shop', 'authn-k8s/deployment-config': 'cfg' }, 'cfg-1'],
  'of-other-deployment-config': [
    { 'authn-k8s/namespace': 'shop', 'authn-k8s/deployment-config': 'cfg' },
    'web-1',
    'CONJ00062E',
  ],
  'of-account': [{ 'authn-k8s/namespace': 'shop', 'authn-k8s/service-account': 'seller' }, 'web-1'],
  'of-other-account': [
    { 'authn-k8s/namespace': 'shop', 'authn-k8s/service-account': 'seller' },
    'alone',
    'CONJ00061E',
  ],
  'of-pod': [{ 'authn-k8s/namespace': 'shop', 'authn-k8s/pod': 'web-1' }, 'web-1'],
  'of-other-pod': [{ 'authn-k8s/namespace': 'shop', 'authn-k8s/pod': 'web-1' }, 'alone', 'CONJ00060E'],
  'of-all': [
    {
      'authn-k8s/namespace': 'shop',
      'authn-k8s/deployment': 'web',
      'authn-k8s/service-account': 'seller',
      'authn-k8s/dev/pod': 'web-1',
    },
    'web-1',
  ],
  'of-both-namespaces': [
    { 'authn-k8s/namespace': 'shop', 'authn-k8s/namespace-label-selector': 'team=sales' },
    'web-1',
    'CONJ00131E',
  ],
  'of-no-namespace': [{ 'authn-k8s/service-account': 'seller' }, 'web-1', 'CONJ00131E'],
  'of-two-workloads': [
    { 'authn-k8s/namespace': 'shop', 'authn-k8s/deployment': 'web', 'authn-k8s/stateful-set': 'db' },
    'web-1',
    'CONJ00055E',
  ],
  'of-odd-restriction': [
    { 'authn-k8s/namespace': 'shop', 'authn-k8s/replica-set': 'web-5d' },
    'web-1',
    'CONJ00050E',
  ],
  'of-empty-restriction': [{ 'authn-k8s/namespace': 'shop', 'authn-k8s/pod': '' }, 'web-1', 'CONJ00100E'],
  'in-container': [
    { 'authn-k8s/namespace': 'shop', 'authn-k8s/authentication-container-name': 'app' },
    'web-1',
  ],
  'in-container-of-service': [
    {
      'authn-k8s/namespace': 'shop',
      'authn-k8s/authentication-container-name': 'none',
      'authn-k8s/dev/authentication-container-name': 'app',
    },
    'web-1',
  ],
  'in-container-of-old': [
    { 'authn-k8s/namespace': 'shop', 'kubernetes/authentication-container-name': 'setup' },
    'web-1',
  ],
  'in-no-container': [
    { 'authn-k8s/namespace': 'shop', 'authn-k8s/authentication-container-name': 'none' },
    'web-1',
    'CONJ00028E',
  ],
  'in-default-container': [{ 'authn-k8s/namespace': 'shop' }, 'bare', 'CONJ00028E'],
  'of-nothing': [{}, 'web-1', 'CONJ00048E'],
}

/** Hosts by the last names of their ids. */
const named: Readonly<Record<string, readonly [pod: string, refusal?: string]>> = {
  'shop/*/*': ['web-1'],
  'shop/deployment/web': ['web-1'],
  'shop/stateful_set/db': ['db-0'],
  'shop/deployment_config/cfg': ['cfg-1'],
  'shop/service_account/seller': ['web-1'],
  'shop/pod/web-1': ['web-1'],
  'shop/pod/other': ['web-1', 'CONJ00060E'],
  'shop/deployment/*': ['web-1', 'CONJ00026E'],
  'shop/*/web': ['web-1', 'CONJ00050E'],
  'shop/replica_set/web-5d': ['web-1', 'CONJ00050E'],
  'other/*/*': ['web-1', 'CONJ00023E'],
}

const annotated = (name: string, annotations: Annotations): string => `
  - !host
    id: ${name}
    annotations: ${JSON.stringify(annotations)}`

const policy = `
- !policy
  id: conjur/authn-k8s/dev
  body:
  - !webservice
  - !webservice status
  - !group apps
  - !permit { role: !group apps, privileges: [ authenticate ], resource: !webservice }
  - !variable ca/cert
  - !variable ca/key
  - !variable kubernetes/api-url
  - !variable kubernetes/ca-cert
  - !variable kubernetes/service-account-token
  - !policy
    id: apps
    body:
${Object.keys(named)
  .map((path) => `    - !host "${path}"`)
  .join('\n')}
  - !grant
    role: !group apps
    members: [ ${Object.keys(named)
      .map((path) => `!host "apps/${path}"`)
      .join(', ')} ]
- !policy
  id: conjur/authn-k8s/unset
  body:
  - !webservice
  - !variable ca/cert
  - !permit { role: !host /pods/of-namespace, privileges: [ authenticate ], resource: !webservice }
- !policy
  id: conjur/authn-k8s/off
  body:
  - !webservice
  - !permit { role: !host /pods/of-namespace, privileges: [ authenticate ], resource: !webservice }
- !policy
  id: pods
  body:${Object.entries(bound)
    .map(([name, [annotations]]) => annotated(name, annotations))
    .join('')}
${annotated('stranger', { 'authn-k8s/namespace': 'shop' })}
${annotated('a.b', { 'authn-k8s/namespace': 'shop' })}
${annotated('a/b', { 'authn-k8s/namespace': 'shop' })}
  - !host
    id: far
    restricted_to: 10.99.0.0/16
    annotations: { authn-k8s/namespace: shop }
  - !user person
- !grant
  role: !group conjur/authn-k8s/dev/apps
  members: [ ${[...Object.keys(bound), 'far', 'a.b', 'a/b'].map((name) => `!host pods/${name}`).join(', ')}, !user person@pods ]
`

const spiffe = (pod: string, namespace = 'shop'): string =>
  `spiffe://cluster.local/namespace/${namespace}/podname/${pod}`

type Node = 'leader' | 'follower'
/** A Worker asks no cluster (see its case): there the cases are about the Leader. */
const nodes: readonly Node[] = atTheEdge ? ['leader'] : ['leader', 'follower']

let world: World
let cluster: KubernetesApi
let authority: TestAuthority
const proxies = new Map<Node, Proxy>()
let asked = 0

beforeAll(async () => {
  cluster = await KubernetesApi.start()
  authority = await testAuthority(PODS)
  fill(cluster)
  world = await startWorld({ env: { HOLDFAST_AUTHN_PRIVATE_NETWORKS: '127.0.0.1/32' } })
  const loaded = await world.admin.loadPolicy('root', policy)
  expect([loaded.status, await loaded.text()]).toEqual([201, expect.any(String)])
  await configure({
    'dev/ca/cert': authority.ca,
    'dev/ca/key': authority.caKey,
    'dev/kubernetes/api-url': `${cluster.url}/`,
    'dev/kubernetes/ca-cert': cluster.ca,
    'dev/kubernetes/service-account-token': cluster.token,
    'unset/ca/cert': authority.ca,
  })
  for (const service of ['dev', 'unset'])
    expect(
      (await world.admin.request('PATCH', `/authn-k8s/${service}/acme`, { body: 'enabled=true' })).status,
    ).toBe(204)
  await settled(world)
  for (const node of nodes) proxies.set(node, await proxyBefore(world.machine[node].url))
})
afterAll(async () => {
  for (const proxy of proxies.values()) await proxy.close()
  await world?.machine.stop()
  await cluster?.close()
})

function fill(api: KubernetesApi): void {
  const apps = (kind: string) => ['apps/v1', kind, `${kind.toLowerCase()}s`] as const
  api.namespace('shop', { team: 'sales', stage: 'prod' })
  api.namespace('other')
  const web = api.object(apps('Deployment'), 'shop', 'web')
  api.object(apps('Deployment'), 'shop', 'api')
  const replicas = api.object(apps('ReplicaSet'), 'shop', 'web-5d', web)
  const account = { serviceAccount: 'seller', initContainers: ['setup'] }
  api.pod('shop', 'web-1', { ...account, owner: replicas })
  api.pod('shop', 'stale-1', { ...account, owner: { ...replicas, uid: 'of one that was called so before' } })
  api.pod('shop', 'db-0', { owner: api.object(apps('StatefulSet'), 'shop', 'db') })
  const config = api.object(['apps.openshift.io/v1', 'DeploymentConfig', 'deploymentconfigs'], 'shop', 'cfg')
  const controller = api.object(
    ['v1', 'ReplicationController', 'replicationcontrollers'],
    'shop',
    'cfg-1',
    config,
  )
  api.pod('shop', 'cfg-1', { owner: controller })
  api.pod('shop', 'alone')
  api.pod('shop', 'bare', { containers: ['app'] })
  api.pod('other', 'web-1')
}

async function configure(values: Readonly<Record<string, string>>): Promise<void> {
  for (const [name, value] of Object.entries(values))
    expect((await world.admin.setSecret(`conjur/authn-k8s/${name}`, value)).status).toBe(201)
  await settled(world)
}

type Got = { readonly status: number; readonly body: string; readonly records: readonly AuditRow[] }

type Asking = {
  readonly subject?: string
  readonly uris?: readonly string[]
  readonly dns?: readonly string[]
  /** Header Host-Id-Prefix; undefined: none. */
  readonly prefix?: string | undefined
  readonly service?: string
  /** Instead of a request that was made of the rest. */
  readonly csr?: string
}

/** Asks for a certificate of `CN=host` under `host.pods`, for the pod web-1 of shop. */
async function inject(
  node: Node,
  host: string,
  asking: Asking = {},
): Promise<Got & { readonly key: string }> {
  const { subject = `CN=${host}`, uris = [spiffe('web-1')], dns = [], service = 'dev' } = asking
  const prefix = 'prefix' in asking ? asking.prefix : 'host.pods'
  const made = await requestWithKey({ subject, uris, dns })
  const requestId = `k8s-${++asked}`
  const response = await fetch(`${world.machine[node].url}/authn-k8s/${service}/inject_client_cert`, {
    method: 'POST',
    headers: { 'X-Request-Id': requestId, ...(prefix === undefined ? {} : { 'Host-Id-Prefix': prefix }) },
    body: asking.csr ?? made.csr,
  })
  const body = await response.text()
  return { status: response.status, body, records: await recordsOf(world, requestId), key: made.key }
}

type Shown = { readonly cert: string; readonly key: string }

const path = (host: string, service = 'dev'): string =>
  `/authn-k8s/${service}/acme/${encodeURIComponent(`host/${host}`)}/authenticate`

/** Through the proxy, which ends TLS. */
async function authenticate(node: Node, host: string, shown?: Shown, service?: string): Promise<Got> {
  const requestId = `k8s-${++asked}`
  const proxy = proxies.get(node)!
  const got = await proxy.ask(path(host, service), { ...shown, headers: { 'X-Request-Id': requestId } })
  return { ...got, records: await recordsOf(world, requestId) }
}

/** As the authority makes it for a pod. */
const certified = (host: string, pod = 'web-1'): Promise<Shown> =>
  authority.issueClient(`CN=host.${host.replaceAll('/', '.')}`, [spiffe(pod)])

type Proxy = {
  ask(path: string, options: RequestOptions): Promise<{ readonly status: number; readonly body: string }>
  close(): Promise<void>
}

/** Ends mutual TLS with whatever certificate, and says in a header which it was. */
async function proxyBefore(url: string): Promise<Proxy> {
  const { ca, cert, key } = await certificatesFor('127.0.0.1')
  const server = createServer(
    { cert, key, requestCert: true, rejectUnauthorized: false },
    async (request, response) => {
      const shown = (request.socket as import('node:tls').TLSSocket).getPeerX509Certificate()
      const answer = await fetch(url + request.url, {
        method: request.method!,
        headers: {
          'X-Request-Id': String(request.headers['x-request-id']),
          ...(shown === undefined
            ? {}
            : { 'X-SSL-Client-Certificate': encodeURIComponent(shown.toString()) }),
        },
      })
      response.writeHead(answer.status).end(await answer.text())
    },
  )
  await once(server.listen(0, '127.0.0.1'), 'listening')
  return {
    async ask(asked, options) {
      const { port } = server.address() as AddressInfo
      const request = overHttps({
        host: '127.0.0.1',
        port,
        path: asked,
        method: 'POST',
        ca,
        agent: false,
        ...options,
      })
      const [response] = await once(request.end(), 'response')
      return { status: response.statusCode, body: await text(response) }
    },
    async close() {
      server.closeAllConnections()
      await once(server.close(), 'close')
    },
  }
}

const refused = (got: Got, status: number, words: string): void => {
  expect(got).toMatchObject({ status, body: '' })
  expect(got.records.map(({ message }) => message)).toEqual([expect.stringContaining(`: ${words}`)])
}

const clientPem = (container = 'authenticator', pod = 'web-1'): string | undefined =>
  cluster.file('shop', pod, container, 'etc/conjur/ssl/client.pem')

describe.each(nodes)('at the %s', (node) => {
  test('a pod is given a certificate and authenticates with it', async () => {
    const got = await inject(node, 'of-all', { dns: ['leader.internal'] })
    expect(got).toMatchObject({ status: 202, body: '' })
    const what = 'with authenticator authn-k8s service acme:webservice:conjur/authn-k8s/dev'
    expect(got.records).toMatchObject([
      {
        severity: 6,
        msgid: 'authn',
        sdata: { 'action@43868': { operation: 'k8s-inject-client-cert', result: 'success' } },
        message: `acme:host:pods/of-all successfully injected client certificate ${what}`,
      },
    ])
    const cert = clientPem()!
    const certificate = new X509Certificate(cert)
    expect(certificate.subject).toBe('CN=host.pods.of-all')
    // Other names that were asked for are nobody's to have.
    expect(certificate.subjectAltName).toBe(`URI:${spiffe('web-1')}`)
    expect(certificate.verify(new X509Certificate(authority.ca).publicKey)).toBe(true)
    expect(certificate.ca).toBe(false)
    const lifeMs = certificate.validToDate.getTime() - certificate.validFromDate.getTime()
    expect(lifeMs - 3 * DAY_MS).toBe(60_000)
    const answer = await authenticate(node, 'pods/of-all', { cert, key: got.key })
    expect(answer.status).toBe(200)
    expect(answer.records).toMatchObject([
      { severity: 6, message: `acme:host:pods/of-all successfully authenticated ${what}` },
    ])
    const token = Buffer.from(answer.body).toString('base64')
    const client = new Client(world.machine[node].url, 'acme', token)
    const who = await client.request('GET', '/whoami')
    expect(await who.json()).toMatchObject({ username: 'host/pods/of-all' })
  })

  test.each(Object.entries(bound))('a host that is bound %s', async (host, [, pod, words]) => {
    const injected = await inject(node, host, { uris: [spiffe(pod)] })
    const shown = await certified(`pods/${host}`, pod)
    const authenticated = await authenticate(node, `pods/${host}`, shown)
    if (words === undefined) expect([injected.status, authenticated.status]).toEqual([202, 200])
    else for (const got of [injected, authenticated]) refused(got, 401, words)
  })

  test.each(Object.entries(named))('a host that is bound by its id: %s', async (last, [pod, words]) => {
    const dotted = last.replaceAll('/', '.')
    // Whoever sends no prefix means the hosts below apps.
    const injected = await inject(node, dotted, { prefix: undefined, uris: [spiffe(pod)] })
    const authenticated = await authenticate(node, id(last), await certified(id(last), pod))
    if (words === undefined) expect([injected.status, authenticated.status]).toEqual([202, 200])
    else for (const got of [injected, authenticated]) refused(got, 401, words)
  })

  test('the certificate is put into the container of the annotation', async () => {
    for (const [host, container] of [
      ['in-container', 'app'],
      ['in-container-of-old', 'setup'],
      ['of-namespace', 'authenticator'],
    ] as const) {
      expect((await inject(node, host)).status).toBe(202)
      expect(new X509Certificate(clientPem(container)!).subject).toBe(`CN=host.pods.${host}`)
    }
  })

  test('a request without a common name is 422', async () => {
    const got = await inject(node, '', { subject: 'O=acme' })
    expect(got.status).toBe(422)
    const message = 'CONJ00058E CSR must have a CN (common name) entry.'
    expect(JSON.parse(got.body)).toEqual({ error: { code: 'argument_error', message } })
    expect((await inject(node, '', { subject: 'CN=of-all+CN=of-pod' })).status).toBe(422)
  })

  test.each<[string, string, Asking, string]>([
    ['no request', 'of-all', { csr: 'nothing' }, 'CONJ00002E'],
    ['an empty body', 'of-all', { csr: '' }, 'CONJ00002E'],
    ['no SPIFFE id', 'of-all', { uris: [] }, 'CONJ00022E'],
    ['two SPIFFE ids', 'of-all', { uris: [spiffe('web-1'), spiffe('alone')] }, 'CONJ00022E'],
    [
      'an id of another trust',
      'of-all',
      { uris: [spiffe('web-1').replace('cluster.local', 'x')] },
      'CONJ00022E',
    ],
    ['a pod that is a path', 'of-all', { uris: [spiffe('..%2F..%2Fsecrets')] }, 'CONJ00022E'],
    ['a pod that is above', 'of-namespace', { uris: [spiffe('..')] }, 'CONJ00022E'],
    ['a pod that is not there', 'of-namespace', { uris: [spiffe('gone-1')] }, 'CONJ00024E'],
    ['a host that is not there', 'nobody', {}, 'CONJ00007E'],
    ['a user', 'person@pods', { prefix: 'user' }, 'CONJ00048E'],
    ['no kind of role', 'of-all', { prefix: 'pods' }, 'CONJ00007E'],
    ['a wrong origin', 'far', {}, 'CONJ00003E'],
    ['a service that is not there', 'of-all', { service: 'none' }, "CONJ00004E 'authn-k8s/none'"],
    ['a service that is off', 'of-namespace', { service: 'off' }, "CONJ00004E 'authn-k8s/off'"],
    ['a service without a key', 'of-namespace', { service: 'unset' }, 'CONJ00036E'],
  ])('no certificate for %s', async (_, host, asking, words) => {
    refused(await inject(node, host, asking), 401, words)
  })

  test('no certificate for whoever does not hold the key', async () => {
    const { csr } = await requestWithKey({ subject: 'CN=of-all', uris: [spiffe('web-1')] })
    const bytes = Buffer.from(csr.split('\n').slice(1, -2).join(''), 'base64')
    bytes[bytes.length - 1]! ^= 1
    const forged = `-----BEGIN CERTIFICATE REQUEST-----\n${bytes.toString('base64')}\n-----END CERTIFICATE REQUEST-----`
    refused(await inject(node, 'of-all', { csr: forged }), 401, 'CONJ00002E')
  })

  test('nothing for a host that may not', async () => {
    refused(await inject(node, 'stranger'), 403, 'CONJ00006E')
    refused(await authenticate(node, 'pods/stranger', await certified('pods/stranger')), 403, 'CONJ00006E')
  })

  test('a certificate without a common name is 422', async () => {
    const shown = await authority.issueClient('O=acme', [spiffe('web-1')])
    const got = await authenticate(node, 'pods/of-all', shown)
    expect(got.status).toBe(422)
    const message = 'CONJ00059E Certificate must have a CN (common name) entry.'
    expect(JSON.parse(got.body)).toEqual({ error: { code: 'argument_error', message } })
  })

  test.each<[string, string, () => Promise<Shown | undefined>, string]>([
    ['none', 'pods/of-all', async () => undefined, 'CONJ00029E'],
    [
      'one of another authority of the same name',
      'pods/of-all',
      async () => (await testAuthority(PODS)).issueClient('CN=host.pods.of-all', [spiffe('web-1')]),
      'CONJ00030E',
    ],
    [
      'one that has expired',
      'pods/of-all',
      () => authority.issueClient('CN=host.pods.of-all', [spiffe('web-1')], { from: -0.9, to: -0.1 }),
      'CONJ00032E',
    ],
    [
      'one that is not valid yet',
      'pods/of-all',
      () => authority.issueClient('CN=host.pods.of-all', [spiffe('web-1')], { from: 1, to: 2 }),
      'CONJ00030E',
    ],
    ['one of another host', 'pods/of-all', () => certified('pods/of-pod'), 'CONJ00031E'],
    ['one of a host whose id differs in a dot', 'pods/a.b', () => certified('pods/a/b'), 'CONJ00031E'],
    [
      'one without a pod',
      'pods/of-namespace',
      () => authority.issueClient('CN=host.pods.of-namespace', []),
      'CONJ00030E',
    ],
    [
      'one of two pods',
      'pods/of-namespace',
      () => authority.issueClient('CN=host.pods.of-namespace', [spiffe('web-1'), spiffe('alone')]),
      'CONJ00030E',
    ],
    ['one of another pod', 'pods/of-pod', () => certified('pods/of-pod', 'alone'), 'CONJ00060E'],
    [
      'one of a pod elsewhere',
      'pods/of-namespace',
      () => authority.issueClient('CN=host.pods.of-namespace', [spiffe('web-1', 'other')]),
      'CONJ00023E',
    ],
    [
      'one of a pod that is not there',
      'pods/of-namespace',
      () => certified('pods/of-namespace', 'gone-1'),
      'CONJ00024E',
    ],
    ['one of a host elsewhere', 'pods/far', () => certified('pods/far'), 'CONJ00003E'],
  ])('no token for a certificate: %s', async (_, host, shown, words) => {
    refused(await authenticate(node, host, await shown()), 401, words)
  })

  test('a pod that is gone authenticates no more', async () => {
    cluster.pod('shop', 'short-lived')
    const got = await inject(node, 'of-namespace', { uris: [spiffe('short-lived')] })
    const shown = { cert: clientPem('authenticator', 'short-lived')!, key: got.key }
    expect((await authenticate(node, 'pods/of-namespace', shown)).status).toBe(200)
    cluster.removePod('shop', 'short-lived')
    refused(await authenticate(node, 'pods/of-namespace', shown), 401, 'CONJ00024E')
  })

  test('a header of somebody who is no proxy is not looked at', async () => {
    const { cert } = await certified('pods/of-namespace')
    const { hostname, port } = new URL(world.machine[node].url)
    const smuggle = async (localAddress: string, requestId: string): Promise<number> => {
      const request = overHttp({
        hostname,
        port,
        localAddress,
        path: path('pods/of-namespace'),
        method: 'POST',
        headers: {
          'X-SSL-Client-Certificate': encodeURIComponent(cert),
          'X-Forwarded-For': '127.0.0.1',
          'X-Request-Id': requestId,
        },
      })
      const [response] = await once(request.end(), 'response')
      await text(response)
      return response.statusCode
    }
    const requestId = `k8s-${++asked}`
    expect(await smuggle('127.0.0.2', requestId)).toBe(401)
    const [record] = await recordsOf(world, requestId)
    expect(record?.message).toContain(': CONJ00029E')
    // The same from this machine itself, which is believed.
    expect(await smuggle('127.0.0.1', `k8s-${++asked}`)).toBe(200)
  })

  test('a header in other escapes is read, and one that is none is not', async () => {
    const { cert } = await certified('pods/of-namespace')
    const asForm = new URLSearchParams({ c: cert }).toString().slice(2)
    // Base64 with its signs as they are.
    const asUrl = encodeURIComponent(cert).replaceAll('%2B', '+').replaceAll('%2F', '/')
    for (const [header, status] of [
      [asForm, 200],
      [asUrl, 200],
      ['nothing', 401],
      ['%zz', 401],
    ] as const) {
      const response = await fetch(world.machine[node].url + path('pods/of-namespace'), {
        method: 'POST',
        headers: { 'X-SSL-Client-Certificate': header },
      })
      expect([header, response.status]).toEqual([header, status])
    }
  })

  test('what goes wrong in the container is written there and recorded', async () => {
    cluster.pod('shop', 'locked')
    cluster.removeFolder('shop', 'locked', 'authenticator', 'etc')
    const got = await inject(node, 'of-namespace', { uris: [spiffe('locked')] })
    refused(got, 202, "CONJ00072E Exec command failed in container 'authenticator' of pod 'locked'")
    expect(clientPem('authenticator', 'locked')).toBeUndefined()
    const log = cluster.file('shop', 'locked', 'authenticator', 'tmp/conjur_copy_text_output.log')
    expect(log).toMatch(/client\.pem\.tmp/)
  })

  test('a command that does not end, and one of which nothing is known, have put nothing there', async () => {
    try {
      cluster.commands = 'hang'
      refused(await inject(node, 'of-namespace'), 401, 'CONJ00033E Exec command timed out')
      cluster.commands = 'cut'
      refused(await inject(node, 'of-namespace'), 401, 'CONJ00072E Exec command failed')
    } finally {
      cluster.commands = 'run'
    }
  })

  test('nothing is believed while the cluster does not answer, or not well', async () => {
    const shown = await certified('pods/of-namespace')
    const both = async (words: string): Promise<void> => {
      refused(await inject(node, 'of-namespace'), 401, words)
      refused(await authenticate(node, 'pods/of-namespace', shown), 401, words)
    }
    try {
      await cluster.goAway()
      await both('The Kubernetes API cannot be asked')
      await cluster.comeBack()
      for (const status of [403, 500]) {
        cluster.answersAll = status
        await both(`The Kubernetes API answered ${status}`)
      }
      cluster.answersAll = undefined
      cluster.token = 'another'
      await both('The Kubernetes API answered 401')
    } finally {
      cluster.answersAll = undefined
      cluster.token = 'service-account-token'
    }
    expect((await authenticate(node, 'pods/of-namespace', shown)).status).toBe(200)
  })
})

test.runIf(atTheEdge)('a Worker asks no cluster: its platform takes no authority of ours', async () => {
  proxies.set('follower', await proxyBefore(world.machine.follower.url))
  const words =
    'The Kubernetes API cannot be asked: a Worker checks certificates with the authorities of its platform'
  refused(await inject('follower', 'of-namespace'), 401, words)
  refused(
    await authenticate('follower', 'pods/of-namespace', await certified('pods/of-namespace')),
    401,
    words,
  )
})

describe('variables', () => {
  const shown = () => certified('pods/of-namespace')
  test.each([
    ['dev/kubernetes/api-url', 'http://127.0.0.1:1', 'CONJ00042E'],
    ['dev/kubernetes/api-url', 'nowhere', 'CONJ00042E'],
    ['dev/kubernetes/service-account-token', 'a b', 'CONJ00153E'],
    ['dev/kubernetes/api-url', 'https://10.96.0.1', 'The Kubernetes API cannot be asked'],
    ['dev/ca/cert', 'nothing', 'CONJ00155E'],
  ])('%s is %s', async (name, value, words) => {
    const before = await (await world.admin.getSecret(`conjur/authn-k8s/${name}`)).text()
    await configure({ [name]: value })
    try {
      refused(await authenticate('leader', 'pods/of-namespace', await shown()), 401, words)
    } finally {
      await configure({ [name]: before })
    }
  })

  test('a key that signs nothing', async () => {
    await configure({ 'dev/ca/key': 'nothing' })
    try {
      refused(await inject('leader', 'of-namespace'), 401, 'CONJ00156E')
    } finally {
      await configure({ 'dev/ca/key': authority.caKey })
    }
  })

  test('a service for which no cluster is named, on a node that runs in none', async () => {
    const got = await authenticate('leader', 'pods/of-namespace', await shown(), 'unset')
    refused(got, 401, 'CONJ00037E')
  })
})

describe.each(nodes)('the status at the %s', (node) => {
  const status = async (): Promise<readonly [number, string]> => {
    const response = await world.admin
      .at(world.machine[node].url)
      .request('GET', '/authn-k8s/dev/acme/status')
    const { error = 'ok' } = (await response.json()) as { error?: string }
    return [response.status, error]
  }
  const is = (words: string) => [500, expect.stringContaining(words)]

  test('is well when the authority signs and the cluster answers', async () => {
    expect(await status()).toEqual([200, 'ok'])
    await cluster.goAway()
    expect(await status()).toEqual(is('AuthnK8s: The Kubernetes API cannot be asked'))
    await cluster.comeBack()
    cluster.token = 'another'
    expect(await status()).toEqual(is('AuthnK8s: The Kubernetes API answered 401'))
    cluster.token = 'service-account-token'
    expect(await status()).toEqual([200, 'ok'])
  })

  test.each([
    ['ca/cert', 'AuthnK8s::InvalidSigningCert: CONJ00155E'],
    ['ca/key', 'AuthnK8s::InvalidSigningKey: CONJ00156E'],
    ['kubernetes/api-url', 'AuthnK8s::InvalidApiUrl: CONJ00042E'],
    ['kubernetes/ca-cert', 'AuthnK8s: The Kubernetes API cannot be asked'],
  ])('is not while %s is wrong', async (name, words) => {
    const before = await (await world.admin.getSecret(`conjur/authn-k8s/dev/${name}`)).text()
    await configure({ [`dev/${name}`]: 'nothing' })
    expect(await status()).toEqual(is(words))
    await configure({ [`dev/${name}`]: before })
  })
})

// Last: it takes the Leader away.
test.skipIf(atTheEdge)('a Follower does all of it while the Leader is away', async () => {
  await world.machine.leader.kill()
  const { url } = world.machine.follower
  const { csr, key } = await requestWithKey({ subject: 'CN=of-all', uris: [spiffe('web-1')] })
  const headers = { 'Host-Id-Prefix': 'host.pods' }
  const injected = await fetch(`${url}/authn-k8s/dev/inject_client_cert`, {
    method: 'POST',
    body: csr,
    headers,
  })
  expect(injected.status).toBe(202)
  const answer = await proxies.get('follower')!.ask(path('pods/of-all'), { cert: clientPem()!, key })
  expect(answer.status).toBe(200)
})
