// Large policies are loaded on a thread of their own: reading a text of megabytes and planning what it changes take
// seconds, and anybody with a token may send one. Requests and heartbeats go on meanwhile; other writes wait only while
// the thread stores what it has made ready, in a turn that the writer gives it (ledger/planned.ts).
import { Worker } from 'node:worker_threads'
import type { AskedElsewhere, Performed } from '#shared/api/node.ts'
import type { ApiSettings } from '#shared/api/settings.ts'
import { type Code, DomainError } from '#shared/base/errors.ts'
import { limits } from '#shared/base/limits.ts'
import type { Head } from './ledger/storing.ts'
import type { Stored, Turns } from './ledger/writer.ts'

/** What the thread is started with. */
export type LoaderStart = {
  readonly databaseUrl: string
  readonly epoch: number
  readonly settings: ApiSettings
  readonly dataKeyFile: string
}

export type SentError = {
  readonly code: Code | undefined
  readonly message: string
  readonly target?: string | undefined
  /** Its message, for the log. */
  readonly cause?: string | undefined
}

/** `id`: of the load that it is about. */
export type ToLoader = { readonly id: number } & (
  | { readonly kind: 'load'; readonly asked: AskedElsewhere }
  | { readonly kind: 'entered' }
  | { readonly kind: 'turn'; readonly head: Head; readonly at: number }
  | { readonly kind: 'refused'; readonly error: SentError }
)

export type FromLoader = { readonly id: number } & (
  | { readonly kind: 'enter'; readonly lane: string }
  | { readonly kind: 'leave'; readonly lane: string }
  | { readonly kind: 'turn' }
  | { readonly kind: 'stored'; readonly stored: Stored }
  | { readonly kind: 'unstored'; readonly error: SentError }
  | { readonly kind: 'done'; readonly performed: Performed }
  | { readonly kind: 'failed'; readonly error: SentError }
)

type Settle<T> = { readonly resolve: (value: T) => void; readonly reject: (error: unknown) => void }

/** A load as this side knows it. */
type Load = Settle<Performed> & { lane: string | undefined; turn: Settle<Stored> | undefined }

export type Loader = {
  readonly load: (asked: AskedElsewhere) => Promise<Performed>
  close(): Promise<void>
}

export function createLoader(start: LoaderStart, turns: Turns): Loader {
  const loads = new Map<number, Load>()
  let worker: Worker | undefined
  let rest: NodeJS.Timeout | undefined
  let lastId = 0

  function open(): Worker {
    const opened = new Worker(new URL('./loader-thread.ts', import.meta.url), { workerData: start })
    // It keeps no process up; those who wait for it do.
    opened.unref()
    const tell = (message: ToLoader): void => opened.postMessage(message)
    opened.on('message', (message: FromLoader) => {
      const load = loads.get(message.id)
      if (load !== undefined) heard(load, message, tell)
    })
    opened.on('error', (cause) => lose(opened, cause))
    opened.on('exit', () => lose(opened, undefined))
    return opened
  }

  function heard(load: Load, message: FromLoader, tell: (message: ToLoader) => void): void {
    const { id } = message
    const refuse = (error: unknown): void => tell({ kind: 'refused', id, error: sentError(error) })
    switch (message.kind) {
      case 'enter':
        turns.enter(message.lane).then(() => {
          // The thread may be gone by now, and the load with it.
          if (!loads.has(id)) return turns.leave(message.lane)
          load.lane = message.lane
          tell({ kind: 'entered', id })
        }, refuse)
        break
      case 'leave':
        leave(load)
        break
      case 'turn':
        turns
          .turn((head, at) => {
            if (!loads.has(id)) return Promise.reject(lost(undefined))
            tell({ kind: 'turn', id, head, at })
            return new Promise((resolve, reject) => {
              load.turn = { resolve, reject }
            })
          })
          // What came of the turn itself is said with `done` and `failed`.
          .catch((error: unknown) => {
            if (load.turn === undefined) refuse(error)
          })
        break
      case 'stored':
        load.turn!.resolve(message.stored)
        break
      case 'unstored':
        load.turn!.reject(revived(message.error))
        break
      case 'done':
        end(id, load)
        load.resolve(message.performed)
        break
      case 'failed':
        end(id, load)
        load.reject(revived(message.error))
    }
  }

  function leave(load: Load): void {
    if (load.lane !== undefined) turns.leave(load.lane)
    load.lane = undefined
  }

  function end(id: number, load: Load): void {
    loads.delete(id)
    leave(load)
    // A large text leaves hundreds of megabytes behind: they go with the thread.
    clearTimeout(rest)
    if (loads.size === 0) rest = setTimeout(() => void stop(), limits.policyLoaderRestMs).unref()
  }

  function lose(gone: Worker, cause: unknown): void {
    if (worker !== gone) return
    worker = undefined
    for (const [id, load] of loads) {
      end(id, load)
      const error = lost(cause, load.turn !== undefined)
      load.turn?.reject(error)
      load.reject(error)
    }
    clearTimeout(rest)
  }

  async function stop(): Promise<void> {
    const ending = worker
    clearTimeout(rest)
    if (ending !== undefined) lose(ending, undefined)
    await ending?.terminate()
  }

  return {
    load(asked) {
      if (loads.size >= limits.policiesLoading)
        return Promise.reject(new DomainError('unavailable', 'too many policies are being loaded; try again'))
      clearTimeout(rest)
      worker ??= open()
      const id = ++lastId
      worker.postMessage({ kind: 'load', id, asked } satisfies ToLoader)
      return new Promise((resolve, reject) => {
        loads.set(id, { resolve, reject, lane: undefined, turn: undefined })
      })
    },
    close: stop,
  }
}

const lost = (cause: unknown, inItsTurn = false): DomainError =>
  new DomainError(
    'unavailable',
    inItsTurn
      ? 'outcome unknown: the thread that stored the policy was lost'
      : 'the policy was not loaded; try again',
    { cause },
  )

export function sentError(error: unknown): SentError {
  if (error instanceof DomainError) {
    const { code, message, target, cause } = error
    return { code, message, target, cause: cause instanceof Error ? cause.message : undefined }
  }
  return { code: undefined, message: error instanceof Error ? (error.stack ?? error.message) : String(error) }
}

export function revived({ code, message, target, cause }: SentError): Error {
  if (code === undefined) return new Error(message)
  return new DomainError(code, message, {
    ...(target === undefined ? {} : { target }),
    ...(cause === undefined ? {} : { cause: new Error(cause) }),
  })
}
