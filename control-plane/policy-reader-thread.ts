// The thread that reads policy texts (policy-reader.ts).
import { parentPort } from 'node:worker_threads'
import { readLoad } from '#shared/policy/load.ts'
import { type ReadDone, type ReadJob, sent } from './policy-reader.ts'

parentPort!.on('message', ({ id, body, account, policy, mode }: ReadJob) => {
  const answer = (done: ReadDone): void => parentPort!.postMessage(done)
  try {
    answer({ id, read: sent(readLoad(body, account, policy, mode)) })
  } catch (error) {
    answer({ id, failed: error instanceof Error ? error.message : String(error) })
  }
})
