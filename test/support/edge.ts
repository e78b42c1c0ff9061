// The Follower at the edge as a process: workerd, the runtime that Cloudflare runs, with the bundle of a deploy, storage in a
// folder, and variables and secrets as they would be set.
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { type Env, NodeProcess } from './nodes.ts'

export type EdgeOptions = {
  readonly directory: string
  readonly port: number
  /** Variables; those of `secrets` come from the environment of the process, as secrets. */
  readonly vars: Env
  readonly secrets: Env
  readonly wrap?: readonly string[]
  /** Another Worker than the one that is shipped: its modules. */
  readonly bundle?: string
}

/** Becomes `request.cf`: JSON. */
export const CF_HEADER = 'Test-Cf'

/** The runtime's own file. */
const workerd: string = createRequire(import.meta.url)('workerd').default
const toml = readFileSync(new URL('../../wrangler.toml', import.meta.url), 'utf8')
const compatibilityDate = /^compatibility_date = "(.*)"$/m.exec(toml)![1]!

/** Not started yet. */
export function edgeNode(options: EdgeOptions): NodeProcess {
  const { directory, port, secrets, wrap = [] } = options
  const storage = join(directory, 'storage')
  mkdirSync(storage, { recursive: true, mode: 0o700 })
  deployEdge(options)
  const line = [workerd, 'serve', join(directory, 'workerd.capnp')]
  return new NodeProcess(line, secrets, port, wrap, 'http', [])
}

/** For the environment that a Follower on Node would have: files are read, and become secrets. */
export const edgeOptions = (env: Env, port: number, wrap: readonly string[] = []): EdgeOptions => {
  const secret = (name: string): string => readFileSync(env[`${name}_FILE`]!, 'utf8').trim()
  return {
    directory: env.HOLDFAST_DATA_DIR!,
    port,
    vars: env,
    secrets: { HOLDFAST_DATA_KEY: secret('HOLDFAST_DATA_KEY'), HOLDFAST_BEARER: secret('HOLDFAST_BEARER') },
    wrap,
  }
}

export const edgeFollower = (env: Env, port: number, wrap?: readonly string[]): NodeProcess =>
  edgeNode(edgeOptions(env, port, wrap))

/** Puts the code where the next start finds it. */
export function deployEdge({ directory, port, vars, secrets, bundle }: EdgeOptions): void {
  cpSync(bundle ?? process.env.HOLDFAST_EDGE_BUNDLE!, join(directory, 'index.js'))
  const bindings = [
    '(name = "FOLLOWER", durableObjectNamespace = "FollowerObject")',
    ...Object.entries(vars).map(([name, value]) => `(name = "${name}", text = ${JSON.stringify(value)})`),
    ...Object.keys(secrets).map((name) => `(name = "${name}", fromEnvironment = "${name}")`),
  ]
  const config = `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "edge", worker = .edge),
    (name = "storage", disk = (path = "${join(directory, 'storage')}", writable = true)),
    (name = "internet", network = (allow = ["public", "private"], tlsOptions = (trustBrowserCas = true))),
  ],
  # The platform says from where a request comes: a test says the place in a header.
  sockets = [(name = "http", address = "127.0.0.1:${port}", service = "edge", http = (cfBlobHeader = "${CF_HEADER}",
    injectRequestHeaders = [(name = "CF-Connecting-IP", value = "127.0.0.1")]))],
);
const edge :Workerd.Worker = (
  modules = [(name = "index.js", esModule = embed "index.js")],
  compatibilityDate = "${compatibilityDate}",
  bindings = [${bindings.join(', ')}],
  durableObjectNamespaces = [(className = "FollowerObject", uniqueKey = "holdfast", enableSql = true)],
  durableObjectStorage = (localDisk = "storage"),
);
`
  writeFileSync(join(directory, 'workerd.capnp'), config)
}
