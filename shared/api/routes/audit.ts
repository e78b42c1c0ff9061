// Queries over the collected audit (http-api 16). No permission is checked beyond the token, as in the reference.
import { DomainError } from '../../base/errors.ts'
import type { AuditFilter } from '../node.ts'
import { answer, json } from '../outcome.ts'
import { problems } from '../problems.ts'
import { type Query, textOf } from '../request.ts'
import { type AnyRoute, route } from '../route.ts'

const columns = ['facility', 'severity', 'hostname', 'appname', 'procid', 'msgid']

const DOCS = {
  ...Object.fromEntries(columns.map((column) => [column, 'Only records with this one'])),
  limit: 'Most records',
  offset: 'Records to pass over',
}

type Entity = Pick<AuditFilter, 'resource' | 'role' | 'entity'>

function filterOf(query: Query, entity: Entity): AuditFilter {
  const sdata: { id: string; parameter: string; value: string }[] = []
  const found: Record<string, string> = {}
  for (const [name, value] of query) {
    if (typeof value !== 'string') continue
    const slash = name.indexOf('/')
    if (slash > 0) sdata.push({ id: name.slice(0, slash), parameter: name.slice(slash + 1), value })
    else if (columns.includes(name)) found[name] = value
  }
  const named = (name: keyof Entity): Entity => {
    const value = textOf(query, name)
    return value === undefined ? {} : { [name]: value }
  }
  return {
    columns: found,
    sdata,
    ...named('resource'),
    ...named('role'),
    ...named('entity'),
    ...entity,
    ...count(query, 'limit'),
    ...count(query, 'offset'),
  }
}

function count(query: Query, name: 'limit' | 'offset'): Pick<AuditFilter, 'limit' | 'offset'> {
  const value = textOf(query, name)
  if (value === undefined) return {}
  if (!/^\d{1,9}$/.test(value)) throw new DomainError('argument_error', `'${name}' must be a whole number`)
  return { [name]: Number(value) }
}

const audit = (id: string, path: string, does: string, entity: (id: string) => Entity) =>
  route({
    id,
    method: 'GET',
    path,
    docs: { does, query: DOCS, gives: 'json', answers: [200, 404, 405, 422] },
    access: 'token',
    effect: 'read',
    input: ({ params, query }) => filterOf(query, entity(params.id ?? '')),
    facts: () => ({}),
    prove: async (_facts, filter, io) => io.auditRows?.(filter),
    decide(_facts, _filter, _context, rows) {
      if (rows === undefined) return problems.notReadable()
      return answer(rows.length === 0 ? 404 : 200, json(rows))
    },
  })

export const auditRoutes: readonly AnyRoute[] = [
  audit('auditAll', '/audit', 'Audit records, newest first', () => ({})),
  audit('auditResource', '/audit/resources/:id*', 'Those about a resource', (resource) => ({ resource })),
  audit('auditRole', '/audit/roles/:id*', 'Those about a role', (role) => ({ role })),
  audit('auditEntity', '/audit/entities/:id*', 'Those about a role or resource', (entity) => ({ entity })),
]
