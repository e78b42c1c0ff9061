// Workloads that come with a token of their platform, and what is said of them: to them, and in the audit.
import { createPublicKey, randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { SignJWT, UnsecuredJWT } from 'jose'
import { expect } from 'vitest'
import { IdentityProvider } from '../../support/identity-provider.ts'
import { Client, type Env } from '../../support/nodes.ts'
import { runBlock } from '../../support/page.ts'
import { type AuditRow, answered, FORM, recordsOf, settled, startWorld, type World } from './world.ts'

export type Workloads = { readonly world: World; readonly provider: IdentityProvider }

/** Nodes that may ask a provider on this machine. `settings`: more, when it is known where the provider is. */
export async function startWorkloads(
  settings: (provider: IdentityProvider) => Env = () => ({}),
): Promise<Workloads> {
  const provider = await IdentityProvider.start()
  const world = await startWorld({
    env: { HOLDFAST_AUTHN_PRIVATE_NETWORKS: '127.0.0.1', ...settings(provider) },
  })
  return { world, provider }
}

export async function enable({ world }: Workloads, name: string, enabled = true): Promise<void> {
  const body = `enabled=${enabled}`
  expect(await answered(world.admin.request('PATCH', `/${name}/acme`, { body, headers: FORM }))).toEqual([
    204,
    '',
  ])
  await settled(world)
}

/** A host with these annotations; `more`: other attributes. */
export const hostText = (id: string, annotations: Record<string, string>, more = ''): string =>
  `- !host { id: ${id}, annotations: ${JSON.stringify(annotations)}${more} }`

export type Came = {
  readonly status: number
  readonly body: unknown
  /** Of the token; undefined: there is none. */
  readonly login: string | undefined
  readonly record: AuditRow
}

/** What comes of `POST path` with this body. */
export async function post(world: World, url: string, path: string, body: string): Promise<Came> {
  const requestId = randomUUID()
  const sent = fetch(url + path, { method: 'POST', body, headers: { ...FORM, 'X-Request-Id': requestId } })
  const [status, got] = await answered(sent)
  const [record] = await recordsOf(world, requestId)
  return { status, body: got, login: loginOf(status, got), record: record! }
}

export const form = (jwt: string): string => new URLSearchParams({ jwt }).toString()

function loginOf(status: number, body: unknown): string | undefined {
  if (status !== 200) return undefined
  const { payload } = body as { payload: string }
  return (JSON.parse(Buffer.from(payload, 'base64url').toString()) as { sub: string }).sub
}

/** The first code of http-api 17.1 in a record of a refusal. */
export const codeOf = ({ message }: AuditRow): string | undefined => /: (CONJ\d{5}E)/.exec(message)?.[1]

/** Refused as nearly all refusals are: no word of why outside. */
export const refused = (code: unknown) => ({ status: 401, body: '', login: undefined, code })

/** Status, body, login and code of what came. */
export const told = ({ status, body, login, record }: Came) => ({
  status,
  body: status === 200 ? undefined : body,
  login,
  code: codeOf(record),
})

export const letIn = (login: string) => ({ status: 200, body: undefined, login, code: undefined })

/** Reads a secret with the token that came. */
export async function reads(url: string, came: Came, id: string): Promise<string> {
  const token = Buffer.from(JSON.stringify(came.body)).toString('base64')
  return (await new Client(url, 'acme', token).getSecret(id)).text()
}

type Claims = Readonly<Record<string, unknown>>

/** Tokens that are refused whoever they are for; what is wrong with them says external-token.ts in its own words. */
export const badTokens: readonly (readonly [
  name: string,
  make: (provider: IdentityProvider, claims: Claims) => Promise<string>,
])[] = [
  ['that is none', async () => 'nonsense'],
  ['of another issuer', (provider, claims) => provider.sign({ ...claims, iss: 'https://evil.example' })],
  [
    'of an issuer whose name begins alike',
    (provider, claims) => provider.sign({ ...claims, iss: `${provider.url}.evil.example` }),
  ],
  ['without an issuer', (provider, claims) => provider.sign({ ...claims, iss: undefined })],
  ['that never expires', (provider, claims) => provider.sign({ ...claims, exp: undefined })],
  [
    'that is not good yet',
    (provider, claims) => provider.sign({ ...claims, nbf: Math.floor(Date.now() / 1000) + 3_600 }),
  ],
  [
    'that another has signed',
    async (provider, claims) => {
      const other = await IdentityProvider.start()
      await other.goAway()
      return other.sign({ iss: provider.url, ...claims }, { header: { kid: provider.kid } })
    },
  ],
  ['that is not signed', async (provider, claims) => new UnsecuredJWT(withTimes(provider, claims)).encode()],
  [
    'signed with the public key as a password',
    async (provider, claims) => {
      const key = createPublicKey({ key: provider.keySet().keys[0]!, format: 'jwk' } as never)
      return new SignJWT(withTimes(provider, claims))
        .setProtectedHeader({ alg: 'HS256', kid: provider.kid })
        .sign(Buffer.from(key.export({ type: 'spki', format: 'pem' })))
    },
  ],
]

/** Of tokens that are none, or not as they must be. */
export const unverified = refused(expect.stringMatching(/^CONJ000(15|35|77|91)E$/))

function withTimes(provider: IdentityProvider, claims: Claims) {
  const now = Math.floor(Date.now() / 1000)
  return { iss: provider.url, iat: now, exp: now + 3_600, ...claims }
}

/** Runs a block of a page as it stands there, where `host` (name:port) is this provider. Resolves with what it prints. */
export async function runWhere(
  block: string,
  url: string,
  host: string,
  provider: IdentityProvider,
): Promise<string> {
  const home = mkdtempSync(join(tmpdir(), 'holdfast-curl-'))
  try {
    writeFileSync(join(home, '.curlrc'), `connect-to = "${host}:${new URL(provider.url).host}"\n`)
    return await runBlock(block, { CURL_HOME: home, HOLDFAST_URL: url })
  } finally {
    rmSync(home, { recursive: true })
  }
}
