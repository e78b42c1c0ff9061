/**
 * A connection between two nodes, whatever carries it: a socket with length-prefixed frames, or a WebSocket.
 * Messages arrive whole and in order.
 */
export interface Wire {
  /** Queues one message; resolves when the carrier accepts more. Rejects when the wire is closed. */
  send(message: Uint8Array): Promise<void>
  /** Bytes queued and not yet handed to the carrier. */
  readonly backlogBytes: number
  /** Ends when the peer closes; throws when the connection breaks or a message is over `limits.partBytes`. */
  messages(): AsyncIterable<Uint8Array>
  close(reason?: string): void
  /** This end lost its memory and the wire was not lost: what was said on it before still holds. */
  readonly resumed?: boolean
}

/** Opens a wire to the Leader. Rejects with a reason an operator can use. */
export type Dial = (path: '/replication/stream' | '/replication/audit', signal: AbortSignal) => Promise<Wire>
