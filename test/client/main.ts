// `npm run test:clients`: clients of the reference, unmodified, against a Leader and a Follower over HTTPS. Each is
// fetched by its name from its ordinary registry; what has no toolchain here is named and left out.
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Certificates, certificatesFor } from '../support/certificates.ts'
import { IdentityProvider } from '../support/identity-provider.ts'
import { oneMachine } from '../support/nodes.ts'
import { clients } from './clients.ts'
import type { Client, Run } from './run.ts'

const CERTIFICATES = 'HOLDFAST_TEST_CERTIFICATES'

/** Node reads what it trusts only at its start: the same program again, with our authority among it. */
async function again(): Promise<number> {
  const directory = mkdtempSync(join(tmpdir(), 'holdfast-clients-'))
  try {
    const certificates = await certificatesFor('127.0.0.1', 'localhost')
    const file = join(directory, 'certificates.json')
    writeFileSync(file, JSON.stringify(certificates), { mode: 0o600 })
    writeFileSync(join(directory, 'ca.pem'), certificates.ca)
    const child = spawn(process.execPath, process.argv.slice(1), {
      stdio: 'inherit',
      env: { ...process.env, [CERTIFICATES]: file, NODE_EXTRA_CA_CERTS: join(directory, 'ca.pem') },
    })
    return await new Promise((resolve) => child.once('exit', (code) => resolve(code ?? 1)))
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

type Tally = { passed: number; failed: number }

/** Makes a secret of every order, as an operator's own engine would. */
async function secretEngine(): Promise<Server> {
  const made = { data: { access_key_id: 'ASIAIOSFODNN7EXAMPLE', secret_access_key: 'k', session_token: 't' } }
  const engine = createServer((request, response) => {
    request.resume().once('end', () => response.end(JSON.stringify(made)))
  }).listen(0, '127.0.0.1')
  await once(engine, 'listening')
  return engine
}

async function run(certificates: Certificates): Promise<number> {
  const asked = process.argv.slice(2)
  const engine = await secretEngine()
  // In Google's place, who is asked when a client asks for the status of authn-gcp.
  const google = await IdentityProvider.start()
  const machine = await oneMachine({
    tls: certificates,
    env: {
      HOLDFAST_AUTHN_GCP_PROVIDER: google.url,
      HOLDFAST_AUTHN_PRIVATE_NETWORKS: '127.0.0.1/32',
      CONJUR_FEATURE_DYNAMIC_SECRETS_ENABLED: 'true',
      HOLDFAST_SECRET_ENGINE_URL: `http://127.0.0.1:${(engine.address() as AddressInfo).port}`,
    },
  })
  const tally: Tally = { passed: 0, failed: 0 }
  const leftOut: string[] = []
  try {
    machine.leader.start()
    await machine.leader.ready()
    machine.follower.start()
    await machine.follower.ready()
    for (const client of clients) {
      if (asked.length > 0 && !asked.includes(client.name)) continue
      const missing = client.needs.find(([program, ...args]) => spawnSync(program!, args).status !== 0)
      if (missing !== undefined) {
        leftOut.push(`${client.name}: there is no ${missing[0]} here`)
        continue
      }
      const why = await runOne(client, tally, {
        CONJUR_APPLIANCE_URL: machine.leader.url,
        CONJUR_FOLLOWER_URL: machine.follower.url,
        CONJUR_ACCOUNT: machine.account,
        CONJUR_CERT_FILE: join(machine.directory, 'ca.pem'),
        CONJUR_ADMIN_KEY: machine.adminKey(),
      })
      if (why !== undefined) leftOut.push(`${client.name}: ${why}`)
    }
  } finally {
    await machine.stop()
    await google.goAway()
    engine.close()
  }
  for (const line of leftOut) process.stdout.write(`left out: ${line}\n`)
  process.stdout.write(`${tally.passed} passed, ${tally.failed} failed\n`)
  return tally.failed === 0 && tally.passed > 0 ? 0 : 1
}

/** Resolves with why the client was left out, if it was. */
async function runOne(
  client: Client,
  tally: Tally,
  env: Readonly<Record<string, string>>,
): Promise<string | undefined> {
  const directory = mkdtempSync(join(tmpdir(), 'holdfast-client-'))
  let passed = 0
  const note = (line: string): void => {
    if (line.startsWith('ok ')) passed++
    else if (line.startsWith('fail ')) {
      tally.failed++
      process.stdout.write(`${client.name}: ${line}\n`)
    }
  }
  const own: Run = { directory, env: { ...process.env, ...env, CONJUR_WORK_DIR: directory }, note }
  try {
    const absent = await client.fetch?.(own)
    if (absent !== undefined) return absent
    const version = await client.run(own)
    process.stdout.write(`${client.name} ${version}: ${passed} calls passed\n`)
  } catch (error) {
    tally.failed++
    process.stdout.write(`${client.name}: ${error instanceof Error ? error.message : String(error)}\n`)
  } finally {
    tally.passed += passed
    rmSync(directory, { recursive: true, force: true })
  }
  return undefined
}

const file = process.env[CERTIFICATES]
process.exitCode =
  file === undefined ? await again() : await run(JSON.parse(readFileSync(file, 'utf8')) as Certificates)
