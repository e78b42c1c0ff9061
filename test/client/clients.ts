// The clients: how each is fetched, and what it is asked to do.
import { spawn } from 'node:child_process'
import { cpSync } from 'node:fs'
import { join } from 'node:path'
import { Client as Api } from '../support/nodes.ts'

export type Run = {
  /** Its own, empty, removed afterwards. */
  readonly directory: string
  readonly env: NodeJS.ProcessEnv
  /** Of every call: `ok NAME`, or `fail NAME: why`. */
  readonly note: (line: string) => void
}

export type Client = {
  readonly name: string
  /** Commands that must succeed for the client to be runnable. */
  readonly needs: readonly (readonly string[])[]
  /** Resolves with the client's version. */
  readonly run: (run: Run) => Promise<string>
}

export type Output = { readonly code: number; readonly out: string; readonly err: string }

export function execute(
  command: readonly string[],
  options: {
    readonly cwd: string
    readonly env: NodeJS.ProcessEnv
    readonly input?: string
    readonly onLine?: (line: string) => void
  },
): Promise<Output> {
  const { cwd, env, input, onLine } = options
  return new Promise((resolve, reject) => {
    const child = spawn(command[0]!, command.slice(1), { cwd, env, stdio: ['pipe', 'pipe', 'pipe'] })
    let out = ''
    let err = ''
    let seen = 0
    child.stdout.on('data', (chunk: Buffer) => {
      out += chunk.toString()
      for (let end = out.indexOf('\n', seen); end >= 0; end = out.indexOf('\n', seen)) {
        onLine?.(out.slice(seen, end))
        seen = end + 1
      }
    })
    child.stderr.on('data', (chunk: Buffer) => {
      err += chunk.toString()
    })
    child.stdin.on('error', () => undefined)
    child.stdin.end(input ?? '')
    child.once('error', reject)
    child.once('close', (code) => resolve({ code: code ?? 1, out, err }))
  })
}

/** Throws with the end of what it said. */
export async function prepared(
  command: readonly string[],
  options: Parameters<typeof execute>[1],
): Promise<Output> {
  const output = await execute(command, options)
  if (output.code === 0) return output
  throw new Error(`${command.join(' ')}: ${`${output.out}\n${output.err}`.trim().slice(-600)}`)
}

/** A program of ours that calls a library, and prints a line for every call. */
async function calls(command: readonly string[], { directory, env, note }: Run): Promise<void> {
  const { code, out, err } = await execute(command, { cwd: directory, env, onLine: note })
  // It says itself what has failed; one that says nothing of it has ended otherwise.
  if (code !== 0 && !/^fail /m.test(out)) throw new Error(`ended with ${code}: ${err.trim().slice(-600)}`)
}

const sources = (name: string): string => new URL(`./${name}`, import.meta.url).pathname

const go: Client = {
  name: 'conjur-api-go',
  needs: [['go', 'version']],
  async run(run) {
    const { directory: cwd, env } = run
    cpSync(sources('go'), cwd, { recursive: true })
    const built = join(cwd, 'calls')
    await prepared(['go', 'build', '-o', built, '.'], { cwd, env })
    await calls([built], run)
    const listed = ['go', 'list', '-m', '-f', '{{.Version}}', 'github.com/cyberark/conjur-api-go']
    return (await prepared(listed, { cwd, env })).out.trim()
  },
}

const python: Client = {
  name: 'conjur-api-python',
  needs: [['python3', '-m', 'venv', '--help']],
  async run(run) {
    const { directory: cwd, env } = run
    await prepared(['python3', '-m', 'venv', 'venv'], { cwd, env })
    const own = join(cwd, 'venv', 'bin', 'python')
    await prepared([own, '-m', 'pip', 'install', '--quiet', 'conjur-api'], { cwd, env })
    await calls([own, join(sources('python'), 'client.py')], run)
    const shown = await prepared([own, '-m', 'pip', 'show', 'conjur-api'], { cwd, env })
    return /^Version: (.+)$/m.exec(shown.out)?.[1] ?? ''
  },
}

const java: Client = {
  name: 'conjur-api-java',
  needs: [
    ['java', '-version'],
    ['mvn', '--version'],
  ],
  async run(run) {
    const { directory: cwd, env } = run
    cpSync(sources('java'), cwd, { recursive: true })
    await prepared(['mvn', '-q', '-B', 'compile', 'dependency:copy-dependencies'], { cwd, env })
    const store = join(cwd, 'trust.jks')
    const trusted = ['keytool', '-importcert', '-noprompt', '-alias', 'holdfast', '-storepass', 'changeit']
    await prepared([...trusted, '-keystore', store, '-file', env.CONJUR_CERT_FILE!], { cwd, env })
    const leader = env.CONJUR_APPLIANCE_URL!
    const admin = await new Api(leader, env.CONJUR_ACCOUNT!).login('admin', env.CONJUR_ADMIN_KEY!)
    // It can read and set values, so what it reads is there before.
    await admin.loadPolicy(
      'root',
      '- !policy\n  id: java\n  body:\n  - !variable db/user\n  - !variable "odd a+b"\n',
    )
    const trust = [`-Djavax.net.ssl.trustStore=${store}`, '-Djavax.net.ssl.trustStorePassword=changeit']
    const command = ['java', ...trust, '-cp', 'target/classes:target/dependency/*', 'Client']
    for (const [node, url] of [
      ['Leader', leader],
      ['Follower', env.CONJUR_FOLLOWER_URL!],
    ] as const) {
      const token = await tokenAt(url, env)
      const own = { CONJUR_APPLIANCE_URL: url, CONJUR_CLIENT_NODE: node, CONJUR_CLIENT_TOKEN: token }
      await calls(command, { ...run, env: { ...env, ...own } })
    }
    const listed = await prepared(['ls', join(cwd, 'target', 'dependency')], { cwd, env })
    return /conjur-api-([\d.]+)-with-dependencies\.jar/.exec(listed.out)?.[1] ?? ''
  },
}

async function tokenAt(url: string, env: NodeJS.ProcessEnv): Promise<string> {
  const answer = await fetch(`${url}/authn/${env.CONJUR_ACCOUNT}/admin/authenticate`, {
    method: 'POST',
    body: env.CONJUR_ADMIN_KEY!,
  })
  return answer.text()
}

export const clients: readonly Client[] = [go, python, java]
