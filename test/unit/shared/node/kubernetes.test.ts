// The door to clusters: the one that this node runs in is found by its environment, and others by the rules for addresses.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { Refused } from '#shared/authn/contract.ts'
import type { Cluster } from '#shared/authn/k8s/cluster.ts'
import { OutgoingFailure } from '#shared/authn/outgoing.ts'
import { parseRanges } from '#shared/authz/address.ts'
import { limits } from '#shared/base/limits.ts'
import { clusterThrough } from '#shared/node/kubernetes.ts'
import { certificatesFor } from '../../../support/certificates.ts'
import { KubernetesApi } from '../../../support/kubernetes-api.ts'

const POD = '/api/v1/namespaces/shop/pods/web-1'
const exec = (container: string) => `${POD}/exec?command=sh&container=${container}&stdin=true&stdout=true`
const here = parseRanges(['127.0.0.1/32'], 'authn_private_networks')

let api: KubernetesApi
let folder: string
let account: string
let cluster: Cluster
beforeAll(async () => {
  api = await KubernetesApi.start()
  api.pod('shop', 'web-1')
  folder = mkdtempSync(join(tmpdir(), 'holdfast-account-'))
  account = join(folder, 'account')
})
afterAll(async () => {
  await api.close()
  rmSync(folder, { recursive: true })
})
beforeEach(() => {
  mkdirSync(account, { recursive: true })
  writeFileSync(join(account, 'ca.crt'), api.ca)
  writeFileSync(join(account, 'token'), `${api.token}\n`)
  cluster = { url: api.url, ca: api.ca, token: api.token, own: false }
})

const env = () => ({ KUBERNETES_SERVICE_HOST: '127.0.0.1', KUBERNETES_SERVICE_PORT: new URL(api.url).port })
const failure = (kind: OutgoingFailure['kind'], words: string) =>
  expect.objectContaining({ kind, message: expect.stringContaining(words) })

describe('the cluster that a node runs in', () => {
  test('is asked at the address of the environment, private as it is', async () => {
    const door = clusterThrough([], env(), account)
    const own = (await door.own())!
    expect(own).toEqual({ url: api.url, ca: api.ca, token: api.token, own: true })
    expect((await door.ask(own, POD)).status).toBe(200)
    expect(await door.run(own, exec('app'), 'echo well > /etc/conjur/ssl/it\nexit 0\n')).toEqual({ ok: true })
    expect(api.file('shop', 'web-1', 'app', 'etc/conjur/ssl/it')).toBe('well\n')
  })

  test('gets the token that is there now', async () => {
    const door = clusterThrough([], env(), account)
    writeFileSync(join(account, 'token'), 'renewed')
    expect((await door.own())?.token).toBe('renewed')
  })

  test('is none without an environment, or without an account', async () => {
    const { KUBERNETES_SERVICE_HOST } = env()
    expect(await clusterThrough([], {}, account).own()).toBeUndefined()
    expect(await clusterThrough([], { KUBERNETES_SERVICE_HOST }, account).own()).toBeUndefined()
    rmSync(join(account, 'token'))
    expect(await clusterThrough([], env(), account).own()).toBeUndefined()
  })

  test('may have an address of six', async () => {
    const door = clusterThrough(
      [],
      { KUBERNETES_SERVICE_HOST: 'fd00::1', KUBERNETES_SERVICE_PORT: '443' },
      account,
    )
    expect((await door.own())?.url).toBe('https://[fd00::1]:443')
  })
})

describe('a cluster that variables name', () => {
  test('is asked nothing at a private address that is not allowed', async () => {
    const door = clusterThrough([], {}, account)
    for (const url of [api.url, api.url.replace('127.0.0.1', 'localhost')]) {
      const at = { ...cluster, url }
      await expect(door.ask(at, POD)).rejects.toEqual(failure('not_allowed', 'authn_private_networks'))
      await expect(door.run(at, exec('app'), 'exit\n')).rejects.toEqual(
        failure('not_allowed', 'authn_private_networks'),
      )
    }
  })

  test('must have a certificate of its authority', async () => {
    const door = clusterThrough(here, {}, account)
    const at = { ...cluster, ca: (await certificatesFor('127.0.0.1')).ca }
    await expect(door.ask(at, POD)).rejects.toBeInstanceOf(OutgoingFailure)
    await expect(door.run(at, exec('app'), 'exit\n')).rejects.toBeInstanceOf(OutgoingFailure)
  })

  test('that is away is a failure without its address', async () => {
    const door = clusterThrough(here, {}, account)
    const at = { ...cluster, url: 'https://127.0.0.1:1' }
    const away = { kind: 'failed', message: 'it cannot be asked (ECONNREFUSED)' }
    await expect(door.ask(at, POD)).rejects.toMatchObject(away)
    await expect(door.run(at, exec('app'), 'exit\n')).rejects.toMatchObject(away)
  })

  test('says no to a command, or how it ended', async () => {
    const door = clusterThrough(here, {}, account)
    await expect(door.run(cluster, exec('none'), 'exit\n')).rejects.toEqual(failure('failed', 'answered 400'))
    await expect(door.run({ ...cluster, token: 'x' }, exec('app'), 'exit\n')).rejects.toEqual(
      failure('failed', 'answered 401'),
    )
    expect(await door.run(cluster, exec('app'), 'exit 7\n')).toEqual({
      ok: false,
      why: expect.stringContaining('exit code 7'),
    })
  })

  test('has said how it ended, or it is not known', async () => {
    const door = clusterThrough(here, {}, account)
    const endless = 'while echo words; do :; done\n'
    await expect(door.run(cluster, exec('app'), endless)).rejects.toEqual(failure('failed', 'too large'))
    try {
      api.commands = 'cut'
      await expect(door.run(cluster, exec('app'), 'exit\n')).rejects.toEqual(
        failure('failed', 'how the command'),
      )
    } finally {
      api.commands = 'run'
    }
  })

  test('is asked so much at once, and no more', async () => {
    const door = clusterThrough(here, {}, account)
    const all = Array.from({ length: limits.clusterRequests }, () => door.ask(cluster, POD))
    const oneMore = door.ask(cluster, POD)
    await expect(oneMore).rejects.toBeInstanceOf(Refused)
    await expect(oneMore).rejects.toMatchObject({ kind: 'unavailable' })
    for (const { status } of await Promise.all(all)) expect(status).toBe(200)
    expect((await door.ask(cluster, POD)).status).toBe(200)
  })
})
