// The API as one value: a function from a request to an answer, with a door for runtimes that speak Request and
// Response. Node's own door (shared/node/listen.ts) calls `handle` and builds neither object.
import { concat } from '../base/bytes.ts'
import { createRequestIds } from './identify.ts'
import { createMatcher } from './match.ts'
import type { ApiNode } from './node.ts'
import { type Answer, bodyTooLarge, type RawRequest } from './request.ts'
import type { AnyRoute } from './route.ts'
import { allRoutes } from './routes/index.ts'
import { run } from './run.ts'

export type Api = {
  readonly handle: (request: RawRequest) => Promise<Answer>
  /** `peer`: address of the TCP peer, which only the runtime knows. */
  readonly fetch: (request: Request, peer: string) => Promise<Response>
}

export function createApi(node: ApiNode, routes: readonly AnyRoute[] = allRoutes): Api {
  const match = createMatcher(routes)
  const requestIdOf = createRequestIds(node.random)
  const handle = (request: RawRequest): Promise<Answer> =>
    run(match, request, node, requestIdOf(request.header('x-request-id')))
  return {
    handle,
    fetch: async (request, peer) => responseOf(request.method, await handle(rawOf(request, peer))),
  }
}

function rawOf(request: Request, peer: string): RawRequest {
  const { url } = request
  const start = url.indexOf('/', url.indexOf('//') + 2)
  const question = url.indexOf('?', start)
  return {
    method: request.method,
    path: url.slice(start, question < 0 ? undefined : question),
    query: question < 0 ? '' : url.slice(question + 1),
    header: (name) => request.headers.get(name) ?? undefined,
    body: (limitBytes) => readBounded(request, limitBytes),
    peer,
  }
}

async function readBounded(request: Request, limitBytes: number): Promise<Uint8Array> {
  const parts: Uint8Array[] = []
  let length = 0
  for await (const part of request.body ?? []) {
    length += part.length
    if (length > limitBytes) throw bodyTooLarge(limitBytes)
    parts.push(part)
  }
  return concat(...parts)
}

function responseOf(method: string, answer: Answer): Response {
  const body = method === 'HEAD' ? null : (answer.body ?? null)
  return new Response(body as BodyInit | null, { status: answer.status, headers: answer.headers })
}
