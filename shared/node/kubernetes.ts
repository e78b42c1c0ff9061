// The door to clusters of Kubernetes on Node. Questions go through the door to identity providers; a command in a container
// is a WebSocket of its own, by the subprotocol v4.channel.k8s.io: the first byte of each message names a channel.
import { readFile } from 'node:fs/promises'
import { isIP } from 'node:net'
import { join } from 'node:path'
import { Refused } from '../authn/contract.ts'
import type { Cluster, ClusterDoor, CommandEnd } from '../authn/k8s/cluster.ts'
import { OutgoingFailure } from '../authn/outgoing.ts'
import { bareHost, parseRanges, type Range } from '../authz/address.ts'
import { concat, fromUtf8, utf8 } from '../base/bytes.ts'
import { isObject, parseJson } from '../base/json.ts'
import { limits } from '../base/limits.ts'
import { failureOf, lookupFor, outgoingThrough } from './outgoing.ts'

/** Where a pod finds its service account. */
const ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount'

/** `allowed`: networks that are not public and may be asked; `env`, `account`: of the pod that this program is in, if it is. */
export function clusterThrough(
  allowed: readonly Range[],
  env: Readonly<Record<string, string | undefined>>,
  account = ACCOUNT,
): ClusterDoor {
  const everywhere = parseRanges(['0.0.0.0/0', '::/0'], 'KUBERNETES_SERVICE_HOST')
  const doors = { own: outgoingThrough(everywhere), other: outgoingThrough(allowed) }
  let underWay = 0

  async function bounded<T>(ask: () => Promise<T>): Promise<T> {
    if (underWay >= limits.clusterRequests)
      throw new Refused('Too many questions to clusters are under way', 'unavailable')
    underWay += 1
    try {
      return await ask()
    } finally {
      underWay -= 1
    }
  }

  return {
    own: () => ownCluster(env, account),
    ask: ({ url, ca, token, own }, path) => {
      const headers = { Authorization: `Bearer ${token}`, Accept: 'application/json' }
      const request = { method: 'GET', url: url + path, headers, ca } as const
      return bounded(() => doors[own ? 'own' : 'other'](request))
    },
    run: (cluster, path, input) =>
      bounded(() => run(cluster, path, input, cluster.own ? everywhere : allowed)),
  }
}

/** Read each time: the token is replaced while the pod runs. */
async function ownCluster(
  {
    KUBERNETES_SERVICE_HOST: host = '',
    KUBERNETES_SERVICE_PORT: port = '',
  }: Readonly<Record<string, string | undefined>>,
  account: string,
): Promise<Cluster | undefined> {
  if (host === '' || port === '') return undefined
  try {
    const [ca, token] = await Promise.all(
      ['ca.crt', 'token'].map((name) => readFile(join(account, name), 'utf8')),
    )
    const url = `https://${isIP(host) === 6 ? `[${host}]` : host}:${port}`
    return { url, ca: ca!, token: token!.trim(), own: true }
  } catch {
    // A pod without a service account.
    return undefined
  }
}

const PROTOCOL = 'v4.channel.k8s.io'
const STDIN = 0
/** How the command ended, as a `Status` of meta/v1. */
const STATUS = 3

const bounds = {
  perMessageDeflate: false,
  maxPayload: limits.clusterCommandBytes,
  closeTimeout: limits.webSocketCloseMs,
} as const

async function run(
  { url, ca, token }: Cluster,
  path: string,
  input: string,
  allowed: readonly Range[],
): Promise<CommandEnd> {
  const target = new URL(url + path)
  const lookup = lookupFor(bareHost(target), allowed)
  target.protocol = 'wss:'
  // Loaded when the first pod asks: most nodes never do.
  const { WebSocket } = await import('ws')
  return new Promise((resolve, reject) => {
    const webSocket = new WebSocket(target, PROTOCOL, {
      headers: { Authorization: `Bearer ${token}` },
      ca,
      lookup,
      ...bounds,
    })
    const said: Uint8Array[] = []
    let length = 0
    const fail = (failure: OutgoingFailure): void => {
      clearTimeout(timer)
      reject(failure)
      webSocket.terminate()
    }
    const timer = setTimeout(
      () => fail(new OutgoingFailure('timeout', `no end within ${limits.clusterCommandMs} ms`)),
      limits.clusterCommandMs,
    )
    webSocket.on('open', () => webSocket.send(concat(Uint8Array.of(STDIN), utf8(input))))
    webSocket.on('message', (data: Buffer, isBinary) => {
      length += data.length
      if (!isBinary) fail(new OutgoingFailure('failed', 'it sent a message that is not binary'))
      else if (length > limits.clusterCommandBytes)
        fail(new OutgoingFailure('failed', 'what the command says is too large'))
      else if (data[0] === STATUS) said.push(data.subarray(1))
      // Nothing comes after it.
      if (endIn(concat(...said)) !== undefined) webSocket.close()
    })
    webSocket.on('unexpected-response', (_request, { statusCode }) =>
      fail(new OutgoingFailure('failed', `it was answered ${statusCode}`)),
    )
    webSocket.on('error', (error) => fail(failureOf(error)))
    webSocket.on('close', () => {
      clearTimeout(timer)
      const end = endIn(concat(...said))
      if (end !== undefined) resolve(end)
      else reject(new OutgoingFailure('failed', 'it did not say how the command ended'))
    })
  })
}

const WORDS = 300

/** Undefined when it is no status. */
function endIn(bytes: Uint8Array): CommandEnd | undefined {
  const status = parseJson(fromUtf8(bytes) ?? '')
  if (!isObject(status)) return undefined
  if (status.status === 'Success') return { ok: true }
  if (status.status !== 'Failure') return undefined
  const { message } = status
  return { ok: false, why: typeof message === 'string' ? message.slice(0, WORDS) : 'it gives no reason' }
}
