// The door to identity providers. Addresses that it is given stand in variables, which whoever may write them can set: it
// reaches no private network unless the operator has allowed it, follows no redirect, and bounds time and size.

export type OutgoingRequest = {
  readonly method: 'GET' | 'POST'
  /** http or https. */
  readonly url: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
  /** PEM of the authorities that the other side is checked with; undefined: those that the runtime trusts. */
  readonly ca?: string | undefined
}

export type OutgoingAnswer = {
  readonly status: number
  /** UTF-8, at most `limits.providerBytes`. */
  readonly text: string
}

/** Rejects with `OutgoingFailure`. */
export type Outgoing = (request: OutgoingRequest) => Promise<OutgoingAnswer>

export class OutgoingFailure extends Error {
  readonly kind: 'timeout' | 'not_allowed' | 'failed'
  /** `message`: what is wrong and what to do; no header, body or query of the request. */
  constructor(kind: OutgoingFailure['kind'], message: string) {
    super(message)
    this.name = 'OutgoingFailure'
    this.kind = kind
  }
}
