// In workerd, on the SQLite of a Durable Object: one for each case.
import { join } from 'node:path'
import { afterAll, beforeAll } from 'vitest'
import { encodeChanges, put } from '#shared/ledger/change.ts'
import type { Snapshot } from '#shared/ledger/store.ts'
import { temporaryFolder } from '../support/copy.ts'
import { edgeNode } from '../support/edge.ts'
import { bundleEdge } from '../support/edge-bundle.ts'
import { freePorts, type NodeProcess } from '../support/nodes.ts'
import { Source } from '../support/source.ts'
import { fromText, toText } from '../support/store-words.ts'
import { readStoreCases } from './read-store.cases.ts'

const folder = temporaryFolder()
let worker: NodeProcess
let cases = 0
beforeAll(async () => {
  bundleEdge(folder.path, 'test/support/store-worker.ts')
  const [port] = await freePorts(1)
  worker = edgeNode({
    directory: folder.path,
    port: port!,
    vars: {},
    secrets: {},
    bundle: join(folder.path, 'store-worker.js'),
  })
  worker.start()
})
afterAll(async () => {
  await worker.kill()
  folder.remove()
})

async function asked(url: string, body: string, headers: Record<string, string> = {}): Promise<string> {
  const answer = await fetch(url, { method: 'POST', body, headers })
  const text = await answer.text()
  if (!answer.ok) throw new Error(`the Worker answered ${answer.status}: ${text}\n${worker.log}`)
  return text
}

readStoreCases('the SQLite of a Durable Object', async (changes) => {
  const source = new Source()
  source.commit(changes)
  const { header, chunks } = source.snapshot()
  const url = `${worker.url}/case-${cases++}`
  const texts = chunks.map(({ table, rows }) => encodeChanges(rows.map((row) => put(table, row))))
  for (;;) {
    const filled = await asked(url, JSON.stringify({ header, chunks: texts }), { 'X-Fill': 'yes' }).catch(
      // Not listening yet.
      (error: unknown) => (error instanceof TypeError ? undefined : Promise.reject(error)),
    )
    if (filled !== undefined) break
  }
  return {
    store: { read: async (request) => fromText(await asked(url, toText(request))) as Snapshot },
    position: source.position,
    close: () => undefined,
  }
})
