// A seed: what one named node needs to trust the cluster and to register with it, once. It holds no private key
// (cluster 3). On the disk it is a JWS in JSON, signed by the cluster's authority.
import { base64url, FlattenedSign, flattenedVerify, importPKCS8, importX509 } from 'jose'
import { z } from 'zod'
import { fromBase64, fromUtf8, utf8 } from '../base/bytes.ts'
import { DomainError } from '../base/errors.ts'
import { isObject, parseJson } from '../base/json.ts'
import { limits } from '../base/limits.ts'
import { sha256Hex } from '../base/native-crypto.ts'
import { pemsIn } from '../base/x509.ts'
import { ADDRESS, CLUSTER_ID, NODE_NAME, nodeKinds } from './names.ts'

// 1  first form
export const BUNDLE_FORMAT = 1

const word = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/)

export const manifestForm = z.object({
  format: z.literal(BUNDLE_FORMAT),
  clusterId: z.string().regex(CLUSTER_ID),
  account: z.string().min(1).max(limits.nameBytes),
  node: z.string().regex(NODE_NAME),
  kind: z.enum(nodeKinds),
  replicationSet: word,
  serviceRole: word,
  /** Wall times of the Leader, milliseconds. */
  issuedAt: z.int().min(0),
  expiresAt: z.int().min(0),
  /** Good for one registration. */
  enrolment: z.object({ id: word, secret: z.string().min(20).max(100) }),
  /** Where the node port of whoever leads is reached: host:port. */
  leaders: z.array(z.string().regex(ADDRESS)).min(1).max(limits.leaderAddresses),
  epoch: z.int().min(0),
  /** PEM, one certificate or, while authorities change, two. */
  authorities: z.string().max(limits.bodyBytes),
  /** How the keys on the node are to be kept. */
  keyProtection: z.literal('none'),
})
export type Manifest = z.infer<typeof manifestForm>

const TYPE = 'holdfast-seed'

/** `authority`: PEM of the certificate whose key signs; `key`: PKCS #8, PEM. */
export async function signBundle(manifest: Manifest, authority: string, key: string): Promise<string> {
  const signed = await new FlattenedSign(utf8(JSON.stringify(manifest)))
    .setProtectedHeader({ alg: 'ES256', typ: TYPE, kid: fingerprintOf(authority) })
    .sign(await importPKCS8(key, 'ES256'))
  return `${JSON.stringify(signed)}\n`
}

/** `authority`: fingerprint of who signed it: what it may be compared with is on the Leader. */
export type Bundle = { readonly manifest: Manifest; readonly authority: string }

/**
 * What a seed says, whole and unchanged since it was signed. Whoever made it up could have signed it as well: that it is
 * the cluster's own is known when the cluster takes its secret. Throws `bad_request` that says what to do.
 */
export async function openBundle(text: string): Promise<Bundle> {
  if (text.length > limits.bundleBytes) throw noSeed
  const jws = parseJson(text)
  if (!isObject(jws)) throw noSeed
  const { payload, protected: head, signature } = jws
  if (typeof payload !== 'string' || typeof head !== 'string' || typeof signature !== 'string') throw noSeed
  const manifest = manifestIn(payload)
  const kid = decoded(head)?.kid
  const authority = pemsIn(manifest.authorities).find((pem) => fingerprintOf(pem) === kid)
  if (authority === undefined) throw changed
  try {
    const key = await importX509(authority, 'ES256')
    const { protectedHeader } = await flattenedVerify({ payload, protected: head, signature }, key, {
      algorithms: ['ES256'],
    })
    if (protectedHeader?.typ !== TYPE) throw changed
  } catch {
    throw changed
  }
  return { manifest, authority: fingerprintOf(authority) }
}

/** Throws `bad_request` for a seed that is of no use any more. */
export function mustBeCurrent({ node, kind, expiresAt }: Manifest, now: number): void {
  if (now <= expiresAt) return
  const at = new Date(expiresAt).toISOString()
  throw refusal(`the seed of ${node} has expired at ${at}: make a new one with "${commandFor(kind, node)}"`)
}

/** The command that makes a seed, for messages. */
export const commandFor = (kind: Manifest['kind'], node: string): string =>
  kind === 'dr' ? `holdfast seed standby --dr ${node}` : `holdfast seed ${kind} ${node}`

function manifestIn(payload: string): Manifest {
  const said = decoded(payload)
  if (typeof said?.format === 'number' && said.format > BUNDLE_FORMAT) {
    throw refusal(
      `the seed has format ${said.format} and this program knows ${BUNDLE_FORMAT}: start a newer holdfast`,
    )
  }
  const manifest = manifestForm.safeParse(said)
  if (!manifest.success) throw noSeed
  return manifest.data
}

function decoded(part: string): { readonly [name: string]: unknown } | undefined {
  try {
    const value = parseJson(fromUtf8(base64url.decode(part)) ?? '')
    return isObject(value) ? value : undefined
  } catch {
    return undefined
  }
}

/** SHA-256 of a certificate, hexadecimal; '' for what is none. */
export function fingerprintOf(pem: string): string {
  const der = fromBase64(pem.replace(/-----[^-]+-----|\s/g, ''))
  return der === undefined ? '' : sha256Hex(der)
}

const refusal = (message: string): DomainError => new DomainError('bad_request', message)
const noSeed = refusal('this is no seed, or not all of it: make it again with "holdfast seed"')
const changed = refusal(
  'the seed is not as it was made: make a new one with "holdfast seed", and bring it here unchanged',
)
