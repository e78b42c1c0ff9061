// Another node's Postgres, asked by the replication protocol: who it is, how its timeline came to be, a copy of all of it.

import type { Duplex } from 'node:stream'
import { PassThrough } from 'node:stream'
import pg from 'pg'
import { DomainError } from '#shared/base/errors.ts'
import { type Address, REPLICATOR } from './settings.ts'
import { type History, type LogEnd, parseHistory, parseLsn } from './timeline.ts'

/** PEM: the certificate of this node, and whom it believes. */
export type NodeTls = {
  readonly ca: string
  readonly cert: string
  readonly key: string
  /** Certificates that are not believed all the same; undefined: none is looked for. */
  readonly crl?: string
}

export type Peer = {
  /** `inRecovery`: it leads nobody (any more). `version`: the major one. */
  identify(): Promise<LogEnd & { readonly inRecovery: boolean; readonly version: number }>
  history(timeline: number): Promise<History>
  /** Its data as a tar, with all of the log that it needs; an error when it ends before it is whole. */
  baseCopy(label: string): AsyncIterable<Uint8Array>
  close(): void
}

const CONNECT_WITHIN_MS = 3_000
const ANSWER_WITHIN_MS = 3_000
/** Before a copy begins there is a checkpoint, during which nothing is said. */
const SILENT_WITHIN_MS = 120_000

/** Throws what the connection does: refused, not believed, not in time. */
export async function callPeer(
  { host, port }: Address,
  tls: NodeTls | undefined,
  name: string,
  signal: AbortSignal,
): Promise<Peer> {
  const client = new pg.Client({
    host,
    port,
    user: REPLICATOR,
    application_name: name,
    connectionTimeoutMillis: CONNECT_WITHIN_MS,
    keepAlive: true,
    ssl: tls === undefined ? false : { ...tls, minVersion: 'TLSv1.3' },
    // All answers are texts here.
    types: { getTypeParser: () => String } as unknown as pg.CustomTypesConfig,
    ...{ replication: 'true' },
  })
  const close = (): void => {
    signal.removeEventListener('abort', close)
    streamOf(client).destroy()
  }
  client.on('error', () => undefined)
  signal.addEventListener('abort', close)
  if (signal.aborted) close()
  try {
    await client.connect()
  } catch (cause) {
    close()
    throw cause
  }
  const one = async (text: string): Promise<Record<string, string>> => {
    const { rows } = await client.query<Record<string, string>>({
      text,
      ...{ query_timeout: ANSWER_WITHIN_MS },
    })
    if (rows[0] === undefined) throw new DomainError('unavailable', `${host} has no answer to ${text}`)
    return rows[0]
  }
  return {
    async identify() {
      const { systemid, timeline, xlogpos } = await one('IDENTIFY_SYSTEM')
      const { in_hot_standby } = await one('SHOW in_hot_standby')
      const { server_version_num } = await one('SHOW server_version_num')
      return {
        systemId: systemid!,
        timeline: Number(timeline),
        end: parseLsn(xlogpos!),
        inRecovery: in_hot_standby !== 'off',
        version: Math.floor(Number(server_version_num) / 10_000),
      }
    },
    async history(timeline) {
      // The first one has none.
      if (timeline === 1) return { timeline, forks: [] }
      const { content } = await one(`TIMELINE_HISTORY ${timeline}`)
      return parseHistory(timeline, content!)
    },
    baseCopy: (label) => baseCopy(client, label),
    close,
  }
}

type Inner = { readonly connection: { readonly stream: Duplex & { setTimeout?(ms: number): void } } }

/** The library has no other way to slow a sender down, or to leave it. */
const streamOf = (client: pg.Client): Inner['connection']['stream'] =>
  (client as unknown as Inner).connection.stream

/** In memory at most, of what has come and is not written yet. */
const BUFFERED_BYTES = 4 * 1024 * 1024

/** Of the messages of one copy (Postgres 15 and newer): only those with the archive's bytes matter. */
const DATA = 'd'.charCodeAt(0)
const ARCHIVE = 'n'.charCodeAt(0)

const ignore = (): void => undefined

function baseCopy(client: pg.Client, label: string): AsyncIterable<Uint8Array> {
  const out = new PassThrough({ highWaterMark: BUFFERED_BYTES })
  const stream = streamOf(client)
  const options = `LABEL '${label.replaceAll("'", "''")}', CHECKPOINT 'fast', WAL true, MANIFEST 'no', PROGRESS true`
  let archives = 0
  const fail = (error: Error): void => void out.destroy(error)
  out.on('drain', () => stream.resume())
  // Whoever reads hears of it, if anybody reads yet.
  out.on('error', ignore)
  stream.once('timeout', () => stream.destroy(new Error('the copy has stopped coming')))
  stream.setTimeout?.(SILENT_WITHIN_MS)
  client.query({
    submit: (connection: pg.Connection) => connection.query(`BASE_BACKUP (${options})`),
    handleRowDescription: ignore,
    handleDataRow: ignore,
    handleCommandComplete: ignore,
    handleEmptyQuery: ignore,
    handlePortalSuspended: ignore,
    handleError: fail,
    handleReadyForQuery: () => void out.end(),
    handleCopyData({ chunk }: { readonly chunk: Uint8Array }) {
      if (chunk[0] === ARCHIVE && ++archives > 1)
        fail(new Error('the Leader has tablespaces, which a copy cannot take: move their tables back'))
      // The parser uses its memory again.
      else if (chunk[0] === DATA && !out.write(Uint8Array.from(chunk.subarray(1)))) stream.pause()
    },
  } as pg.Submittable)
  return out
}
