// A real etcd for tests, which only those with a certificate reach. Its members can be killed, stopped and started again.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Certificates, certificatesFor } from './certificates.ts'
import { freePorts } from './nodes.ts'
import { findProgram, listens } from './programs.ts'

export type Etcd = {
  readonly port: number
  /** What it holds. */
  readonly dataFolder: string
  readonly tls: Pick<Certificates, 'ca' | 'cert' | 'key'>
  start(): Promise<void>
  kill(): Promise<void>
  /** It hears and does nothing, until `wake`. */
  pause(): void
  wake(): void
  close(): Promise<void>
}

/** `HOLDFAST_ETCD`, or what is on the path; undefined: there is none. */
export const findEtcd = (): string | undefined => findProgram('etcd', process.env.HOLDFAST_ETCD)

/** A store of one member. */
export const startEtcd = async (binary: string): Promise<Etcd> =>
  (await startMembers(binary, 1, await certificatesFor('localhost', '127.0.0.1')))[0]!

/** Members of one store, under one certificate: for `localhost`, of an authority that its clients' are of too. */
export async function startMembers(
  binary: string,
  count: number,
  tls: Pick<Certificates, 'ca' | 'cert' | 'key'>,
  more: Readonly<Record<string, string>> = {},
): Promise<Etcd[]> {
  const ports = await freePorts(2 * count)
  const peers = ports
    .splice(count)
    .map((port, i) => ({ name: `member-${i}`, url: `http://127.0.0.1:${port}` }))
  const cluster = peers.map(({ name, url }) => `${name}=${url}`).join()
  const members = ports.map((port, i) => {
    const folder = mkdtempSync(join(tmpdir(), 'holdfast-etcd-'))
    const file = (name: string, text: string): string => {
      const path = join(folder, name)
      writeFileSync(path, text, { mode: 0o600 })
      return path
    }
    const flags = {
      name: peers[i]!.name,
      'data-dir': join(folder, 'data'),
      'listen-client-urls': `https://127.0.0.1:${port}`,
      'advertise-client-urls': `https://localhost:${port}`,
      'listen-peer-urls': peers[i]!.url,
      'initial-advertise-peer-urls': peers[i]!.url,
      'initial-cluster': cluster,
      'cert-file': file('cert.pem', tls.cert),
      'key-file': file('key.pem', tls.key),
      'trusted-ca-file': file('ca.pem', tls.ca),
      'client-cert-auth': 'true',
      // The shortest life of a lease is one and a half times the election.
      'heartbeat-interval': '50',
      'election-timeout': '500',
      logger: 'zap',
      ...more,
    }
    const args = Object.entries(flags).map(([flag, value]) => `--${flag}=${value}`)
    return { ...memberOf(binary, args, port, folder), tls }
  })
  await Promise.all(members.map((member) => member.start()))
  return members
}

function memberOf(binary: string, args: readonly string[], port: number, folder: string) {
  let child: ChildProcess | undefined
  let log = ''
  const die = (): void => void child?.kill('SIGKILL')
  process.once('exit', die)

  async function start(): Promise<void> {
    const started = spawn(binary, args, { stdio: ['ignore', 'pipe', 'pipe'] })
    child = started
    const keep = (chunk: Buffer): void => {
      log = (log + chunk.toString()).slice(-20_000)
    }
    started.stdout.on('data', keep)
    started.stderr.on('data', keep)
    // It opens its port only when it can answer.
    while (!(await listens(port)))
      if (started.exitCode !== null) throw new Error(`etcd ended with ${started.exitCode}: ${log}`)
  }

  async function kill(): Promise<void> {
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
    const gone = once(child, 'exit')
    child.kill('SIGKILL')
    await gone
  }
  return {
    port,
    dataFolder: join(folder, 'data'),
    start,
    kill,
    pause: () => void child?.kill('SIGSTOP'),
    wake: () => void child?.kill('SIGCONT'),
    async close() {
      await kill()
      process.removeListener('exit', die)
      rmSync(folder, { recursive: true, force: true })
    },
  }
}
