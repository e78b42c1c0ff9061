// Notes what requests of the cases were answered, for the test that holds the OpenAPI document against it. Loaded
// before every test file; the folder is made by seen-folder.ts.
import { writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { afterAll, expect } from 'vitest'
import { seenAgainName } from './seen-folder.ts'

const lines = new Set<string>()
const fetchAsIs = globalThis.fetch

globalThis.fetch = async (input, init) => {
  const response = await fetchAsIs(input, init)
  // The Worker in front may have answered, which is no route.
  if (new Headers(init?.headers).has('Holdfast-Follower')) return response
  const request = input instanceof Request ? input : undefined
  const { pathname, search } = new URL(request?.url ?? String(input))
  lines.add(`${response.status} ${init?.method ?? request?.method ?? 'GET'} ${pathname}${search}`)
  return response
}

afterAll(() => {
  const { testPath } = expect.getState()
  const name = seenAgainName(relative('', testPath!), process.env.HOLDFAST_TEST_FOLLOWER)
  writeFileSync(join(process.env.HOLDFAST_SEEN!, name), [...lines].join('\n'))
})
