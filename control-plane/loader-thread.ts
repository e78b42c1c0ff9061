// The thread that loads large policies (loader.ts): the same routes over a ledger that takes turns.
import { parentPort, workerData } from 'node:worker_threads'
import type { AskedElsewhere, Performed } from '#shared/api/node.ts'
import type { Outcome } from '#shared/api/outcome.ts'
import { allRoutes } from '#shared/api/routes/index.ts'
import { perform } from '#shared/api/run.ts'
import { utf8 } from '#shared/base/bytes.ts'
import { limits } from '#shared/base/limits.ts'
import { randomBytes } from '#shared/base/native-crypto.ts'
import { loadKeyring } from '#shared/node/keys.ts'
import { readLoad } from '#shared/policy/load.ts'
import { connect } from './ledger/connection.ts'
import { createPlannedLedger } from './ledger/planned.ts'
import type { Turns } from './ledger/writer.ts'
import { type FromLoader, type LoaderStart, revived, sentError, type ToLoader } from './loader.ts'

const { databaseUrl, epoch, settings, dataKeyFile } = workerData as LoaderStart
// Each load has one connection from its beginning to its end.
const database = connect(databaseUrl, limits.policiesLoading)
const keyring = loadKeyring(dataKeyFile)
// One thing of a load is waited for at a time.
const waiting = new Map<number, (message: ToLoader) => void>()
const tell = (message: FromLoader): void => parentPort!.postMessage(message)

parentPort!.on('message', (message: ToLoader) => {
  const { id } = message
  if (message.kind === 'load') {
    loaded(id, message.asked).then(
      (performed) => tell({ kind: 'done', id, performed }),
      (error: unknown) => tell({ kind: 'failed', id, error: sentError(error) }),
    )
    return
  }
  const heard = waiting.get(id)
  waiting.delete(id)
  heard?.(message)
})

async function loaded(
  id: number,
  { route: name, params, query, body, caller, now }: AskedElsewhere,
): Promise<Performed> {
  const route = allRoutes.find((candidate) => candidate.id === name)!
  const input: unknown = route.input({ params, query, header: () => undefined, body }, settings, readLoad)
  const ledger = createPlannedLedger({ database, epoch, turns: turnsOf(id) })
  const node = { ledger, keyring: await keyring, random: randomBytes, settings }
  const { outcome, ...performed } = await perform({ route, input, caller, now, node })
  return { ...performed, outcome: light(outcome) }
}

/** The writer's turns, asked for from here. */
function turnsOf(id: number): Turns {
  const asked = (message: FromLoader): Promise<ToLoader> => {
    tell(message)
    return new Promise((resolve, reject) => {
      waiting.set(id, (reply) => (reply.kind === 'refused' ? reject(revived(reply.error)) : resolve(reply)))
    })
  }
  return {
    async enter(lane) {
      await asked({ kind: 'enter', id, lane })
    },
    leave: (lane) => tell({ kind: 'leave', id, lane }),
    async turn(store) {
      const turn = await asked({ kind: 'turn', id })
      if (turn.kind !== 'turn') throw new Error(`${turn.kind} instead of a turn`)
      try {
        tell({ kind: 'stored', id, stored: await store(turn.head, turn.at) })
      } catch (error) {
        tell({ kind: 'unstored', id, error: sentError(error) })
        throw error
      }
    },
  }
}

/** As it is answered: what is stored stays here, and a long list of keys is made a text here. */
function light(outcome: Outcome): Outcome {
  const { status, body } = outcome
  const bare = { ...outcome, changes: [], audit: [] }
  if (status >= 400 || body.kind !== 'json') return bare
  return {
    ...bare,
    body: { kind: 'bytes', bytes: utf8(JSON.stringify(body.value)), type: 'application/json; charset=utf-8' },
  }
}
