// Health of other nodes as seen from here (cluster 9). Only nodes that the settings name are asked, and nobody can make
// this node ask one of them more than once at a time.

import { isObject, type Json, parseJson } from '../base/json.ts'
import { limits } from '../base/limits.ts'
import { boundedText } from './bounded-text.ts'
import type { Health, NodeIo } from './node.ts'
import type { NamedUrl } from './setting-tables.ts'

/** Of two entries with one name the later one counts. */
export function createRemoteHealth(nodes: readonly NamedUrl[]): NodeIo['remoteHealth'] {
  const urls = new Map(nodes.map(({ name, url }) => [name, url]))
  const underWay = new Map<string, Promise<Health>>()
  return async (name, role) => {
    const url = urls.get(name)
    if (url === undefined) return undefined
    const asked = role !== undefined && roles.has(role) ? `?role=${role}` : ''
    const key = `${name}${asked}`
    const same = underWay.get(key)
    if (same !== undefined) return same
    const answered = ask(`${url}/health${asked}`).finally(() => underWay.delete(key))
    underWay.set(key, answered)
    return answered
  }
}

const roles: ReadonlySet<string> = new Set(['master', 'standby', 'follower'])

const unwell = (error: string): Health => ({ ok: false, body: { ok: false, error } })

/** Never rejects. What goes wrong is said without the address. */
async function ask(url: string): Promise<Health> {
  try {
    const response = await fetch(url, {
      // Whoever it sends us to is none of the nodes.
      redirect: 'manual',
      signal: AbortSignal.timeout(limits.remoteHealthMs),
    })
    if (response.status < 200 || (response.status >= 300 && response.status < 400))
      return unwell('it cannot be reached')
    const text = await boundedText(response, limits.remoteHealthBytes)
    const body = text === undefined ? undefined : parseJson(text)
    if (!isObject(body)) return unwell(`its answer, with status ${response.status}, is no health`)
    return { ok: response.status === 200, body: body as Json }
  } catch (error) {
    const late = error instanceof Error && error.name === 'TimeoutError'
    return unwell(late ? `no answer within ${limits.remoteHealthMs} ms` : 'it cannot be reached')
  }
}
