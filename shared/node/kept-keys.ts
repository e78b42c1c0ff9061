// Key sets of identity providers on the disk, a file for each: they are public, and whoever could write them could have
// tokens of his own believed, so they lie where the node's keys lie.
import { mkdir, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { KeptKeySets } from '../authn/key-sets.ts'
import { readPrivateFile, writePrivateFile } from './files.ts'

const FILE = /^([0-9a-f]{64})\.json$/

/** `report`: of what could not be kept; it names no provider. */
export async function keptKeySetsIn(
  dataDirectory: string,
  report: (message: string) => void,
): Promise<KeptKeySets> {
  const folder = join(dataDirectory, 'provider-keys')
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const found = new Map<string, string>()
  for (const file of await readdir(folder)) {
    const name = FILE.exec(file)?.[1]
    // One that a crash has left unfinished.
    if (name === undefined) await rm(join(folder, file), { force: true, recursive: true })
    else found.set(name, (await readPrivateFile(join(folder, file))) ?? '')
  }
  // One after the other: of two writes of one file the later one stays.
  let last = Promise.resolve()
  const then = (work: () => Promise<void>): Promise<void> => {
    last = last.then(work).catch((error: NodeJS.ErrnoException) => {
      report(`keys of an identity provider are not kept for the next start: ${error.code ?? 'unknown error'}`)
    })
    return last
  }
  const fileOf = (name: string): string => join(folder, `${name}.json`)
  return {
    found,
    keep: (name, text) => then(() => writePrivateFile(fileOf(name), text)),
    forget: (name) => void then(() => rm(fileOf(name), { force: true })),
  }
}
