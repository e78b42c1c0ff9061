// Pods are given certificates and authenticate with them (http-api 8.9). Whoever asks for a certificate proves nothing: it is
// put where only the pod can read it. Whoever shows one is believed as far as somebody has seen that he has its key.
import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { request as overHttp } from 'node:http'
import { text } from 'node:stream/consumers'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { requestWithKey, type TestAuthority, testAuthority } from '../../support/certificates.ts'
import type { KubernetesApi } from '../../support/kubernetes-api.ts'
import { Client } from '../../support/nodes.ts'
import {
  type Asking,
  bound,
  DAY_MS,
  type Got,
  idBelowApps,
  type KubernetesWorld,
  named,
  nodes,
  PODS,
  pathOf,
  type Shown,
  spiffe,
  startKubernetesWorld,
} from './authn-k8s.world.ts'
import { atTheEdge, recordsOf, type World } from './world.ts'

let all: KubernetesWorld
let world: World
let cluster: KubernetesApi
let authority: TestAuthority
beforeAll(async () => {
  all = await startKubernetesWorld()
  ;({ world, cluster, authority } = all)
})
afterAll(() => all?.stop())

const refused = (got: Got, status: number, words: string): void => {
  expect(got).toMatchObject({ status, body: '' })
  expect(got.records.map(({ message }) => message)).toEqual([expect.stringContaining(`: ${words}`)])
}

const clientPem = (container = 'authenticator', pod = 'web-1'): string | undefined =>
  cluster.file('shop', pod, container, 'etc/conjur/ssl/client.pem')

describe.each(nodes)('at the %s', (node) => {
  test('a pod is given a certificate and authenticates with it', async () => {
    const got = await all.inject(node, 'of-all', { dns: ['leader.internal'] })
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
    const answer = await all.authenticate(node, 'pods/of-all', { cert, key: got.key })
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
    const injected = await all.inject(node, host, { uris: [spiffe(pod)] })
    const shown = await all.certified(`pods/${host}`, pod)
    const authenticated = await all.authenticate(node, `pods/${host}`, shown)
    if (words === undefined) expect([injected.status, authenticated.status]).toEqual([202, 200])
    else for (const got of [injected, authenticated]) refused(got, 401, words)
  })

  test.each(Object.entries(named))('a host that is bound by its id: %s', async (last, [pod, words]) => {
    const dotted = last.replaceAll('/', '.')
    // Whoever sends no prefix means the hosts below apps.
    const injected = await all.inject(node, dotted, { prefix: undefined, uris: [spiffe(pod)] })
    const authenticated = await all.authenticate(
      node,
      idBelowApps(last),
      await all.certified(idBelowApps(last), pod),
    )
    if (words === undefined) expect([injected.status, authenticated.status]).toEqual([202, 200])
    else for (const got of [injected, authenticated]) refused(got, 401, words)
  })

  test('the certificate is put into the container of the annotation', async () => {
    for (const [host, container] of [
      ['in-container', 'app'],
      ['in-container-of-old', 'setup'],
      ['of-namespace', 'authenticator'],
    ] as const) {
      expect((await all.inject(node, host)).status).toBe(202)
      expect(new X509Certificate(clientPem(container)!).subject).toBe(`CN=host.pods.${host}`)
    }
  })

  test('a request without a common name is 422', async () => {
    const got = await all.inject(node, '', { subject: 'O=acme' })
    expect(got.status).toBe(422)
    const message = 'CONJ00058E CSR must have a CN (common name) entry.'
    expect(JSON.parse(got.body)).toEqual({ error: { code: 'argument_error', message } })
    expect((await all.inject(node, '', { subject: 'CN=of-all+CN=of-pod' })).status).toBe(422)
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
    ['a user', 'person@pods', { prefix: 'user' }, "CONJ00048E 'acme:user:person@pods' is no host"],
    ['no kind of role', 'of-all', { prefix: 'pods' }, 'CONJ00007E'],
    ['a wrong origin', 'far', {}, 'CONJ00003E'],
    ['a service that is not there', 'of-all', { service: 'none' }, "CONJ00004E 'authn-k8s/none'"],
    ['a service that is off', 'of-namespace', { service: 'off' }, "CONJ00004E 'authn-k8s/off'"],
    ['a service without a key', 'of-namespace', { service: 'unset' }, 'CONJ00036E'],
  ])('no certificate for %s', async (_, host, asking, words) => {
    refused(await all.inject(node, host, asking), 401, words)
  })

  test('no certificate for whoever does not hold the key', async () => {
    const { csr } = await requestWithKey({ subject: 'CN=of-all', uris: [spiffe('web-1')] })
    const bytes = Buffer.from(csr.split('\n').slice(1, -2).join(''), 'base64')
    bytes[bytes.length - 1]! ^= 1
    const forged = `-----BEGIN CERTIFICATE REQUEST-----\n${bytes.toString('base64')}\n-----END CERTIFICATE REQUEST-----`
    refused(await all.inject(node, 'of-all', { csr: forged }), 401, 'CONJ00002E')
  })

  test('one without a service id authenticates as well', async () => {
    const nameless = await authority.issueClient('O=acme', [spiffe('web-1')])
    for (const [host, shown, status] of [
      ['of-namespace', await all.certified('pods/of-namespace'), 200],
      ['of-namespace', await all.certified('pods/of-pod'), 401],
      ['of-namespace', nameless, 422],
      ['stranger', await all.certified('pods/stranger'), 403],
    ] as const)
      expect((await all.authenticate(node, `pods/${host}`, shown, '')).status).toBe(status)
  })

  test('nothing for a host that may not', async () => {
    refused(await all.inject(node, 'stranger'), 403, 'CONJ00006E')
    refused(
      await all.authenticate(node, 'pods/stranger', await all.certified('pods/stranger')),
      403,
      'CONJ00006E',
    )
  })

  test('a certificate without a common name is 422', async () => {
    const shown = await authority.issueClient('O=acme', [spiffe('web-1')])
    const got = await all.authenticate(node, 'pods/of-all', shown)
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
    ['one of another host', 'pods/of-all', () => all.certified('pods/of-pod'), 'CONJ00031E'],
    ['one of a host whose id differs in a dot', 'pods/a.b', () => all.certified('pods/a/b'), 'CONJ00031E'],
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
    ['one of another pod', 'pods/of-pod', () => all.certified('pods/of-pod', 'alone'), 'CONJ00060E'],
    [
      'one of a pod elsewhere',
      'pods/of-namespace',
      () => authority.issueClient('CN=host.pods.of-namespace', [spiffe('web-1', 'other')]),
      'CONJ00023E',
    ],
    [
      'one of a pod that is not there',
      'pods/of-namespace',
      () => all.certified('pods/of-namespace', 'gone-1'),
      'CONJ00024E',
    ],
    ['one of a host elsewhere', 'pods/far', () => all.certified('pods/far'), 'CONJ00003E'],
  ])('no token for a certificate: %s', async (_, host, shown, words) => {
    refused(await all.authenticate(node, host, await shown()), 401, words)
  })

  test('a pod that is gone authenticates no more', async () => {
    cluster.pod('shop', 'short-lived')
    const got = await all.inject(node, 'of-namespace', { uris: [spiffe('short-lived')] })
    const shown = { cert: clientPem('authenticator', 'short-lived')!, key: got.key }
    expect((await all.authenticate(node, 'pods/of-namespace', shown)).status).toBe(200)
    cluster.removePod('shop', 'short-lived')
    refused(await all.authenticate(node, 'pods/of-namespace', shown), 401, 'CONJ00024E')
  })

  test('a header of somebody who is no proxy is not looked at', async () => {
    const { cert } = await all.certified('pods/of-namespace')
    const { hostname, port } = new URL(world.machine[node].url)
    const smuggle = async (localAddress: string, requestId: string): Promise<number> => {
      const request = overHttp({
        hostname,
        port,
        localAddress,
        path: pathOf('pods/of-namespace'),
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
    const requestId = all.newId()
    expect(await smuggle('127.0.0.2', requestId)).toBe(401)
    const [record] = await recordsOf(world, requestId)
    expect(record?.message).toContain(': CONJ00029E')
    // The same from this machine itself, which is believed.
    expect(await smuggle('127.0.0.1', all.newId())).toBe(200)
  })

  test('a header in other escapes is read, and one that is none is not', async () => {
    const { cert } = await all.certified('pods/of-namespace')
    const asForm = new URLSearchParams({ c: cert }).toString().slice(2)
    // Base64 with its signs as they are.
    const asUrl = encodeURIComponent(cert).replaceAll('%2B', '+').replaceAll('%2F', '/')
    for (const [header, status] of [
      [asForm, 200],
      [asUrl, 200],
      ['nothing', 401],
      ['%zz', 401],
    ] as const) {
      const response = await fetch(world.machine[node].url + pathOf('pods/of-namespace'), {
        method: 'POST',
        headers: { 'X-SSL-Client-Certificate': header },
      })
      expect([header, response.status]).toEqual([header, status])
    }
  })

  test('what goes wrong in the container is written there and recorded', async () => {
    cluster.pod('shop', 'locked')
    cluster.removeFolder('shop', 'locked', 'authenticator', 'etc')
    const got = await all.inject(node, 'of-namespace', { uris: [spiffe('locked')] })
    refused(got, 202, "CONJ00072E Exec command failed in container 'authenticator' of pod 'locked'")
    expect(clientPem('authenticator', 'locked')).toBeUndefined()
    const log = cluster.file('shop', 'locked', 'authenticator', 'tmp/conjur_copy_text_output.log')
    expect(log).toMatch(/client\.pem\.tmp/)
  })

  test('a command that does not end, and one of which nothing is known, have put nothing there', async () => {
    try {
      cluster.commands = 'hang'
      refused(await all.inject(node, 'of-namespace'), 401, 'CONJ00033E Exec command timed out')
      cluster.commands = 'cut'
      refused(await all.inject(node, 'of-namespace'), 401, 'CONJ00072E Exec command failed')
    } finally {
      cluster.commands = 'run'
    }
  })

  test('nothing is believed while the cluster does not answer, or not well', async () => {
    const shown = await all.certified('pods/of-namespace')
    const both = async (words: string): Promise<void> => {
      refused(await all.inject(node, 'of-namespace'), 401, words)
      refused(await all.authenticate(node, 'pods/of-namespace', shown), 401, words)
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
    expect((await all.authenticate(node, 'pods/of-namespace', shown)).status).toBe(200)
  })
})

test.runIf(atTheEdge)('a Worker asks no cluster: its platform takes no authority of ours', async () => {
  const words =
    'The Kubernetes API cannot be asked: a Worker checks certificates with the authorities of its platform'
  refused(await all.inject('follower', 'of-namespace'), 401, words)
  refused(
    await all.authenticate('follower', 'pods/of-namespace', await all.certified('pods/of-namespace')),
    401,
    words,
  )
})

describe('variables', () => {
  const shown = () => all.certified('pods/of-namespace')
  test.each([
    ['dev/kubernetes/api-url', 'http://127.0.0.1:1', 'CONJ00042E'],
    ['dev/kubernetes/api-url', 'nowhere', 'CONJ00042E'],
    ['dev/kubernetes/service-account-token', 'a b', 'CONJ00153E'],
    ['dev/kubernetes/api-url', 'https://10.96.0.1', 'The Kubernetes API cannot be asked'],
    ['dev/ca/cert', 'nothing', 'CONJ00155E'],
  ])('%s is %s', async (name, value, words) => {
    const before = await (await world.admin.getSecret(`conjur/authn-k8s/${name}`)).text()
    await all.configure({ [name]: value })
    try {
      refused(await all.authenticate('leader', 'pods/of-namespace', await shown()), 401, words)
    } finally {
      await all.configure({ [name]: before })
    }
  })

  test('a key that signs nothing', async () => {
    await all.configure({ 'dev/ca/key': 'nothing' })
    try {
      refused(await all.inject('leader', 'of-namespace'), 401, 'CONJ00156E')
    } finally {
      await all.configure({ 'dev/ca/key': authority.caKey })
    }
  })

  test('a service for which no cluster is named, on a node that runs in none', async () => {
    const got = await all.authenticate('leader', 'pods/of-namespace', await shown(), 'unset')
    refused(got, 401, 'CONJ00036E')
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
    ['kubernetes/ca-cert', 'AuthnK8s::InvalidApiCert: CONJ00154E'],
  ])('is not while %s is wrong', async (name, words) => {
    const before = await (await world.admin.getSecret(`conjur/authn-k8s/dev/${name}`)).text()
    await all.configure({ [`dev/${name}`]: 'nothing' })
    expect(await status()).toEqual(is(words))
    await all.configure({ [`dev/${name}`]: before })
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
  const answer = await (await all.proxyOf('follower')).ask(pathOf('pods/of-all'), { cert: clientPem()!, key })
  expect(answer.status).toBe(200)
})
