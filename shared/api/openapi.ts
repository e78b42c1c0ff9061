// The OpenAPI document, made from the table of routes: what a row does not say is not in it (issue: `/openapi.json`).
import type { Json } from '../base/json.ts'
import { API_VERSION } from './info.ts'
import { answer, json } from './outcome.ts'
import { V2_TYPE } from './respond.ts'
import { type AnyRoute, type Docs, route } from './route.ts'

/** The row that serves the document of a table. Public, as the answer of `/` is: it tells nothing of this node. */
export function openApiRoute(table: () => readonly AnyRoute[]): AnyRoute {
  let made: Json | undefined
  return route({
    id: 'openApi',
    method: 'GET',
    path: '/openapi.json',
    docs: { does: 'This document', gives: 'json', answers: [200] },
    access: 'open',
    effect: 'read',
    input: () => undefined,
    facts: () => ({}),
    decide() {
      made ??= openApi(table())
      return answer(200, json(made))
    },
  })
}

type Mutable = Record<string, Json>

export function openApi(routes: readonly AnyRoute[]): Json {
  const paths: Record<string, Mutable> = {}
  // Rows of one path and method differ by a query key only, which OpenAPI cannot tell apart: they are one operation.
  const operations = Map.groupBy(routes, ({ method, path }) => `${method} ${path}`)
  for (const rows of operations.values()) {
    const { method, path } = rows[0]!
    const templated = path.replace(/:(\w+)\*?/g, '{$1}')
    paths[templated] = { ...paths[templated], [method.toLowerCase()]: operationOf(rows) }
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Holdfast',
      version: API_VERSION,
      description:
        'The Conjur HTTP API. Ids are percent-encoded, slashes included. Followers serve what reads and answer 405 to ' +
        'what writes.',
    },
    paths,
    components: {
      securitySchemes: {
        token: {
          type: 'apiKey',
          in: 'header',
          name: 'Authorization',
          description: 'Token token="BASE64", the base64 of the JSON that authenticate answered',
        },
        basic: { type: 'http', scheme: 'basic' },
      },
      schemas: { Error: errorSchema, V2Error: v2ErrorSchema },
    },
  }
}

const text = (description: string): Json => ({ type: 'string', description })
const errorSchema: Json = {
  type: 'object',
  properties: {
    error: {
      type: 'object',
      properties: {
        code: text('For programs'),
        message: text('For people'),
        target: text('What it is about'),
        details: {},
      },
    },
  },
}
const v2ErrorSchema: Json = {
  type: 'object',
  properties: { code: text('The status'), message: text('For people') },
}

function operationOf(rows: readonly AnyRoute[]): Json {
  // The row without a key, which serves when no other does.
  const plain = rows.find(({ selector }) => selector === undefined) ?? rows[0]!
  const selected = rows.filter(({ selector }) => selector !== undefined)
  const queries = Object.assign({}, ...rows.map(({ docs }) => docs.query ?? {})) as Record<string, string>
  const statuses = [...new Set(rows.flatMap(answersOf))].sort((a, b) => a - b)
  const body = rows.find(({ docs }) => docs.takes !== undefined)?.docs
  return {
    operationId: plain.id,
    summary: plain.docs.does,
    ...(rows.length > 1 ? { description: rows.map(wordsOf).join('\n') } : {}),
    parameters: [
      ...[...plain.path.matchAll(/:(\w+)/g)].map(([, name]) => parameter(name!, 'path')),
      ...selected.map(({ selector, docs }) => parameter(selector!, 'query', docs.does)),
      ...Object.entries(queries).map(([name, what]) => parameter(name, 'query', what)),
      ...(plain.docs.gives === 'v2' ? [acceptV2] : []),
    ],
    ...(body === undefined ? {} : { requestBody: { required: true, content: contentTaken(body) } }),
    responses: {
      ...Object.fromEntries(statuses.map((status) => [status, responseOf(status, plain.docs)])),
      default: {
        description: 'A request that cannot be read, or a node that cannot answer (400, 413, 431, 5xx)',
      },
    },
    security: securityOf(plain),
  }
}

/** Every status that a row is answered with. Where a token is looked at, it may be no good, or its role be gone. */
export const answersOf = ({ access, docs }: AnyRoute): readonly number[] =>
  access === 'open' ? docs.answers : [...new Set([...docs.answers, 401, 403])]

const wordsOf = ({ selector, docs }: AnyRoute): string =>
  selector === undefined ? docs.does : `With ?${selector}: ${docs.does}`

function parameter(name: string, place: 'path' | 'query', description?: string): Json {
  return {
    name,
    in: place,
    required: place === 'path',
    schema: { type: 'string' },
    ...(description === undefined ? {} : { description }),
  }
}

const acceptV2: Json = {
  name: 'Accept',
  in: 'header',
  required: true,
  schema: { type: 'string', const: V2_TYPE },
}

const types: Record<NonNullable<Docs['takes' | 'gives']>, readonly string[]> = {
  json: ['application/json'],
  // A V2 body is JSON whatever its type says.
  v2: [V2_TYPE],
  form: ['application/x-www-form-urlencoded', 'application/json'],
  text: ['text/plain'],
  bytes: ['application/octet-stream'],
  yaml: ['application/x-yaml'],
  html: ['text/html', 'application/json'],
  pem: ['application/json', 'application/x-pem-file'],
  policy: ['application/x-yaml', 'application/json'],
}

function contentTaken({ takes, fields = {} }: Docs): Json {
  const names = takes === 'v2' ? ['application/json'] : types[takes!]
  const properties = Object.fromEntries(
    Object.entries(fields).map(([name, what]) => [name, { description: what }]),
  )
  const schema: Json =
    Object.keys(fields).length > 0
      ? { type: 'object', properties }
      : takes === 'bytes'
        ? {}
        : { type: 'string' }
  return Object.fromEntries(names.map((name) => [name, { schema }]))
}

function responseOf(status: number, { gives }: Docs): Json {
  const description = meanings[status] ?? 'Answered'
  if (status === 204 || status === 202) return { description }
  if (status < 400) {
    const names = gives === undefined ? [] : types[gives]
    return { description, ...(names.length > 0 ? { content: contentOf(names, {}) } : {}) }
  }
  // These two say nothing, on purpose.
  if (status === 401 || status === 403) return { description }
  const schema = { $ref: `#/components/schemas/${gives === 'v2' ? 'V2Error' : 'Error'}` }
  return { description, content: contentOf(gives === 'v2' ? [V2_TYPE] : ['application/json'], schema) }
}

const contentOf = (names: readonly string[], schema: Json): Json =>
  Object.fromEntries(names.map((name) => [name, { schema }]))

const meanings: Readonly<Record<number, string>> = {
  200: 'Done',
  201: 'Made, or stored',
  202: 'Accepted',
  204: 'Done; nothing to say',
  400: 'The request cannot be understood',
  401: 'No credentials, or wrong ones',
  403: 'Seen, but not allowed; or the caller is no more',
  404: 'Not there, or not to be seen by the caller',
  405: 'Not allowed here: a Follower writes nothing',
  406: 'The value cannot be put into JSON',
  409: 'It is there already, or another load is under way',
  422: 'Understood, and wrong',
  500: 'Something that is asked about is not in order',
  501: 'There is no such thing to ask',
  502: 'Not healthy, or the secret engine is not',
}

function securityOf({ access, docs }: AnyRoute): Json[] {
  if (docs.basic) return access === 'optional' ? [{ basic: [] }, { token: [] }] : [{ basic: [] }]
  return { open: [], optional: [{}, { token: [] }], token: [{ token: [] }] }[access]
}
