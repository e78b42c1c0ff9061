// Proof by a request to AWS STS that the host has signed and we send (http-api 8.4): what AWS answers to it names the role
// whose keys have signed. The signature covers the host that is asked, so it is good at AWS and nowhere else.
import { fromUtf8 } from '../base/bytes.ts'
import { isObject, parseJson } from '../base/json.ts'
import { limits } from '../base/limits.ts'
import { type Wall, wall } from '../base/time.ts'
import { identifierOf, kindOf } from '../id/resource-id.ts'
import { type Prover, Refused } from './contract.ts'
import { type Outgoing, OutgoingFailure } from './outgoing.ts'

export type SignedRequest = {
  /** `us-east-1`, or `global`. */
  readonly region: string
  readonly signedAt: Wall
  /** To be sent: never `host`, which is ours to say. */
  readonly headers: Readonly<Record<string, string>>
}

const TOKEN = 'x-amz-security-token'
const NAMED = ['host', 'authorization', 'x-amz-date', TOKEN, 'x-amz-content-sha256']
/** They would say where our request ends or how it travels. */
const FRAMING =
  /^(connection|content-length|expect|keep-alive|proxy-.*|te|trailer|transfer-encoding|upgrade)$/
const HEADER_NAME = /^[a-z0-9-]{1,64}$/
const REGION = /^([a-z]{2}(-gov)?-[a-z]+-\d|global)$/

const headersFault = (what: string): Refused => new Refused(`CONJ00018E Invalid AWS headers: ${what}`)

/**
 * What a client sends: a JSON object of the headers of an AWS Signature Version 4. `more`: names that may be signed besides
 * (the variable optional-signed-headers); `ownUrl`: where STS is asked instead of at AWS. Throws `Refused`.
 */
export function signedRequestOf(body: Uint8Array, more: string, ownUrl: string | undefined): SignedRequest {
  const given = headersOf(body)
  const { scopeRegion, signed } = authorizationOf(given.get('authorization') ?? '')
  const optional = more
    .split(';')
    .map((name) => name.trim().toLowerCase())
    .filter((name) => HEADER_NAME.test(name) && !FRAMING.test(name))
  const unexpected = signed.find((name) => !NAMED.includes(name) && !optional.includes(name))
  if (unexpected !== undefined) throw headersFault(`${unexpected} may not be signed`)
  const absent = signed.find((name) => name !== 'host' && !given.has(name))
  if (absent !== undefined) throw headersFault(`${absent} is signed and not given`)
  // What is not signed proves nothing: neither for whom the request is, nor when it was made.
  for (const name of ['host', 'x-amz-date'])
    if (!signed.includes(name)) throw headersFault(`${name} is not signed`)
  const region = regionOf(given.get('host'), scopeRegion, ownUrl)
  // Some signers add the session's token after the signature, which AWS checks all the same.
  const sent = ['authorization', TOKEN, ...signed].filter((name) => name !== 'host' && given.has(name))
  return {
    region,
    signedAt: instantOf(given.get('x-amz-date') ?? ''),
    headers: Object.fromEntries(sent.map((name) => [name, given.get(name)!])),
  }
}

/** By lower-case name. */
function headersOf(body: Uint8Array): ReadonlyMap<string, string> {
  const parsed = parseJson(fromUtf8(body) ?? '')
  if (!isObject(parsed)) throw headersFault('the body is no JSON object')
  const headers = new Map<string, string>()
  for (const [name, value] of Object.entries(parsed)) {
    const key = name.toLowerCase()
    if (headers.has(key)) throw headersFault('one is given twice')
    // What is no printable ASCII on one line is no value of a header.
    if (typeof value === 'string' && /^[\x20-\x7e]+$/.test(value)) headers.set(key, value)
  }
  return headers
}

/** `AWS4-HMAC-SHA256 Credential=KEY/20260105/us-east-1/sts/aws4_request, SignedHeaders=host;x-amz-date, Signature=…`. */
function authorizationOf(header: string): { scopeRegion: string; signed: readonly string[] } {
  const [, credential, signed] =
    /^AWS4-HMAC-SHA256 +Credential=([^,\s]+), *SignedHeaders=([^,\s]+), *Signature=[0-9a-f]{64}$/.exec(
      header,
    ) ?? []
  if (credential === undefined || signed === undefined)
    throw headersFault('authorization is no AWS4-HMAC-SHA256 signature')
  const [, scopeRegion] = /^[^/]+\/\d{8}\/([^/]+)\/sts\/aws4_request$/.exec(credential) ?? []
  if (scopeRegion === undefined) throw headersFault('the signature is not for STS')
  const names = signed.toLowerCase().split(';')
  if (!names.every((name) => HEADER_NAME.test(name))) throw headersFault('a signed name is no header')
  return { scopeRegion, signed: [...new Set(names)] }
}

function regionOf(host: string | undefined, scopeRegion: string, ownUrl: string | undefined): string {
  const region = ownUrl === undefined ? regionOfHost(host) : undefined
  if (ownUrl !== undefined && host !== undefined && host !== new URL(ownUrl).host)
    throw headersFault('they are signed for another host than authn_iam_sts_url')
  // It becomes a part of the address that we ask.
  if (!REGION.test(region ?? scopeRegion)) throw headersFault('the region is none')
  return region ?? scopeRegion
}

function regionOfHost(host: string | undefined): string | undefined {
  if (host === undefined) return undefined
  if (host === 'sts.amazonaws.com') return 'global'
  const [, region] = /^sts\.([^.]+)\.amazonaws\.com$/.exec(host) ?? []
  if (region === undefined) throw headersFault('they are signed for a host that is not STS')
  return region
}

/** `20260105T102030Z`. */
function instantOf(text: string): Wall {
  const [, year, month, day, hour, minute, second] =
    /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(text) ?? []
  const at = Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`)
  if (Number.isNaN(at)) throw headersFault('x-amz-date is no date')
  return wall(at)
}

/** Why a request is no longer, or not yet, one that its host has just made; undefined when it is. */
export function windowFault(signedAt: Wall, now: Wall): string | undefined {
  if (signedAt + limits.iamRequestMs < now) return 'the request was signed too long ago'
  return signedAt - limits.iamAheadMs > now ? 'the request is signed for later' : undefined
}

const QUESTION = '/?Action=GetCallerIdentity&Version=2011-06-15'

/** Where STS is asked, one after the other until one answers. The global endpoint is in us-east-1. */
export function stsUrls(region: string, ownUrl: string | undefined): readonly string[] {
  if (ownUrl !== undefined) return [new URL(QUESTION, ownUrl).href]
  const global = `https://sts.amazonaws.com${QUESTION}`
  if (region === 'global') return [global]
  const regional = `https://sts.${region}.amazonaws.com${QUESTION}`
  return region === 'us-east-1' ? [regional, global] : [regional]
}

/** What STS says. Throws `Refused`. */
async function askSts(urls: readonly string[], headers: SignedRequest['headers'], outgoing: Outgoing) {
  let why = ''
  for (const url of urls) {
    try {
      const { status, text } = await outgoing({ method: 'GET', url, headers })
      if (status === 200) return text
      why = `AWS answered ${status}`
    } catch (error) {
      if (!(error instanceof OutgoingFailure)) throw error
      why = error.message
    }
  }
  throw new Refused(`CONJ00063E Verification of IAM identity failed: ${why}`)
}

export type AssumedRole = { readonly account: string; readonly role: string }

const ARN = /^arn:aws[a-z-]*:sts::(\d{12}):assumed-role\/([\w+=,.@-]{1,64})\/[\w+=,.@-]{1,64}$/

/**
 * Whose keys have signed, of what STS answers; undefined for whoever has not assumed a role. Of its XML one element is wanted,
 * in which nothing can stand that XML would escape: it is read when it is there once, and nothing is read of a text with
 * comments, CDATA or entities. A parser would read more than we want to know.
 */
export function assumedRoleOf(xml: string): AssumedRole | undefined {
  if (/<!|&|<\?(?!xml )/.test(xml)) return undefined
  const found = [...xml.matchAll(/<Arn>([^<>]*)<\/Arn>/g)]
  const [, account, role] = (found.length === 1 && ARN.exec(found[0]![1]!.trim())) || []
  return account === undefined || role === undefined ? undefined : { account, role }
}

/** `acme:host:app/123456789012/my-role` is that role of that account. */
export function isHostOf(id: string, { account, role }: AssumedRole): boolean {
  const segments = identifierOf(id).split('/')
  return kindOf(id) === 'host' && segments.at(-2) === account && segments.at(-1) === role
}

export const iamProver: Prover = {
  variables: ['optional-signed-headers'],
  async prove({ role }, _, { body }, stored, { io, settings, now }) {
    const { iamStsUrl } = settings
    const request = signedRequestOf(body, stored.values.get('optional-signed-headers') ?? '', iamStsUrl)
    // AWS refuses it as well; whatever is asked instead might not.
    const late = windowFault(request.signedAt, now)
    if (late !== undefined) throw new Refused(`CONJ00063E Verification of IAM identity failed: ${late}`)
    const answered = await askSts(stsUrls(request.region, iamStsUrl), request.headers, io.outgoing)
    const assumed = assumedRoleOf(answered)
    if (assumed === undefined)
      throw new Refused('CONJ00063E Verification of IAM identity failed: AWS names no assumed role')
    if (!isHostOf(role, assumed)) throw new Refused(`CONJ00063E '${role}' is not the role that AWS names`)
    return {}
  },
}
