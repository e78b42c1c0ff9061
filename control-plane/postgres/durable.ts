// Files and folders that must be there after a power loss, and belong to the user that Postgres runs as.
import { spawn } from 'node:child_process'
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

/** Every file and folder below, and the folder itself, belong to the user that Postgres runs as. */
export async function giveTree(folder: string, { owner }: RunAs): Promise<void> {
  if (owner === undefined) return
  await eachBelow(folder, (path) => chown(path, owner.uid, owner.gid))
}

/** All of it at once: one file after the other takes many times as long. */
export async function syncTree(folder: string): Promise<void> {
  const child = spawn('sync', ['--file-system', folder], { stdio: 'ignore' })
  const ended = await new Promise<number | null>((resolve) => {
    child.once('exit', resolve)
    child.once('error', () => resolve(null))
  })
  // Not every system has a `sync` that can do so.
  if (ended !== 0) await eachBelow(folder, syncFolder)
}

/** What is below comes first. */
async function eachBelow(folder: string, work: (path: string) => Promise<void>): Promise<void> {
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name)
    await (entry.isDirectory() ? eachBelow(path, work) : work(path))
  }
  await work(folder)
}
