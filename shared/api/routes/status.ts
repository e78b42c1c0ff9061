// What a node says of itself and of its caller (http-api 7, cluster 9, 10).
import { whoamiEvent } from '../../audit/event.ts'
import { isObject, type Json } from '../../base/json.ts'
import { jsonInstant } from '../../base/time.ts'
import { loginOfRole } from '../../id/login.ts'
import { accountOf } from '../../id/resource-id.ts'
import { configuredQuery } from '../../ledger/reads/authenticator.ts'
import { actorOf } from '../actor.ts'
import { API_VERSION, installedAuthenticators } from '../info.ts'
import type { Health } from '../node.ts'
import { answer, json, type Outcome } from '../outcome.ts'
import { problems } from '../problems.ts'
import { type Query, textOf } from '../request.ts'
import { type AnyRoute, route } from '../route.ts'

const index = route({
  id: 'index',
  method: 'GET',
  path: '/',
  docs: { does: 'The version, as JSON or as a page', gives: 'html', answers: [200] },
  access: 'open',
  effect: 'read',
  input: ({ header }) => /\bjson\b/.test(header('accept') ?? ''),
  facts: () => ({}),
  decide: (_facts, wantsJson) =>
    wantsJson
      ? answer(200, json({ version: API_VERSION }))
      : answer(200, {
          kind: 'bytes',
          bytes: new TextEncoder().encode(page),
          type: 'text/html; charset=utf-8',
        }),
})

const page = `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Holdfast</title></head>
<body><h1>Holdfast</h1><dl><dt>Conjur API</dt><dd>Version ${API_VERSION}</dd></dl></body></html>
`

const info = route({
  id: 'info',
  method: 'GET',
  path: '/info',
  docs: { does: 'Release, role and configuration of this node', gives: 'json', answers: [200] },
  access: 'open',
  effect: 'read',
  input: () => undefined,
  facts: () => ({}),
  prove: async (_facts, _input, io) => io.info(),
  decide: (_facts, _input, _context, report) => answer(200, json(report)),
})

/** `role` in the words of the wire. */
type HealthAsked = { readonly maxAgeMs: number | undefined; readonly role: string | undefined }

export function healthAsked(query: Query): HealthAsked {
  const maxAge = textOf(query, 'max_age_ms')
  const role = textOf(query, 'role')
  return {
    maxAgeMs: maxAge !== undefined && /^\d{1,15}$/.test(maxAge) ? Number(maxAge) : undefined,
    role: role === 'leader' ? 'master' : role,
  }
}

/** A Standby is well only for those who ask for one: balancers are to keep away from it (cluster 9). */
export function healthOutcome({ ok, body }: Health, { maxAgeMs, role }: HealthAsked): Outcome {
  const said = isObject(body) ? body : {}
  const replication = isObject(said.replication) ? said.replication : {}
  const tooOld =
    maxAgeMs !== undefined && typeof replication.age_ms === 'number' && replication.age_ms > maxAgeMs
  const meant = role === undefined ? said.role !== 'standby' : said.role === role
  const well = ok && meant && !tooOld
  return answer(well ? 200 : 502, json({ ...(said as { [key: string]: Json }), ok: well }), {
    headers: well ? { 'Conjur-Health': 'OK' } : {},
  })
}

export const remoteOutcome = (name: string, health: Health | undefined): Outcome =>
  health === undefined
    ? problems.notFound(`no node "${name}" is known here`)
    : answer(health.ok ? 200 : 502, json(health.body))

const role = 'Well only as one of these: master, standby, follower'

const health = route({
  id: 'health',
  method: 'GET',
  path: '/health',
  docs: {
    does: 'Whether this node is well',
    query: { max_age_ms: 'Unhealthy when its data is older', role },
    gives: 'json',
    answers: [200, 502],
  },
  access: 'open',
  effect: 'read',
  input: ({ query }) => healthAsked(query),
  facts: () => ({}),
  prove: async (_facts, _input, io) => io.health(),
  decide: (_facts, asked, _context, report) => healthOutcome(report, asked),
})

const remoteHealth = route({
  id: 'remoteHealth',
  method: 'GET',
  path: '/remote_health/:host',
  docs: {
    does: 'Whether another node is well, as seen from this one',
    query: { role },
    gives: 'json',
    answers: [200, 404, 502],
  },
  access: 'open',
  effect: 'read',
  input: ({ params, query }) => ({ name: params.host!, role: healthAsked(query).role }),
  facts: () => ({}),
  prove: (_facts, { name, role }, io) => io.remoteHealth(name, role),
  decide: (_facts, { name }, _context, report) => remoteOutcome(name, report),
})

const whoami = route({
  id: 'whoami',
  method: 'GET',
  path: '/whoami',
  docs: { does: 'Whom the token names', gives: 'json', answers: [200, 403] },
  access: 'token',
  effect: 'read',
  input: ({ header }) => ({ userAgent: header('user-agent') ?? null }),
  facts: () => ({}),
  decide(_facts, { userAgent }, { caller }) {
    const role = caller.role!
    const body = {
      client_ip: caller.clientIp,
      user_agent: userAgent,
      account: accountOf(role),
      username: loginOfRole(role),
      token_issued_at: jsonInstant(caller.tokenIssuedAt!),
    }
    return answer(200, json(body), { audit: [whoamiEvent(actorOf(caller))] })
  },
})

const authenticators = route({
  id: 'authenticators',
  method: 'GET',
  path: '/authenticators',
  docs: { does: 'Authenticators that are installed, configured and enabled', gives: 'json', answers: [200] },
  access: 'open',
  effect: 'read',
  input: (_request, settings) => settings,
  facts: ({ account }) => ({ webservices: configuredQuery(account) }),
  decide({ webservices }, settings) {
    const switchedOn = webservices.filter((webservice) => webservice.switchedOn)
    return answer(
      200,
      json({
        installed: [...installedAuthenticators],
        configured: ['authn', ...webservices.map(({ name }) => name)].sort(),
        enabled: [...new Set([...settings.authenticators, ...switchedOn.map(({ name }) => name)])].sort(),
      }),
    )
  },
})

/** What every node answers, also one that serves nothing else. */
export const nodeRoutes: readonly AnyRoute[] = [info, health, remoteHealth]

export const statusRoutes: readonly AnyRoute[] = [index, ...nodeRoutes, whoami, authenticators]
