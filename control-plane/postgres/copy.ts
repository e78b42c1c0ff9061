// A copy of a Leader's data, taken into a folder beside our own (cluster 7.4, 12).
import { once } from 'node:events'
import { chown, mkdir, rm } from 'node:fs/promises'
import { Unpack } from 'tar'
import { DomainError } from '#shared/base/errors.ts'
import { nameDisk } from './data.ts'
import { giveTree, syncTree } from './durable.ts'
import { holdsData } from './room.ts'
import type { RunAs } from './run-as.ts'

/** Whole, flushed, and another disk than any before it when this resolves. Throws with nothing left behind. */
export async function takeCopy(
  folder: string,
  archive: AsyncIterable<Uint8Array>,
  { node, runAs, durable }: { readonly node: string; readonly runAs: RunAs; readonly durable: boolean },
): Promise<void> {
  await rm(folder, { recursive: true, force: true })
  await mkdir(folder, { mode: 0o700 })
  try {
    if (runAs.owner !== undefined) await chown(folder, runAs.owner.uid, runAs.owner.gid)
    await unpack(folder, archive)
    if (!(await holdsData(folder))) throw new DomainError('unavailable', 'the copy is not of a Postgres')
    await nameDisk(folder, node, runAs)
    await giveTree(folder, runAs)
    if (durable) await syncTree(folder)
  } catch (error) {
    await rm(folder, { recursive: true, force: true })
    throw error
  }
}

async function unpack(folder: string, archive: AsyncIterable<Uint8Array>): Promise<void> {
  const unpacking = new Unpack({
    cwd: folder,
    strict: true,
    preserveOwner: false,
    noMtime: true,
    filter: (path, entry) => {
      const plain = 'type' in entry && (entry.type === 'File' || entry.type === 'Directory')
      if (!plain) throw new DomainError('unavailable', `the copy has ${path}, which is no plain file`)
      return true
    },
  })
  const closed = once(unpacking, 'close')
  // Whoever waits for it below is told; until then nobody does.
  closed.catch(() => undefined)
  for await (const bytes of archive) {
    // An error rejects `closed`: nothing drains any more.
    if (!unpacking.write(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)))
      await Promise.race([once(unpacking, 'drain'), closed])
  }
  unpacking.end()
  await closed
}
