// What the node port answers beside the streams: registrations with a seed, renewals with a certificate (cluster 3).
import type { Answer, RawRequest } from '#shared/api/request.ts'
import { fromUtf8, toHex } from '#shared/base/bytes.ts'
import { DomainError } from '#shared/base/errors.ts'
import { parseJson } from '#shared/base/json.ts'
import { limits } from '#shared/base/limits.ts'
import { enrolRequest, paths, type Refusal, refusalBody, renewRequest } from '#shared/enrolment/messages.ts'
import type { Answered, Office } from './office.ts'

export type NodeDoorOptions = {
  readonly office: Office
  readonly random: (length: number) => Uint8Array
  readonly onFault: (error: unknown) => void
}

/** Never rejects. */
export function createNodeDoor({ office, random, onFault }: NodeDoorOptions) {
  const routes: Readonly<Record<string, (request: RawRequest, requestId: string) => Promise<Answer>>> = {
    [`POST ${paths.enrol}`]: async (request, requestId) => {
      const read = enrolRequest.safeParse(await bodyOf(request))
      if (!read.success) return refused(malformed)
      const asker = { user: read.data.node, clientIp: request.peer, requestId }
      return answerOf(await office.redeem(read.data, asker))
    },
    [`POST ${paths.renew}`]: async (request, requestId) => {
      const entry = office.judge('renewal', request.shown?.() ?? { kind: 'nothing' })
      if (entry.kind === 'refuse') return refused(entry.refusal)
      const read = renewRequest.safeParse(await bodyOf(request))
      if (!read.success) return refused(malformed)
      const { certificate } = entry
      const asker = { user: certificate.node, clientIp: request.peer, requestId }
      return answerOf(await office.renew(certificate, read.data.csr, asker))
    },
  }
  return async (request: RawRequest): Promise<Answer> => {
    const route = routes[`${request.method} ${request.path}`]
    if (route === undefined) return { status: 404, headers: {}, body: undefined }
    try {
      return await route(request, toHex(random(16)))
    } catch (error) {
      if (error instanceof DomainError && error.code === 'too_large') return refused(malformed)
      onFault(error)
      return { status: 503, headers: {}, body: undefined }
    }
  }
}

const bodyOf = async (request: RawRequest): Promise<unknown> =>
  parseJson(fromUtf8(await request.body(limits.bodyBytes)) ?? '')

const malformed: Refusal = {
  code: 'REQUEST_INVALID',
  message: 'the request is malformed: the node and the Leader should run the same version of holdfast',
}

const answerOf = (answered: Answered): Answer =>
  'refusal' in answered
    ? refused(answered.refusal)
    : { status: 200, headers: { ...JSON_TYPE }, body: JSON.stringify(answered.issued) }

const refused = (refusal: Refusal): Answer => ({
  status: refusal.code === 'REQUEST_INVALID' ? 422 : 403,
  headers: { ...JSON_TYPE },
  body: refusalBody(refusal),
})

const JSON_TYPE = { 'Content-Type': 'application/json' }
