// Snapshots for Followers: read once at one position, compressed into a file, served to many.
import { createReadStream } from 'node:fs'
import { mkdir, open, readdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import { toBase64, toHex } from '#shared/base/bytes.ts'
import { limits } from '#shared/base/limits.ts'
import { encodeChanges } from '#shared/ledger/change.ts'
import { encodeFrame, FrameReader } from '#shared/replication/frame.ts'
import { encodeMessage, type SnapshotHeader } from '#shared/replication/messages.ts'
import type { ChangeLog } from '../ledger/change-log.ts'

export type Snapshots = {
  /** The newest snapshot from which the log can be followed, made if need be. */
  current(): Promise<SnapshotHeader>
  /** Encoded `chunk` messages from one number on. */
  chunks(header: SnapshotHeader, from: number): AsyncIterable<Uint8Array>
}

/** On another thread: requests and commits go on while a snapshot is made. */
const compress = promisify(gzip)

/** A snapshot that is further behind than this is made anew: following the log would take longer. */
const COMMITS_BEHIND = 5_000

export function createSnapshots(
  log: ChangeLog,
  directory: string,
  random: (length: number) => Uint8Array,
): Snapshots {
  let newest: SnapshotHeader | undefined
  let making: Promise<SnapshotHeader> | undefined
  const fileOf = (id: string): string => join(directory, `${id}.snapshot`)

  async function make(): Promise<SnapshotHeader> {
    await mkdir(directory, { recursive: true, mode: 0o700 })
    const id = toHex(random(16))
    const unfinished = join(directory, `${id}.making`)
    const file = await open(unfinished, 'w', 0o600)
    try {
      const header = await log.snapshot(async ({ position, contentHash, at, pieces }) => {
        let chunk = 0
        for await (const { table, rows } of pieces) {
          const changes = encodeChanges(rows.map((row) => ({ op: 'put', table, row })))
          const packed = toBase64(await compress(changes))
          await file.write(encodeFrame(encodeMessage({ type: 'chunk', chunk: chunk++, rows: packed })))
        }
        return { id, position, contentHash, at, chunks: chunk }
      })
      await file.close()
      await rename(unfinished, fileOf(id))
      await removeOthers(id)
      newest = header
      return header
    } catch (error) {
      await file.close().catch(() => undefined)
      await rm(unfinished, { force: true })
      throw error
    }
  }

  /** A file that is being read stays readable until its reader ends. */
  async function removeOthers(id: string): Promise<void> {
    for (const name of await readdir(directory)) {
      if (name !== `${id}.snapshot`) await rm(join(directory, name), { force: true })
    }
  }

  return {
    async current() {
      const head = log.head().position
      const usable =
        newest !== undefined &&
        newest.position.seq >= log.floor().seq &&
        head.seq - newest.position.seq <= COMMITS_BEHIND
      if (usable) return newest!
      making ??= make().finally(() => {
        making = undefined
      })
      return making
    },
    async *chunks(header, from) {
      const reader = new FrameReader(limits.partBytes * 2)
      let chunk = 0
      for await (const bytes of createReadStream(fileOf(header.id))) {
        for (const message of reader.take(bytes as Uint8Array)) {
          if (chunk++ >= from) yield message
        }
      }
    },
  }
}
