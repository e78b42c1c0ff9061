// Two ends of a connection in memory, which a test can cut after a number of messages.
import type { Wire } from '#shared/replication/wire.ts'

export type WirePair = { readonly near: Wire; readonly far: Wire; cut(): void }

/** `passes`: asked for every message before it arrives; the first `false` breaks the connection and loses it. */
export function wirePair(passes: (message: Uint8Array) => boolean = () => true): WirePair {
  const toFar = inbox()
  const toNear = inbox()
  const end = (error?: Error): void => {
    toFar.end(error)
    toNear.end(error)
  }
  const cut = (): void => end(new Error('the connection broke'))
  const side = (out: Inbox, incoming: Inbox): Wire => ({
    backlogBytes: 0,
    async send(message) {
      if (out.ended()) throw new Error('the connection is closed')
      if (passes(message)) out.put(message)
      else cut()
    },
    messages: incoming.messages,
    close: () => end(),
  })
  return { near: side(toFar, toNear), far: side(toNear, toFar), cut }
}

type Inbox = ReturnType<typeof inbox>

function inbox() {
  const held: Uint8Array[] = []
  let ended: { readonly error: Error | undefined } | undefined
  let wake: () => void = () => undefined
  return {
    ended: () => ended !== undefined,
    put(message: Uint8Array) {
      held.push(message)
      wake()
    },
    end(error?: Error) {
      ended ??= { error }
      wake()
    },
    async *messages(): AsyncGenerator<Uint8Array> {
      for (;;) {
        const next = held.shift()
        if (next !== undefined) yield next
        else if (ended?.error !== undefined) throw ended.error
        else if (ended !== undefined) return
        else
          await new Promise<void>((resolve) => {
            wake = resolve
          })
      }
    },
  }
}
