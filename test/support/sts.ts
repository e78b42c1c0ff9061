// An AWS STS for tests: it verifies signatures by signing what it was sent once more, and answers as AWS does.
import { once } from 'node:events'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { sign } from 'aws4'

export type Keys = {
  readonly accessKeyId: string
  readonly secretAccessKey: string
  readonly sessionToken: string
}

export type Sts = {
  readonly url: string
  /** `127.0.0.1:9000`: what clients sign as the host. */
  readonly host: string
  /** Keys of whom STS will call so; they may do nothing else. */
  keysOf(arn: string): Keys
  /** Requests so far, with the names of their headers. */
  readonly asked: readonly IncomingMessage[]
  /** What it answers instead from now on; undefined: as AWS does. */
  answerWith(instead: { readonly status: number; readonly text: string } | undefined): void
  /** Away, until it is opened again at the same address. */
  close(): Promise<void>
  open(): Promise<void>
}

const PATH = '/?Action=GetCallerIdentity&Version=2011-06-15'

export type Signing = {
  readonly keys: Keys
  readonly host: string
  readonly region?: string
  readonly service?: string
  /** Signed besides, and in the body. */
  readonly headers?: Readonly<Record<string, string>>
}

/** `20260105T102030Z`. */
export const amzDate = (at: number): string => new Date(at).toISOString().replace(/[-:]|\.\d{3}/g, '')

/** The body of a request to authenticate, as a client of the reference makes it. */
export function signedHeaders({ keys, host, region, service, headers }: Signing): Record<string, string> {
  const signed = sign(
    {
      service: service ?? 'sts',
      region: region ?? 'us-east-1',
      host,
      path: PATH,
      method: 'GET',
      headers: { ...headers },
    },
    { ...keys },
  )
  return signed.headers as Record<string, string>
}

export async function startSts(): Promise<Sts> {
  const known = new Map<string, { keys: Keys; arn: string }>()
  const asked: IncomingMessage[] = []
  let instead: { readonly status: number; readonly text: string } | undefined
  const server = createServer((request, response) => {
    asked.push(request)
    const who = known.get(/Credential=([^/]+)\//.exec(request.headers.authorization ?? '')?.[1] ?? '')
    const arn = who !== undefined && isSignedWith(who.keys, request) ? who.arn : undefined
    const { status, text } = instead ?? (arn === undefined ? refused : identityOf(arn))
    response.writeHead(status, { 'Content-Type': 'text/xml' }).end(text)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const host = `127.0.0.1:${port}`
  return {
    url: `http://${host}`,
    host,
    asked,
    keysOf(arn) {
      const id = `ASIA${String(known.size + 1).padStart(16, '0')}`
      const keys = { accessKeyId: id, secretAccessKey: `secret of ${id}`, sessionToken: `token of ${id}` }
      known.set(id, { keys, arn })
      return keys
    },
    answerWith(given) {
      instead = given
    },
    async close() {
      if (!server.listening) return
      const closed = once(server.close(), 'close')
      server.closeAllConnections()
      await closed
    },
    async open() {
      await once(server.listen(port, '127.0.0.1'), 'listening')
    },
  }
}

/** As AWS computes it: of the host that it was asked as, and of the headers that are named as signed. */
function isSignedWith(keys: Keys, { method, url, headers }: IncomingMessage): boolean {
  const authorization = headers.authorization ?? ''
  const [, region] = /Credential=[^/]+\/\d+\/([^/]+)\/sts\//.exec(authorization) ?? []
  const [, names] = /SignedHeaders=([^,]+)/.exec(authorization) ?? []
  if (region === undefined || names === undefined || headers['x-amz-security-token'] !== keys.sessionToken)
    return false
  const signed = Object.fromEntries(names.split(';').map((name) => [name, String(headers[name] ?? '')]))
  const { host, ...others } = signed
  const again = sign(
    { service: 'sts', region, host: host ?? '', path: url!, method: method!, headers: others },
    { accessKeyId: keys.accessKeyId, secretAccessKey: keys.secretAccessKey },
  )
  return again.headers?.Authorization === authorization
}

const refused = {
  status: 403,
  text:
    '<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>' +
    '<Code>SignatureDoesNotMatch</Code><Message>The signature does not match.</Message></Error></ErrorResponse>',
}

export const identityOf = (arn: string) => ({
  status: 200,
  text: `<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <GetCallerIdentityResult>
    <Arn>${arn}</Arn>
    <UserId>AROAEXAMPLE:session</UserId>
    <Account>${arn.split(':')[4]}</Account>
  </GetCallerIdentityResult>
  <ResponseMetadata><RequestId>01234567-89ab-cdef-0123-456789abcdef</RequestId></ResponseMetadata>
</GetCallerIdentityResponse>`,
})
