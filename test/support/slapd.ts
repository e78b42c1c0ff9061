// A real directory for tests: OpenLDAP's server on free ports, in clear, with StartTLS and with TLS.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { type Certificates, certificatesFor } from './certificates.ts'
import { freePorts } from './nodes.ts'
import { findProgram, listens } from './programs.ts'

/** `HOLDFAST_SLAPD` (empty: none), or what is on the path; undefined: there is none. */
export const findSlapd = (): string | undefined =>
  findProgram('slapd', process.env.HOLDFAST_SLAPD) || undefined

export type Slapd = {
  /** In clear, and with StartTLS. */
  readonly port: number
  readonly tlsPort: number
  readonly tls: Certificates
  /** What it was asked since the start: one line for each operation. */
  log(): string
  stop(): Promise<void>
}

export const SUFFIX = 'dc=example,dc=com'

/** It holds these entries, LDIF, among them `cn=policy`, its rules for passwords; its certificate is for 127.0.0.1. Listens when it resolves. */
export async function startSlapd(binary: string, ldif: string): Promise<Slapd> {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-slapd-'))
  const tls = await certificatesFor('127.0.0.1')
  const file = (name: string, text: string): string => {
    const path = join(folder, name)
    writeFileSync(path, text, { mode: 0o600 })
    return path
  }
  mkdirSync(join(folder, 'data'), { mode: 0o700 })
  const schemas = ['/etc/ldap/schema', '/etc/openldap/schema'].find((path) => existsSync(path))
  const config = file(
    'slapd.conf',
    `
${['core', 'cosine', 'inetorgperson', 'nis'].map((name) => `include ${schemas}/${name}.schema`).join('\n')}
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload ppolicy
pidfile ${join(folder, 'slapd.pid')}
TLSCACertificateFile ${file('ca.pem', tls.ca)}
TLSCertificateFile ${file('cert.pem', tls.cert)}
TLSCertificateKeyFile ${file('key.pem', tls.key)}
# What an old directory does: a bind with a name and no password succeeds, as nobody.
allow bind_anon_dn bind_anon_cred
database mdb
suffix ${SUFFIX}
directory ${join(folder, 'data')}
overlay ppolicy
ppolicy_default cn=policy,${SUFFIX}
access to attrs=userPassword by anonymous auth by * none
access to * by * read
`,
  )
  execFileSync(join(dirname(binary), 'slapadd'), ['-q', '-f', config, '-l', file('entries.ldif', ldif)])
  const [port, tlsPort] = (await freePorts(2)) as [number, number]
  const urls = `ldap://127.0.0.1:${port}/ ldaps://127.0.0.1:${tlsPort}/`
  // 256: connections and operations.
  const child: ChildProcess = spawn(binary, ['-d', '256', '-f', config, '-h', urls], {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  let log = ''
  child.stderr?.on('data', (chunk) => {
    log = (log + String(chunk)).slice(-1_000_000)
  })
  const die = (): void => void child.kill('SIGKILL')
  process.once('exit', die)
  const ended = once(child, 'exit')
  while (!(await listens(port)) || !(await listens(tlsPort)))
    if (child.exitCode !== null) throw new Error(`slapd ended with ${child.exitCode}: ${log}`)
  return {
    port,
    tlsPort,
    tls,
    log: () => log,
    async stop() {
      process.removeListener('exit', die)
      child.kill('SIGKILL')
      await ended
      rmSync(folder, { recursive: true, force: true })
    },
  }
}
