// What a control node answers while it does not lead (cluster 1, 9): what it is, and nothing of what it holds.
import { answer, json, type Outcome } from '#shared/api/outcome.ts'
import { problems } from '#shared/api/problems.ts'
import type { Answer, RawRequest } from '#shared/api/request.ts'
import { respond } from '#shared/api/respond.ts'
import type { NodeStatus } from './node-link.ts'

export const answerOfStandby = (request: RawRequest, status: NodeStatus | undefined): Answer =>
  answered(request, outcomeOf(request, status))

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

function outcomeOf({ method, path }: RawRequest, status: NodeStatus | undefined): Outcome {
  if (path === '/health' && (method === 'GET' || method === 'HEAD'))
    return answer(502, json(healthOf(status)))
  return problems.unavailable('not_leading', 'this node does not lead: ask the cluster at its own address')
}

const healthOf = (status: NodeStatus | undefined) => ({
  ok: false,
  degraded: false,
  role: 'standby',
  services: { possum: 'disabled', ok: false },
  cluster: {
    ok: status?.leader !== null && status?.leader !== undefined,
    status: status?.phase ?? 'starting',
    epoch: status?.epoch ?? 0,
    leader: status?.leader ?? null,
    sync_standby: status?.sync ?? null,
    members: status?.members ?? 0,
    paused: status?.paused ?? false,
    failover_blocked: status?.blocked ?? null,
  },
})
