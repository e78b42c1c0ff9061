// What a node says of itself and of its caller (http-api 7, cluster 9, 10).
import { whoamiEvent } from '../../audit/event.ts'
import { isObject } from '../../base/json.ts'
import { jsonInstant } from '../../base/time.ts'
import { loginOfRole } from '../../id/login.ts'
import { accountOf } from '../../id/resource-id.ts'
import { configuredQuery } from '../../ledger/reads/authenticator.ts'
import { actorOf } from '../actor.ts'
import { API_VERSION, installedAuthenticators } from '../info.ts'
import { answer, json } from '../outcome.ts'
import { textOf } from '../request.ts'
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

const health = route({
  id: 'health',
  method: 'GET',
  path: '/health',
  docs: {
    does: 'Whether this node is well',
    query: { max_age_ms: 'Unhealthy when its data is older' },
    gives: 'json',
    answers: [200, 502],
  },
  access: 'open',
  effect: 'read',
  input: ({ query }) => {
    const maxAge = textOf(query, 'max_age_ms')
    return { maxAgeMs: maxAge !== undefined && /^\d{1,15}$/.test(maxAge) ? Number(maxAge) : undefined }
  },
  facts: () => ({}),
  prove: async (_facts, _input, io) => io.health(),
  decide(_facts, { maxAgeMs }, _context, { ok, body }) {
    const replication = isObject(body) && isObject(body.replication) ? body.replication : {}
    const tooOld =
      maxAgeMs !== undefined && typeof replication.age_ms === 'number' && replication.age_ms > maxAgeMs
    const well = ok && !tooOld
    return answer(well ? 200 : 502, json(body), well ? { headers: { 'Conjur-Health': 'OK' } } : {})
  },
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

export const statusRoutes: readonly AnyRoute[] = [index, info, health, whoami, authenticators]
