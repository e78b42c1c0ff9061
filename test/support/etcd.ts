// A real etcd for tests, one member, which only those with a certificate reach. It can be killed, stopped and started again.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { accessSync, constants, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { type Certificates, certificatesFor } from './certificates.ts'
import { freePorts } from './nodes.ts'

export type Etcd = {
  readonly port: number
  readonly tls: Certificates
  start(): Promise<void>
  kill(): Promise<void>
  /** It hears and does nothing, until `wake`. */
  pause(): void
  wake(): void
  close(): Promise<void>
}

/** `HOLDFAST_ETCD`, or what is on the path; undefined: there is none. */
export function findEtcd(): string | undefined {
  const named = process.env.HOLDFAST_ETCD
  if (named !== undefined) return named
  return (process.env.PATH ?? '')
    .split(delimiter)
    .map((folder) => join(folder, 'etcd'))
    .find((file) => {
      try {
        accessSync(file, constants.X_OK)
        return true
      } catch {
        return false
      }
    })
}

export async function startEtcd(binary: string): Promise<Etcd> {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-etcd-'))
  const tls = await certificatesFor('localhost', '127.0.0.1')
  const [port, peerPort] = (await freePorts(2)) as [number, number]
  const file = (name: string, text: string): string => {
    const path = join(folder, name)
    writeFileSync(path, text, { mode: 0o600 })
    return path
  }
  const flags = {
    name: 'one',
    'data-dir': join(folder, 'data'),
    'listen-client-urls': `https://127.0.0.1:${port}`,
    'advertise-client-urls': `https://localhost:${port}`,
    'listen-peer-urls': `http://127.0.0.1:${peerPort}`,
    'initial-advertise-peer-urls': `http://127.0.0.1:${peerPort}`,
    'initial-cluster': `one=http://127.0.0.1:${peerPort}`,
    'cert-file': file('cert.pem', tls.cert),
    'key-file': file('key.pem', tls.key),
    'trusted-ca-file': file('ca.pem', tls.ca),
    'client-cert-auth': 'true',
    // The shortest life of a lease is one and a half times the election.
    'heartbeat-interval': '50',
    'election-timeout': '500',
    logger: 'zap',
  }
  let child: ChildProcess | undefined
  let log = ''
  const die = (): void => void child?.kill('SIGKILL')
  process.once('exit', die)

  async function start(): Promise<void> {
    const args = Object.entries(flags).map(([flag, value]) => `--${flag}=${value}`)
    const started = spawn(binary, args, { stdio: ['ignore', 'pipe', 'pipe'] })
    child = started
    const keep = (chunk: Buffer): void => {
      log = (log + chunk.toString()).slice(-20_000)
    }
    started.stdout.on('data', keep)
    started.stderr.on('data', keep)
    while (!(await listens(port)))
      if (started.exitCode !== null) throw new Error(`etcd ended with ${started.exitCode}: ${log}`)
  }

  async function kill(): Promise<void> {
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
    const gone = once(child, 'exit')
    child.kill('SIGKILL')
    await gone
  }

  await start()
  return {
    port,
    tls,
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

/** etcd opens its port only when it can answer. */
async function listens(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1')
  try {
    await once(socket, 'connect')
    return true
  } catch {
    return false
  } finally {
    socket.destroy()
  }
}
