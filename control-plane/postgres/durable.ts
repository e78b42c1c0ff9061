// Files and folders that must be there after a power loss, and belong to the user that Postgres runs as.
import { chown, open, readdir, rename } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { RunAs } from './run-as.ts'

/** What a folder holds by name is durable. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** Written whole or not at all, readable by Postgres's user only. */
export async function writeDurably(file: string, text: string, runAs: RunAs): Promise<void> {
  const unfinished = `${file}.new`
  await write(unfinished, text, runAs, true)
  await renameDurably(unfinished, file)
}

/** The same, for what is written again at every start. */
export async function writeWhole(file: string, text: string, runAs: RunAs): Promise<void> {
  const unfinished = `${file}.new`
  await write(unfinished, text, runAs, false)
  await rename(unfinished, file)
}

async function write(file: string, text: string, { owner }: RunAs, durable: boolean): Promise<void> {
  const handle = await open(file, 'w', 0o600)
  try {
    await handle.writeFile(text)
    if (owner !== undefined) await handle.chown(owner.uid, owner.gid)
    if (durable) await handle.sync()
  } finally {
    await handle.close()
  }
}

export async function renameDurably(from: string, to: string): Promise<void> {
  await rename(from, to)
  await syncFolder(dirname(to))
}

/** Every file and folder below, and the folder itself. */
export async function syncTree(folder: string, runAs: RunAs, durable: boolean): Promise<void> {
  const { owner } = runAs
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name)
    if (entry.isDirectory()) {
      await syncTree(path, runAs, durable)
      continue
    }
    if (owner !== undefined) await chown(path, owner.uid, owner.gid)
    if (durable) await syncFolder(path)
  }
  if (owner !== undefined) await chown(folder, owner.uid, owner.gid)
  if (durable) await syncFolder(folder)
}
