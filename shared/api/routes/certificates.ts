// Certificates for hosts, signed by an authority whose key is a secret of ours (http-api 14). Nothing is written, so a
// Follower signs as well.
import { need } from '../../authz/decide.ts'
import { fromUtf8 } from '../../base/bytes.ts'
import { limits } from '../../base/limits.ts'
import { durationMs } from '../../base/time.ts'
import type { CertificateOrder } from '../../base/x509.ts'
import { accountOf, identifierOf, kindOf, makeId } from '../../id/resource-id.ts'
import { type Access, accessQuery } from '../../ledger/reads/access.ts'
import { type AuthoritySettings, authorityQuery } from '../../ledger/reads/certificate-authority.ts'
import { type Keyring, recordId } from '../../secret/keyring.ts'
import { answer, json } from '../outcome.ts'
import { problems } from '../problems.ts'
import { parametersOf, textOf } from '../request.ts'
import { type AnyRoute, type Caller, route } from '../route.ts'

type Input = {
  readonly service: string
  readonly webservice: string
  readonly csr: string
  readonly ttl: string
  readonly wantsPem: boolean
}

const isHost = ({ role }: Caller): boolean => role !== undefined && kindOf(role) === 'host'

/** Undefined when the authority has no key or certificate. */
function orderOf(
  { maxTtl, values }: AuthoritySettings,
  { service, csr }: Input,
  ttlMs: number,
  host: string,
  keyring: Keyring,
): CertificateOrder | undefined {
  const opened = (name: string): string | undefined => {
    const value = values.get(name)
    if (value === undefined) return undefined
    return fromUtf8(keyring.open(recordId('secrets', value.resource, value.version), value.sealed))
  }
  const [privateKey, chain] = [opened('ca/private-key'), opened('ca/certificate-chain')]
  if (privateKey === undefined || chain === undefined) return undefined
  const [account, id] = [accountOf(host), identifierOf(host)]
  return {
    csr,
    privateKey,
    password: opened('ca/private-key-password'),
    chain,
    commonName: `${account}:${service}:host:${id}`,
    dnsName: id.slice(id.lastIndexOf('/') + 1),
    uri: `spiffe://conjur/${account}/${service}/host/${id}`,
    lifeMs: Math.min(ttlMs, (maxTtl === undefined ? undefined : durationMs(maxTtl)) ?? ttlMs),
  }
}

const sign = route({
  id: 'signCertificate',
  method: 'POST',
  path: '/ca/:account/:service/sign',
  docs: {
    does: 'Sign a certificate for the host that asks',
    takes: 'form',
    fields: { csr: 'PEM', ttl: 'ISO 8601 duration' },
    gives: 'pem',
    answers: [201, 403, 404, 422],
  },
  access: 'token',
  effect: 'read',
  bodyLimit: limits.bodyBytes,
  input(request): Input {
    const parameters = parametersOf(request)
    const { account, service } = request.params
    return {
      service: service!,
      webservice: makeId(account!, 'webservice', `conjur/${service}/ca`),
      csr: textOf(parameters, 'csr') ?? '',
      ttl: textOf(parameters, 'ttl') ?? '',
      wantsPem: request.header('accept') === PEM,
    }
  },
  facts: ({ webservice }) => ({ access: accessQuery(webservice), authority: authorityQuery(webservice) }),
  /** `unset`: the authority is not complete; undefined: the request for a certificate is not a valid one. */
  async prove({ access, authority }, input, io, caller): Promise<string | 'unset' | undefined> {
    const ttlMs = durationMs(input.ttl)
    if (!maySign(access, caller) || ttlMs === undefined || input.csr === '') return undefined
    const order = orderOf(authority, input, ttlMs, caller.role!, io.keyring)
    return order === undefined ? 'unset' : io.signCertificate(order)
  },
  decide({ access }, { webservice, csr, ttl, wantsPem }, { caller }, certificate) {
    if (need(access, 'sign') === 'not_found') return problems.recordNotFound(webservice)
    if (!maySign(access, caller)) return problems.forbidden()
    if (csr === '') return problems.parameterMissing('csr')
    if (ttl === '') return problems.parameterMissing('ttl')
    if (durationMs(ttl) === undefined) return problems.argument(`Invalid ISO8601 duration: ${ttl}`)
    if (certificate === 'unset')
      return problems.unprocessable(`${webservice} has no values for ca/private-key and ca/certificate-chain`)
    if (certificate === undefined) return problems.forbidden()
    return wantsPem
      ? answer(201, { kind: 'bytes', bytes: new TextEncoder().encode(certificate), type: PEM })
      : answer(201, json({ certificate }))
  },
})

const PEM = 'application/x-pem-file'

const maySign = (access: Access, caller: Caller): boolean =>
  need(access, 'sign') === 'allowed' && isHost(caller)

export const certificateRoutes: readonly AnyRoute[] = [sign]
