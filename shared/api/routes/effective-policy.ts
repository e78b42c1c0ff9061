// The effective policy: what a policy amounts to, whoever said it (http-api 13, policy 10).
import { policyReadEvent } from '../../audit/event.ts'
import { visible } from '../../authz/decide.ts'
import { utf8 } from '../../base/bytes.ts'
import { makeId, notFoundWords } from '../../id/resource-id.ts'
import { accessQuery } from '../../ledger/reads/access.ts'
import { effectiveBatch } from '../../ledger/reads/effective.ts'
import { effectiveJson, effectivePolicy, effectiveYaml } from '../../policy/effective.ts'
import { actorOf } from '../actor.ts'
import { answer, json, type Outcome } from '../outcome.ts'
import { problems } from '../problems.ts'
import { type Query, textOf } from '../request.ts'
import { type AnyRoute, route } from '../route.ts'

/** Undefined when it is no whole number up to `max`. */
function bound(query: Query, name: string, max: number): number | undefined {
  if (!query.has(name)) return max
  const text = textOf(query, name) ?? ''
  return /^\d{1,9}$/.test(text) && Number(text) <= max ? Number(text) : undefined
}

const effective = route({
  id: 'showEffectivePolicy',
  method: 'GET',
  path: '/policies/:account/:kind/:id*',
  docs: {
    does: 'What a policy amounts to, as a policy text',
    query: { depth: 'Levels below it', limit: 'Most records, annotations and permissions' },
    gives: 'policy',
    answers: [200, 400, 403, 404, 422],
  },
  access: 'token',
  effect: 'read',
  input: ({ params, query, header }, settings) => ({
    kind: params.kind!,
    policy: makeId(params.account!, 'policy', params.id!),
    depth: bound(query, 'depth', settings.effectivePolicyMaxDepth),
    limit: bound(query, 'limit', settings.effectivePolicyMaxLimit),
    wantsJson: /^application\/json\b/i.test(header('content-type') ?? ''),
  }),
  facts: ({ policy }) => ({ access: accessQuery(policy), ...effectiveBatch(policy) }),
  decide({ access, ...facts }, { kind, policy, depth, limit, wantsJson }, { caller }): Outcome {
    if (kind !== 'policy') return problems.noRoute()
    const actor = actorOf(caller)
    const audit = (error?: string) => ({ audit: [policyReadEvent(actor, { policy, error })] })
    if (!visible(access)) return { ...problems.recordNotFound(policy), ...audit(notFoundWords(policy)) }
    if (!access.owns) return { ...problems.forbidden(), ...audit('Forbidden') }
    if (depth === undefined || limit === undefined)
      return { ...problems.badRequest(), ...audit("'depth' or 'limit' is no number, or out of range") }
    const { entries, size } = effectivePolicy(facts, policy, depth)
    if (size > limit) {
      const message = `CONJ00164E Policy max allowed 'limit' = ${limit} exceeded. Value for policy is: ${size}`
      return { ...problems.unprocessable(message), ...audit(message) }
    }
    const body = wantsJson
      ? json(effectiveJson(entries))
      : ({ kind: 'bytes', bytes: utf8(effectiveYaml(entries)), type: 'application/x-yaml' } as const)
    return answer(200, body, audit())
  },
})

export const effectivePolicyRoutes: readonly AnyRoute[] = [effective]
