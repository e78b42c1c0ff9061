// Nodes, a cluster of Kubernetes with pods of every kind, an authority that signs for them, and hosts that are bound to them.
import { once } from 'node:events'
import { createServer, request as overHttps, type RequestOptions } from 'node:https'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import type { TLSSocket } from 'node:tls'
import {
  certificatesFor,
  requestWithKey,
  type TestAuthority,
  testAuthority,
} from '../../support/certificates.ts'
import { KubernetesApi } from '../../support/kubernetes-api.ts'
import { type AuditRow, atTheEdge, recordsOf, settled, startWorld, type World } from './world.ts'

type Annotations = Readonly<Record<string, string>>

/** Longer than what it signs. */
export const PODS = { name: 'CN=Pods', days: 30 }
export const DAY_MS = 24 * 60 * 60 * 1000
export const idBelowApps = (path: string): string => `conjur/authn-k8s/dev/apps/${path}`

/** Hosts by what binds them, in `pods/`: annotations, a pod of `shop`, and what comes of it. */
export const bound: Readonly<Record<string, readonly [Annotations, pod: string, refusal?: string]>> = {
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
    { 'authn-k8s/namespace': 'shop', 'authn-k8s/deployment': '%2e%2e/deployments/web' },
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
export const named: Readonly<Record<string, readonly [pod: string, refusal?: string]>> = {
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
  id: conjur/authn-k8s
  body:
  - !webservice
  - !variable ca/cert
  - !variable kubernetes/api-url
  - !variable kubernetes/ca-cert
  - !variable kubernetes/service-account-token
  - !permit { role: !host /pods/of-namespace, privileges: [ authenticate ], resource: !webservice }
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

export const spiffe = (pod: string, namespace = 'shop'): string =>
  `spiffe://cluster.local/namespace/${namespace}/podname/${pod}`

export type Node = 'leader' | 'follower'
/** A Worker asks no cluster (see its case): there the cases are about the Leader. */
export const nodes: readonly Node[] = atTheEdge ? ['leader'] : ['leader', 'follower']

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

export type Got = { readonly status: number; readonly body: string; readonly records: readonly AuditRow[] }

export type Asking = {
  readonly subject?: string
  readonly uris?: readonly string[]
  readonly dns?: readonly string[]
  /** Header Host-Id-Prefix; undefined: none. */
  readonly prefix?: string | undefined
  readonly service?: string
  /** Instead of a request that was made of the rest. */
  readonly csr?: string
}

export type Shown = { readonly cert: string; readonly key: string }

export const pathOf = (host: string, service = 'dev'): string =>
  `/authn-k8s${service && `/${service}`}/acme/${encodeURIComponent(`host/${host}`)}/authenticate`

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
      const shown = (request.socket as TLSSocket).getPeerX509Certificate()
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

export type KubernetesWorld = {
  readonly world: World
  readonly cluster: KubernetesApi
  readonly authority: TestAuthority
  newId(): string
  /** Sets variables, by their ids below `conjur/authn-k8s/`. */
  configure(values: Readonly<Record<string, string>>): Promise<void>
  /** Asks for a certificate of `CN=host` under `host.pods`, for the pod web-1 of shop. */
  inject(node: Node, host: string, asking?: Asking): Promise<Got & { readonly key: string }>
  /** Through the proxy, which ends TLS. */
  authenticate(node: Node, host: string, shown?: Shown, service?: string): Promise<Got>
  proxyOf(node: Node): Promise<Proxy>
  /** As the authority makes it for a pod of shop. */
  certified(host: string, pod?: string): Promise<Shown>
  stop(): Promise<void>
}

const mustBe = async (status: number, answer: Promise<Response>): Promise<void> => {
  const got = await answer
  if (got.status !== status) throw new Error(`it was answered ${got.status}: ${await got.text()}`)
}

export async function startKubernetesWorld(): Promise<KubernetesWorld> {
  const cluster = await KubernetesApi.start()
  const authority = await testAuthority(PODS)
  fill(cluster)
  const world = await startWorld({ env: { HOLDFAST_AUTHN_PRIVATE_NETWORKS: '127.0.0.1/32' } })
  const { admin, machine } = world
  const proxies = new Map<Node, Proxy>()
  let asked = 0
  const newId = (): string => `k8s-${++asked}`
  const configure = async (values: Readonly<Record<string, string>>): Promise<void> => {
    for (const [name, value] of Object.entries(values))
      await mustBe(201, admin.setSecret(`conjur/authn-k8s/${name}`, value))
    await settled(world)
  }
  const proxyOf = async (node: Node): Promise<Proxy> => {
    const proxy = proxies.get(node) ?? (await proxyBefore(machine[node].url))
    proxies.set(node, proxy)
    return proxy
  }

  await mustBe(201, admin.loadPolicy('root', policy))
  const asks = {
    'kubernetes/api-url': `${cluster.url}/`,
    'kubernetes/ca-cert': cluster.ca,
    'kubernetes/service-account-token': cluster.token,
  }
  await configure({
    'dev/ca/cert': authority.ca,
    'dev/ca/key': authority.caKey,
    'unset/ca/cert': authority.ca,
    'ca/cert': authority.ca,
    ...asks,
    ...Object.fromEntries(Object.entries(asks).map(([name, value]) => [`dev/${name}`, value])),
  })
  for (const service of ['/dev', '/unset', ''])
    await mustBe(204, admin.request('PATCH', `/authn-k8s${service}/acme`, { body: 'enabled=true' }))
  await settled(world)

  return {
    world,
    cluster,
    authority,
    newId,
    configure,
    async inject(node, host, asking = {}) {
      const { subject = `CN=${host}`, uris = [spiffe('web-1')], dns = [], service = 'dev' } = asking
      const prefix = 'prefix' in asking ? asking.prefix : 'host.pods'
      const made = await requestWithKey({ subject, uris, dns })
      const requestId = newId()
      const response = await fetch(`${machine[node].url}/authn-k8s/${service}/inject_client_cert`, {
        method: 'POST',
        headers: { 'X-Request-Id': requestId, ...(prefix === undefined ? {} : { 'Host-Id-Prefix': prefix }) },
        body: asking.csr ?? made.csr,
      })
      const body = await response.text()
      return { status: response.status, body, records: await recordsOf(world, requestId), key: made.key }
    },
    async authenticate(node, host, shown, service) {
      const requestId = newId()
      const proxy = await proxyOf(node)
      const got = await proxy.ask(pathOf(host, service), { ...shown, headers: { 'X-Request-Id': requestId } })
      return { ...got, records: await recordsOf(world, requestId) }
    },
    proxyOf,
    certified: (host, pod = 'web-1') =>
      authority.issueClient(`CN=host.${host.replaceAll('/', '.')}`, [spiffe(pod)]),
    async stop() {
      for (const proxy of proxies.values()) await proxy.close()
      await machine.stop()
      await cluster.close()
    },
  }
}
