// What a control node answers while it does not lead (cluster 1, 9): what it is, and nothing of what it holds.
import { createMatcher } from '#shared/api/match.ts'
import type { NodeIo } from '#shared/api/node.ts'
import { answer, json, type Outcome } from '#shared/api/outcome.ts'
import { problems } from '#shared/api/problems.ts'
import { type Answer, parseQuery, type RawRequest } from '#shared/api/request.ts'
import { respond } from '#shared/api/respond.ts'
import { healthAsked, healthOutcome, nodeRoutes, remoteOutcome } from '#shared/api/routes/status.ts'
import { DomainError } from '#shared/base/errors.ts'

/** What it can say of itself. */
export type StandbyIo = Pick<NodeIo, 'health' | 'info' | 'remoteHealth'>

export const answerOfStandby = async (request: RawRequest, io: StandbyIo): Promise<Answer> =>
  answered(request, await outcomeOf(request, io))

/** The answer is there and may not be given any more: whether a write was stored, nobody here can promise. */
export const answerTooLate = (request: RawRequest): Answer =>
  answered(
    request,
    problems.unavailable(
      'outcome_unknown',
      'this node leads no more: ask the new Leader whether it was done',
    ),
  )

const answered = (request: RawRequest, outcome: Outcome): Answer =>
  respond(outcome, { requestId: crypto.randomUUID() }, request.header('accept'))

const match = createMatcher(nodeRoutes)

/** Asked of the node, whatever it is. */
export const isOfNode = ({ method, path }: RawRequest): boolean =>
  match(method, path, new Map()) !== undefined

async function outcomeOf({ method, path, query }: RawRequest, io: StandbyIo): Promise<Outcome> {
  try {
    const asked = parseQuery(query)
    const found = match(method, path, asked)
    switch (found?.route.id) {
      case 'health':
        return healthOutcome(io.health(), healthAsked(asked))
      case 'info':
        return answer(200, json(await io.info()))
      case 'remoteHealth': {
        const name = found.params.host!
        return remoteOutcome(name, await io.remoteHealth(name, healthAsked(asked).role))
      }
      default:
        return problems.unavailable(
          'not_leading',
          'this node does not lead: ask the cluster at its own address',
        )
    }
  } catch (error) {
    if (error instanceof DomainError) return problems.badRequest(error.message)
    throw error
  }
}

const nothing = (status: number, headers: Record<string, string>): Answer => ({
  status,
  headers,
  body: undefined,
})

/** For the port that tells balancers over HTTP whether this node is well, and answers nothing else (cluster 5). */
export const healthOnly =
  (handle: (request: RawRequest) => Promise<Answer>) =>
  async (request: RawRequest): Promise<Answer> => {
    if (request.path !== '/health') return nothing(404, {})
    const { method } = request
    if (method === 'GET' || method === 'HEAD') return handle(request)
    // What it sends is not waited for.
    return nothing(405, { Allow: 'GET, HEAD', Connection: 'close' })
  }
