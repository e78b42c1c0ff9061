// Small files that matter: keys and credentials of a node.
import { mkdir, open, readFile, rename } from 'node:fs/promises'
import { dirname } from 'node:path'
import { DomainError } from '../base/errors.ts'

/** Written whole or not at all, readable by its owner only, and on the disk when this resolves. */
export async function writePrivateFile(file: string, text: string): Promise<void> {
  await mkdir(dirname(file), { recursive: true, mode: 0o700 })
  const unfinished = `${file}.${process.pid}.new`
  const handle = await open(unfinished, 'w', 0o600)
  try {
    await handle.writeFile(text)
    await handle.sync()
  } finally {
    // One that is left open ends the process when it is collected.
    await handle.close()
  }
  await rename(unfinished, file)
}

/** The text without surrounding space; undefined when there is no such file. */
export async function readPrivateFile(file: string): Promise<string | undefined> {
  try {
    return (await readFile(file, 'utf8')).trim()
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

/** A file that a setting names and that must be there. */
export async function readSettingFile(setting: string, file: string): Promise<string> {
  const text = await readPrivateFile(file).catch((cause: unknown) => {
    throw new DomainError('settings_invalid', `${setting}: ${file} cannot be read`, {
      target: setting,
      cause,
    })
  })
  if (text === undefined || text === '') {
    throw new DomainError('settings_invalid', `${setting}: there is no file ${file}, or it is empty`, {
      target: setting,
    })
  }
  return text
}
