// Asks the node port of whoever leads: TLS under the cluster's own authority, and a peer that must be a control node.
import { request } from 'node:https'
import { checkServerIdentity, type PeerCertificate } from 'node:tls'
import { fromUtf8, utf8 } from '../base/bytes.ts'
import { DomainError } from '../base/errors.ts'
import { type Json, parseJson } from '../base/json.ts'
import { limits } from '../base/limits.ts'
import { Refused, refusalIn } from '../enrolment/messages.ts'
import { nameIn } from '../enrolment/names.ts'
import type { Identity } from './identity.ts'
import { isOfUnknownAuthority } from './tls.ts'

export type NodeTls = {
  readonly ca: string
  readonly minVersion: 'TLSv1.3'
  readonly checkServerIdentity: (host: string, certificate: PeerCertificate) => Error | undefined
  readonly cert?: string
  readonly key?: string
}

/** For connections to a control node. `own`: shown to it; a node that only registers has none. */
export function nodeTls(clusterId: string, authorities: string, own?: Identity): NodeTls {
  return {
    ca: authorities,
    minVersion: 'TLSv1.3',
    checkServerIdentity(host, certificate) {
      const name = nameIn(certificate.subjectaltname)
      // A Follower's certificate is good for its own links only; it must not pass for a Leader.
      if (name?.clusterId !== clusterId || name.roleClass !== 'control')
        return new OtherCluster(`${host} does not show the certificate of a control node of this cluster`)
      return checkServerIdentity(host, certificate)
    },
    ...(own === undefined ? {} : { cert: own.certificate, key: own.key }),
  }
}

/**
 * POSTs to the first address that answers. Throws `Refused`, and `unavailable` when none has answered: nothing is known
 * then of what was done.
 */
export async function askLeader(
  leaders: readonly string[],
  path: string,
  body: Json,
  tls: NodeTls,
  signal?: AbortSignal,
): Promise<Json> {
  const failures: string[] = []
  let foreign = 0
  for (const address of leaders) {
    let answered: { readonly status: number; readonly body: Json | undefined }
    try {
      answered = await post(address, path, JSON.stringify(body), tls, signal)
    } catch (error) {
      if (isForeign(error)) foreign++
      failures.push(`${address}: ${error instanceof Error ? error.message : String(error)}`)
      continue
    }
    const refusal = refusalIn(answered.body)
    if (refusal !== undefined) throw new Refused(refusal)
    if (answered.status === 200 && answered.body !== undefined) return answered.body
    failures.push(`${address}: it answered ${answered.status}`)
  }
  const all = failures.join('; ')
  if (foreign === leaders.length) {
    throw new Refused({
      code: 'SEED_FOREIGN',
      message: `who answers there does not belong to the cluster of this node or its seed: make a seed at the cluster that it is to join, or set right where the addresses lead (${all})`,
    })
  }
  throw new DomainError('unavailable', `no Leader could be asked (${all})`)
}

/** The certificate of the other side was refused: as long as it shows this one, asking again is of no use. */
function isForeign(error: unknown): boolean {
  const code = error instanceof Error && 'code' in error ? String(error.code) : ''
  return error instanceof OtherCluster || isOfUnknownAuthority(code)
}

class OtherCluster extends Error {}

function post(
  address: string,
  path: string,
  body: string,
  tls: NodeTls,
  signal: AbortSignal | undefined,
): Promise<{ readonly status: number; readonly body: Json | undefined }> {
  return new Promise((resolve, reject) => {
    const bytes = utf8(body)
    const asked = request(
      `https://${address}${path}`,
      {
        ...tls,
        method: 'POST',
        agent: false,
        timeout: limits.enrolMs,
        headers: { 'Content-Type': 'application/json', 'Content-Length': bytes.length },
        ...(signal === undefined ? {} : { signal }),
      },
      (response) => {
        const parts: Buffer[] = []
        let length = 0
        response.on('data', (part: Buffer) => {
          length += part.length
          if (length > limits.revocationsBytes * 2) response.destroy(new Error('its answer is too long'))
          else parts.push(part)
        })
        response.on('error', reject)
        response.on('end', () =>
          resolve({
            status: response.statusCode ?? 0,
            body: parseJson(fromUtf8(Buffer.concat(parts)) ?? ''),
          }),
        )
      },
    )
    asked.on('timeout', () => asked.destroy(new Error('it did not answer in time')))
    asked.on('error', reject)
    asked.end(bytes)
  })
}
