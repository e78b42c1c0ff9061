// The API of a Kubernetes cluster as a client meets it: objects as JSON over HTTPS for who shows the bearer of a service
// account, and commands in containers over WebSockets by v4.channel.k8s.io. A container is a folder, and a command that is run
// in it really runs: a path that begins with /etc or /tmp is one in that folder.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer, type Server } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Duplex } from 'node:stream'
import { type WebSocket, WebSocketServer } from 'ws'
import { type Certificates, certificatesFor } from './certificates.ts'
import { freePorts } from './nodes.ts'

type KubernetesObject = Readonly<Record<string, unknown>>

type Owner = {
  readonly apiVersion: string
  readonly kind: string
  readonly name: string
  readonly uid: string
}

export type Pod = {
  readonly serviceAccount?: string
  readonly owner?: Owner
  readonly containers?: readonly string[]
  readonly initContainers?: readonly string[]
}

const PROTOCOL = 'v4.channel.k8s.io'

export class KubernetesApi {
  readonly url: string
  /** PEM. */
  readonly ca: string
  token = 'service-account-token'
  /** What is answered to everything instead: 403 of a role that may not, 500 of a cluster that is not well. */
  answersAll: number | undefined
  /** What its commands do: run, hang, or end the connection without a word of how they ended. */
  commands: 'run' | 'hang' | 'cut' = 'run'
  /** Paths, as they were asked for. */
  readonly asked: string[] = []
  readonly #folder = mkdtempSync(join(tmpdir(), 'holdfast-cluster-'))
  readonly #objects = new Map<string, KubernetesObject>()
  readonly #port: number
  readonly #tls: Certificates
  readonly #sockets = new WebSocketServer({
    noServer: true,
    handleProtocols: (offered) => (offered.has(PROTOCOL) ? PROTOCOL : false),
  })
  #server: Server | undefined
  #made = 0

  private constructor(port: number, tls: Certificates) {
    this.#port = port
    this.#tls = tls
    this.ca = tls.ca
    this.url = `https://127.0.0.1:${port}`
  }

  static async start(): Promise<KubernetesApi> {
    const [port] = await freePorts(1)
    const api = new KubernetesApi(port!, await certificatesFor('127.0.0.1'))
    api.#objects.set('/api', { kind: 'APIVersions', versions: ['v1'] })
    await api.comeBack()
    return api
  }

  async comeBack(): Promise<void> {
    const { cert, key } = this.#tls
    const server = createServer({ cert, key }, (request, response) => this.#answer(request, response))
    server.on('upgrade', (request, socket, head) => this.#upgrade(request, socket, head))
    this.#server = server.listen(this.#port, '127.0.0.1')
    await once(server, 'listening')
  }

  async goAway(): Promise<void> {
    const server = this.#server!
    for (const client of this.#sockets.clients) client.terminate()
    server.closeAllConnections()
    await once(server.close(), 'close')
  }

  async close(): Promise<void> {
    await this.goAway()
    rmSync(this.#folder, { recursive: true, force: true })
  }

  namespace(name: string, labels: Readonly<Record<string, string>> = {}): void {
    this.#put('v1', 'Namespace', `/api/v1/namespaces/${name}`, { name, labels })
  }

  /** Anything that may own: the result is how what it owns refers to it. */
  object(
    [apiVersion, kind, plural]: readonly [string, string, string],
    namespace: string,
    name: string,
    owner?: Owner,
  ): Owner {
    const group = apiVersion === 'v1' ? '/api/v1' : `/apis/${apiVersion}`
    return this.#put(apiVersion, kind, `${group}/namespaces/${namespace}/${plural}/${name}`, {
      name,
      namespace,
      ...ownedBy(owner),
    })
  }

  pod(namespace: string, name: string, pod: Pod = {}): void {
    const { serviceAccount = 'default', owner, containers = ['app', 'authenticator'], initContainers } = pod
    const called = (names: readonly string[]) => names.map((one) => ({ name: one, image: 'app:1' }))
    const path = podPath(namespace, name)
    const more = {
      spec: {
        serviceAccountName: serviceAccount,
        containers: called(containers),
        ...(initContainers === undefined ? {} : { initContainers: called(initContainers) }),
      },
      status: { phase: 'Running' },
    }
    this.#put('v1', 'Pod', path, { name, namespace, ...ownedBy(owner) }, more)
    for (const container of [...containers, ...(initContainers ?? [])]) {
      const root = this.#root(path, container)
      for (const folder of ['etc/conjur/ssl', 'tmp']) mkdirSync(join(root, folder), { recursive: true })
    }
  }

  removePod(namespace: string, name: string): void {
    this.#objects.delete(podPath(namespace, name))
  }

  /** Of a container; undefined while there is no such file. */
  file(namespace: string, pod: string, container: string, path: string): string | undefined {
    try {
      return readFileSync(join(this.#root(podPath(namespace, pod), container), path), 'utf8')
    } catch {
      return undefined
    }
  }

  /** Takes a folder of a container away, with all that is in it. */
  removeFolder(namespace: string, pod: string, container: string, path: string): void {
    rmSync(join(this.#root(podPath(namespace, pod), container), path), { recursive: true, force: true })
  }

  #root(path: string, container: string): string {
    return join(this.#folder, path.replaceAll('/', '_'), container)
  }

  #put(
    apiVersion: string,
    kind: string,
    path: string,
    metadata: KubernetesObject & { readonly name: string },
    more: KubernetesObject = {},
  ): Owner {
    const uid = `00000000-0000-4000-8000-${String(++this.#made).padStart(12, '0')}`
    this.#objects.set(path, { apiVersion, kind, metadata: { ...metadata, uid }, ...more })
    return { apiVersion, kind, name: metadata.name, uid }
  }

  #refusal(request: IncomingMessage): KubernetesObject | undefined {
    if (request.headers.authorization !== `Bearer ${this.token}`) return failure(401, 'Unauthorized')
    if (this.answersAll !== undefined) return failure(this.answersAll, 'it is as the case wants it')
    return undefined
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const { pathname } = new URL(request.url!, this.url)
    this.asked.push(pathname)
    const refused = this.#refusal(request)
    const found = refused ?? this.#objects.get(pathname) ?? failure(404, `${pathname} not found`)
    const status = found.kind === 'Status' ? (found.code as number) : 200
    response.writeHead(status, { 'Content-Type': 'application/json' }).end(JSON.stringify(found))
  }

  #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const { pathname, searchParams } = new URL(request.url!, this.url)
    this.asked.push(pathname)
    const pod = this.#objects.get(pathname.replace(/\/exec$/, ''))
    const container = searchParams.get('container') ?? ''
    const refused =
      this.#refusal(request) ??
      (pod?.kind === 'Pod' && pathname.endsWith('/exec') ? undefined : failure(404, 'no such pod')) ??
      (containersOf(pod).includes(container) ? undefined : failure(400, 'container is not valid for pod'))
    if (refused !== undefined) {
      const body = JSON.stringify(refused)
      const length = `Content-Type: application/json\r\nContent-Length: ${body.length}`
      socket.end(`HTTP/1.1 ${refused.code} Refused\r\nConnection: close\r\n${length}\r\n\r\n${body}`)
      return
    }
    this.#sockets.handleUpgrade(request, socket, head, (webSocket) => {
      // As the real one: each channel begins with an empty message.
      for (const channel of [STDOUT, STDERR, STATUS]) webSocket.send(Uint8Array.of(channel))
      if (this.commands === 'hang') return
      if (this.commands === 'cut') webSocket.close(1000)
      else runIn(this.#root(pathname.replace(/\/exec$/, ''), container), searchParams, webSocket)
    })
  }
}

const podPath = (namespace: string, name: string): string => `/api/v1/namespaces/${namespace}/pods/${name}`

const ownedBy = (owner: Owner | undefined) =>
  owner === undefined ? {} : { ownerReferences: [{ ...owner, controller: true, blockOwnerDeletion: true }] }

const failure = (code: number, message: string): KubernetesObject => ({
  kind: 'Status',
  apiVersion: 'v1',
  metadata: {},
  status: 'Failure',
  message,
  code,
})

function containersOf(pod: KubernetesObject | undefined): string[] {
  const { containers = [], initContainers = [] } = (pod?.spec ?? {}) as Record<string, { name: string }[]>
  return [...containers, ...initContainers].map(({ name }) => name)
}

const STDIN = 0
const STDOUT = 1
const STDERR = 2
const STATUS = 3

function runIn(root: string, asked: URLSearchParams, webSocket: WebSocket): void {
  const [command, ...args] = asked.getAll('command')
  const child = spawn(command!, args, {
    cwd: root,
    env: { PATH: process.env.PATH ?? '', TMPDIR: join(root, 'tmp') },
  })
  const say = (channel: number, text: string | Buffer): void =>
    webSocket.send(Buffer.concat([Uint8Array.of(channel), Buffer.from(text)]))
  child.stdout.on('data', (text: Buffer) => say(STDOUT, text))
  child.stderr.on('data', (text: Buffer) => say(STDERR, text))
  webSocket.on('message', (data: Buffer) => {
    if (data[0] === STDIN) child.stdin.write(data.subarray(1).toString().replaceAll('/etc/', `${root}/etc/`))
  })
  child.stdin.on('error', () => undefined)
  // This version has no word for the end of an input: only the end of the connection ends it.
  webSocket.on('close', () => child.stdin.end())
  child.on('close', (code) => {
    const end = code === 0 ? { metadata: {}, status: 'Success' } : endedWith(code ?? -1)
    say(STATUS, JSON.stringify(end))
    webSocket.close(1000)
  })
}

const endedWith = (code: number): KubernetesObject => ({
  metadata: {},
  status: 'Failure',
  message: `command terminated with non-zero exit code: error executing command [sh], exit code ${code}`,
  reason: 'NonZeroExitCode',
  details: { causes: [{ reason: 'ExitCode', message: String(code) }] },
})
