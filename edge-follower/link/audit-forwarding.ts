// The talk with the Leader about audit records, as a pure machine: batches in order, one under way at a time, and
// nothing forgotten here that was not sent on this connection and stored there (I10).

export type Forwarding = {
  /** The Leader has answered the greeting. */
  readonly greeted: boolean
  /** Newest number that is sent on this connection, or that the Leader had acknowledged before. */
  readonly sent: number
  readonly underWay: boolean
  /** The last batch was as large as one may be, so more is waiting. */
  readonly full: boolean
  /** A pause is running, after which what has come together is sent. */
  readonly pausing: boolean
}

export type ForwardingEvent =
  /** Records became durable in the queue. */
  | { readonly kind: 'appended' }
  | { readonly kind: 'paused' }
  /** The Leader holds everything up to `seq`. The first one answers the greeting. */
  | { readonly kind: 'stored'; readonly seq: number }
  /** What a `send` found: the newest number of the batch, undefined when there was nothing. */
  | { readonly kind: 'sent'; readonly upTo: number | undefined; readonly full: boolean }

export type ForwardingEffect =
  | { readonly kind: 'send'; readonly after: number }
  | { readonly kind: 'acknowledge'; readonly upTo: number }
  | { readonly kind: 'pause' }

type Step = readonly [Forwarding, readonly ForwardingEffect[]]

/** `acknowledged`: the newest number that the queue knows to be stored. */
export function startForwarding(acknowledged: number): Forwarding {
  return { greeted: false, sent: acknowledged, underWay: false, full: false, pausing: false }
}

const send = (state: Forwarding): Step => [
  { ...state, underWay: true },
  [{ kind: 'send', after: state.sent }],
]

export function stepForwarding(state: Forwarding, event: ForwardingEvent): Step {
  switch (event.kind) {
    case 'appended':
      if (!state.greeted || state.underWay || state.pausing) return [state, []]
      return [{ ...state, pausing: true }, [{ kind: 'pause' }]]
    case 'paused': {
      const next = { ...state, pausing: false }
      return state.underWay ? [next, []] : send(next)
    }
    case 'sent':
      // Nothing to send: the next record starts a pause.
      if (event.upTo === undefined) return [{ ...state, underWay: false, full: false }, []]
      return [{ ...state, sent: event.upTo, full: event.full }, []]
    case 'stored':
      return state.greeted ? afterBatch(state, event.seq) : send({ ...state, greeted: true })
  }
}

function afterBatch(state: Forwarding, seq: number): Step {
  // The Leader may name a higher number, when this queue is an old copy of itself. What was not compared there with
  // what is here must not be forgotten here: it is sent, and another history is found out.
  const upTo = Math.min(seq, state.sent)
  const [next, effects]: Step = state.full
    ? send({ ...state, sent: upTo })
    : [{ ...state, sent: upTo, underWay: false, pausing: true }, state.pausing ? [] : [{ kind: 'pause' }]]
  return [next, [{ kind: 'acknowledge', upTo }, ...effects]]
}
