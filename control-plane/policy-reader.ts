// Policy texts are read on a thread of their own: a text of ten megabytes takes seconds, anybody with a token may send
// one, and requests and heartbeats go on meanwhile.
import { Worker } from 'node:worker_threads'
import type { PolicyReader } from '#shared/api/node.ts'
import { DomainError } from '#shared/base/errors.ts'
import { limits } from '#shared/base/limits.ts'
import type { LoadMode } from '#shared/ledger/reads/policy.ts'
import { PolicyError } from '#shared/policy/errors.ts'
import { type LoadRead, readLoad } from '#shared/policy/load.ts'

export type ReadJob = {
  readonly id: number
  readonly body: Uint8Array
  readonly account: string
  readonly policy: string
  readonly mode: LoadMode
}

/** `read`: JSON, which is made and read in less than half the time that a copy of the objects takes. */
export type ReadDone =
  | { readonly id: number; readonly read: string }
  | { readonly id: number; readonly failed: string }

type Waiting = { readonly resolve: (read: LoadRead) => void; readonly reject: (error: unknown) => void }

export type PolicyReading = { readonly read: PolicyReader; close(): Promise<void> }

export function createPolicyReader(): PolicyReading {
  const waiting = new Map<number, Waiting>()
  let worker: Worker | undefined
  let rest: NodeJS.Timeout | undefined
  let lastId = 0

  function start(): Worker {
    const started = new Worker(new URL('./policy-reader-thread.ts', import.meta.url))
    // It keeps no process up; those who wait for it do.
    started.unref()
    started.on('message', (done: ReadDone) => {
      const job = waiting.get(done.id)
      waiting.delete(done.id)
      if ('failed' in done) job?.reject(new Error(done.failed))
      else job?.resolve(revived(done.read))
      // A large text leaves hundreds of megabytes behind: they go with the thread.
      clearTimeout(rest)
      if (waiting.size === 0) rest = setTimeout(() => void stop(), limits.policyReaderRestMs).unref()
    })
    started.on('error', (cause) => lose(started, cause))
    started.on('exit', () => lose(started, undefined))
    return started
  }

  function lose(lost: Worker, cause: unknown): void {
    if (worker !== lost) return
    worker = undefined
    const error = new DomainError('unavailable', 'the policy could not be read; try again', { cause })
    for (const job of waiting.values()) job.reject(error)
    waiting.clear()
  }

  async function stop(): Promise<void> {
    const ending = worker
    clearTimeout(rest)
    if (ending !== undefined) lose(ending, undefined)
    await ending?.terminate()
  }

  return {
    read(body, account, policy, mode) {
      if (body.length <= limits.policyInlineBytes) return readLoad(body, account, policy, mode)
      if (waiting.size >= limits.policiesRead)
        return Promise.reject(new DomainError('unavailable', 'too many policies are being read; try again'))
      clearTimeout(rest)
      worker ??= start()
      const id = ++lastId
      const job: ReadJob = { id, body, account, policy, mode }
      worker.postMessage(job)
      return new Promise((resolve, reject) => waiting.set(id, { resolve, reject }))
    },
    close: stop,
  }
}

type Sent = Exclude<LoadRead, { readonly error: PolicyError }> | { readonly error: SentError }
type SentError = Pick<PolicyError, 'problem' | 'mark' | 'at'>

export function sent(read: LoadRead): string {
  if (!('error' in read)) return JSON.stringify(read satisfies Sent)
  const { problem, mark, at } = read.error
  return JSON.stringify({ error: { problem, mark, at } } satisfies Sent)
}

function revived(text: string): LoadRead {
  const read = JSON.parse(text) as Sent
  return 'error' in read
    ? { error: new PolicyError(read.error.problem, read.error.mark, read.error.at) }
    : read
}
