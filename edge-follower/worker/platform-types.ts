// The platform as this Follower uses it: a Durable Object, its storage, its WebSockets.
import type { Region } from '#shared/enrolment/regions.ts'
import type { Cell } from '#shared/ledger/tables.ts'

/** A cell as the engine gives it: bytes come as an ArrayBuffer. */
export type EngineCell = string | number | null | ArrayBuffer

export type ObjectStorage = {
  readonly sql: {
    exec(sql: string, ...params: readonly Cell[]): { toArray(): Record<string, EngineCell>[] }
    readonly databaseSize: number
  }
  readonly kv: {
    get(key: string): unknown
    put(key: string, value: unknown): void
    delete(key: string): void
    list(options: { readonly prefix: string }): Iterable<[string, unknown]>
  }
  transactionSync<T>(body: () => T): T
  /** Resolves when everything written so far is durable. */
  sync(): Promise<void>
  getAlarm(): Promise<number | null>
  setAlarm(at: number): Promise<void>
}

export type EdgeSocket = {
  binaryType: 'arraybuffer' | 'blob'
  accept(): void
  send(message: ArrayBuffer | Uint8Array): void
  close(code?: number, reason?: string): void
  addEventListener(type: 'message', listener: (event: { data: string | ArrayBuffer }) => void): void
  addEventListener(type: 'close' | 'error', listener: () => void): void
  /** Stays with a socket whose object was put out of memory. */
  serializeAttachment(value: unknown): void
  deserializeAttachment(): unknown
}

export type ObjectState = {
  readonly id: { readonly name?: string }
  readonly storage: ObjectStorage
  /** Nothing else reaches the object before the body has settled. */
  blockConcurrencyWhile(body: () => Promise<void>): Promise<void>
  acceptWebSocket(socket: EdgeSocket): void
  getWebSockets(): EdgeSocket[]
  /** Puts the object out of memory; the next event starts it again. */
  abort(reason: string): void
}

export type ObjectNamespace = {
  getByName(name: string, options?: { locationHint: Region }): { fetch(request: Request): Promise<Response> }
}

/** Variables and secrets are text. */
export type Env = Readonly<Record<string, unknown>> & { readonly FOLLOWER: ObjectNamespace }
