// The coordination store on etcd, by its bare requests: ranges, transactions, leases, watches. What the client adds to
// them would be wrong here: its lease says `lost` after twice its life, its retries send a transaction twice and multiply
// deadlines, its breaker goes on refusing when etcd is back.
import { isIP } from 'node:net'
import { Etcd3, EtcdLeaseInvalidError, type ILeaseKeepAliveResponse } from 'etcd3'
import type { Clock } from '#shared/base/time.ts'
import { type Condition, type LeaseName, type Transaction, type View, viewOf, type Write } from './keys.ts'
import type { CoordinationStore, Granted, Kept, Transacted, Watch, WithMembers } from './store.ts'
import { createWatch, type Heard, type Held, type Stream } from './watch.ts'

export type EtcdOptions = {
  /** `https://name:port` of every member. Names, because its certificate is checked against one. */
  readonly endpoints: readonly string[]
  /** PEM: who may be an etcd member, and who we are. */
  readonly tls: { readonly ca: string; readonly cert: string; readonly key: string }
  readonly clusterId: string
  /** Life of both leases. etcd counts whole seconds, so it is rounded up. */
  readonly ttlMs: number
  /** No answer is waited for any longer. */
  readonly requestTimeoutMs: number
  readonly clock: Clock
  /** Why something is unknown, for the log. */
  readonly report: (message: string) => void
}

type ClientOptions = NonNullable<ConstructorParameters<typeof Etcd3>[0]>
type Policy = NonNullable<NonNullable<ClientOptions['faultHandling']>['global']>
type CallOptions = NonNullable<Parameters<Etcd3['kv']['range']>[1]>
type Interceptor = NonNullable<CallOptions['interceptors']>[number]

export type EtcdStore = CoordinationStore & {
  /** With another certificate from now on. Leases stay; what is being asked ends as if the connection had broken. */
  renew(tls: EtcdOptions['tls']): void
}

/** Errors: options that can never work. */
export function createEtcdStore(options: EtcdOptions): EtcdStore & WithMembers {
  const { clock, requestTimeoutMs, report } = options
  const prefix = prefixOf(options.clusterId)
  let clients = options.endpoints.map((endpoint) => clientOf(endpoint, options.tls))
  if (clients.length === 0) throw new Error('etcd needs at least one endpoint')
  const leases = new Map<LeaseName, string>()
  const watches = new Set<Watch>()
  const closing = new AbortController()
  let current = 0

  /** To the next member. Who hears of a failure later than others moves nobody. */
  const turnFrom = (client: Etcd3): void => {
    if (clients[current] === client) current = (current + 1) % clients.length
  }

  const note = (what: string, error: unknown): undefined => {
    if (!closing.signal.aborted)
      report(`etcd, ${what}: ${error instanceof Error ? error.message : String(error)}`)
  }

  /** Of one member, once. Undefined: unknown. Errors: EtcdLeaseInvalidError. */
  async function ask<T>(
    what: string,
    call: (client: Etcd3, options: CallOptions) => Promise<T>,
  ): Promise<T | undefined> {
    const client = clients[current]!
    const answered = new AbortController()
    // Our own clock decides; the client's deadline only frees what it holds.
    const late = clock
      .sleep(requestTimeoutMs, AbortSignal.any([answered.signal, closing.signal]))
      .then(() => new Error(closing.signal.aborted ? 'closed' : `no answer within ${requestTimeoutMs} ms`))
    try {
      const answer = await Promise.race([call(client, { deadline: Date.now() + requestTimeoutMs }), late])
      if (answer instanceof Error) throw answer
      return answer
    } catch (error) {
      if (error instanceof EtcdLeaseInvalidError) throw error
      note(what, error)
      turnFrom(client)
      return undefined
    } finally {
      answered.abort()
    }
  }

  async function grant(lease: LeaseName): Promise<Granted> {
    const sentAt = clock.monotonic()
    const granted = await ask(`grant of the ${lease} lease`, (client, call) =>
      client.leaseClient.leaseGrant({ TTL: Math.ceil(options.ttlMs / 1000) }, call),
    )
    if (granted === undefined) return { outcome: 'unknown', sentAt }
    leases.set(lease, granted.ID)
    return { outcome: 'granted', sentAt }
  }

  async function keep(lease: LeaseName): Promise<Kept> {
    const sentAt = clock.monotonic()
    const id = leases.get(lease)
    if (id === undefined) return { outcome: 'lost', sentAt }
    const kept = await ask(`renewal of the ${lease} lease`, (client, call) => keepOnce(client, id, call))
    if (kept === undefined) return { outcome: 'unknown', sentAt }
    if (Number(kept.TTL) > 0) return { outcome: 'kept', sentAt }
    if (leases.get(lease) === id) leases.delete(lease)
    return { outcome: 'lost', sentAt }
  }

  async function transact({ name, when, done, writes }: Transaction): Promise<Transacted> {
    const success = writes.map((write) => operation(prefix, write, leases))
    if (!success.every((each) => each !== undefined)) return 'refused'
    const compare = when.map((condition) => comparison(prefix, condition))
    // Refused, it tells what would show that it was done before.
    const failure = done === undefined ? [] : [{ request_range: { key: Buffer.from(prefix + done.key) } }]
    try {
      const answer = await ask(name, (client, call) => client.kv.txn({ compare, success, failure }, call))
      if (answer === undefined) return 'unknown'
      if (answer.succeeded) return 'done'
      const held = answer.responses[0]?.response_range?.kvs[0]?.value.toString()
      return done !== undefined && held === done.equals ? 'done' : 'refused'
    } catch {
      // A lease is gone. etcd looks at that before it writes anything.
      return 'refused'
    }
  }

  async function readHeld(): Promise<Held | undefined> {
    const found = await ask('read', (client, call) => client.kv.range(below(prefix), call))
    return (
      found && {
        revision: Number(found.header.revision),
        entries: found.kvs.map(({ key, value }) => ({ key: without(prefix, key), value: value.toString() })),
      }
    )
  }

  async function read(): Promise<View | undefined> {
    const held = await readHeld()
    return held && viewOf(held.entries, held.revision)
  }

  async function open(from: number, heard: Heard): Promise<Stream | undefined> {
    const client = clients[current]!
    const opened = client.watchClient.watch({ interceptors: [requireLeader] })
    const stream = await opened.catch((error: unknown) => note('watch', error))
    if (stream === undefined) return undefined
    stream.on('error', (error) => {
      note('watch', error)
      heard.ended('broken')
    })
    stream.on('end', () => heard.ended('broken'))
    stream.on('data', ({ canceled, compact_revision, events }) => {
      if (canceled) return heard.ended(Number(compact_revision) > 0 ? 'compacted' : 'broken')
      heard.changes(
        events.map(({ type, kv }) => ({
          revision: Number(kv.mod_revision),
          key: without(prefix, kv.key),
          value: type === 'Delete' ? undefined : kv.value.toString(),
        })),
      )
    })
    stream.write({ create_request: { ...below(prefix), start_revision: from } })
    return {
      ping: () => stream.write({ progress_request: {} }),
      cancel() {
        turnFrom(client)
        hangUp(stream)
      },
    }
  }

  return {
    grant,
    keep,
    transact,
    read,
    watch(seen) {
      const watch = createWatch({
        source: { read: readHeld, open },
        seen,
        clock,
        silenceMs: requestTimeoutMs,
      })
      watches.add(watch)
      return {
        close() {
          watches.delete(watch)
          return watch.close()
        },
      }
    },
    renew(tls) {
      const old = clients
      clients = options.endpoints.map((endpoint) => clientOf(endpoint, tls))
      for (const client of old) client.close()
    },
    async members() {
      const found = await ask('members', (client, call) =>
        client.cluster.memberList({ linearizable: true }, call),
      )
      return found?.members.map(({ ID, name, peerURLs, clientURLs }) => {
        return { id: BigInt(ID).toString(16), name, peerURLs, clientURLs }
      })
    },
    async close() {
      closing.abort()
      await Promise.all([...watches].map((watch) => watch.close()))
      for (const client of clients) client.close()
    },
  }
}

/** Errors: an id that would reach into another cluster's keys. */
function prefixOf(clusterId: string): string {
  if (!/^[\w.-]+$/.test(clusterId)) throw new Error(`"${clusterId}" is no name of a cluster`)
  return `/${clusterId}/`
}

function clientOf(endpoint: string, tls: EtcdOptions['tls']): Etcd3 {
  const { protocol, hostname } = new URL(endpoint)
  if (protocol !== 'https:') throw new Error(`${endpoint}: etcd is asked over https only`)
  if (isIP(hostname.replace(/^\[|\]$/g, '')) !== 0)
    throw new Error(`${endpoint}: give a name that stands in the certificate, not an address`)
  return new Etcd3({
    hosts: endpoint,
    credentials: {
      rootCertificate: Buffer.from(tls.ca),
      certChain: Buffer.from(tls.cert),
      privateKey: Buffer.from(tls.key),
    },
    faultHandling: { global: once, host: () => once },
    grpcOptions: {
      // A store that is back is found at once.
      'grpc.initial_reconnect_backoff_ms': 100,
      'grpc.max_reconnect_backoff_ms': 1_000,
      'grpc.enable_http_proxy': 0,
    },
  })
}

/** No retry, no breaker. */
const once = {
  execute: <T>(run: (context: object) => T | PromiseLike<T>) => Promise.try(run, {}),
} as unknown as Policy

/** Ends the watch of a member that is cut off from the others: it would be silent and look well. */
const requireLeader: Interceptor = (options, nextCall) => {
  const call = nextCall(options)
  const start = call.start.bind(call)
  call.start = (metadata, listener) => {
    metadata.set('hasleader', 'true')
    start(metadata, listener)
  }
  return call as ReturnType<Interceptor>
}

/** One renewal and its answer. A stream of its own, so that no answer is taken for that to another renewal. */
async function keepOnce(client: Etcd3, id: string, call: CallOptions): Promise<ILeaseKeepAliveResponse> {
  const stream = await client.leaseClient.leaseKeepAlive(call)
  try {
    return await new Promise((resolve, reject) => {
      stream.on('data', resolve)
      stream.on('error', reject)
      stream.on('end', () => reject(new Error('the stream has ended')))
      stream.write({ ID: id })
    })
  } finally {
    hangUp(stream)
  }
}

/** Ended first: the client takes the end of a stream that is still written to for a failure of the member. */
function hangUp(stream: { end(): void; cancel(): void }): void {
  stream.end()
  stream.cancel()
}

function comparison(prefix: string, { key, equals }: Condition) {
  const at = { key: Buffer.from(prefix + key), result: 'Equal' } as const
  // Version 0: there is no such key.
  return equals === undefined
    ? ({ ...at, target: 'Version', version: 0 } as const)
    : ({ ...at, target: 'Value', value: Buffer.from(equals) } as const)
}

/** Undefined: it would need a lease that there is not. */
function operation(prefix: string, write: Write, leases: ReadonlyMap<LeaseName, string>) {
  const key = Buffer.from(prefix + write.key)
  if (write.op === 'delete') return { request_delete_range: { key } }
  const lease = write.lease === undefined ? '0' : leases.get(write.lease)
  return lease === undefined ? undefined : { request_put: { key, value: Buffer.from(write.value), lease } }
}

/** All keys that begin with it: it ends in `/`, after which `0` comes. */
const below = (prefix: string) => ({
  key: Buffer.from(prefix),
  range_end: Buffer.from(`${prefix.slice(0, -1)}0`),
})

const without = (prefix: string, key: Buffer): string => key.toString().slice(prefix.length)
