// The package's shared libraries lack their links: they are made where that is possible, and next to a copy where not.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readlinkSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { findBinaries, withLibraryLinks } from '#control-plane/postgres/binaries.ts'
import { findRunAs } from '#control-plane/postgres/run-as.ts'

const folders: string[] = []
afterEach(() => {
  for (const folder of folders.splice(0)) {
    for (const name of ['', 'native', 'native/lib']) chmodSync(join(folder, name), 0o700)
    rmSync(folder, { recursive: true })
  }
})

/** A package with one library and one program. */
function fakePackage(): string {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-package-'))
  folders.push(folder)
  mkdirSync(join(folder, 'native/bin'), { recursive: true })
  mkdirSync(join(folder, 'native/lib'))
  writeFileSync(join(folder, 'package.json'), '{"version":"18.0.1"}')
  writeFileSync(join(folder, 'native/bin/postgres'), '#!/bin/sh\n', { mode: 0o755 })
  writeFileSync(join(folder, 'native/lib/libpq.so.5.18'), 'library')
  const links = [{ source: 'native/lib/libpq.so.5.18', target: 'native/lib/libpq.so.5' }]
  writeFileSync(join(folder, 'native/pg-symlinks.json'), JSON.stringify(links))
  return folder
}

/** The answer of a process that may not write what is not its own, even when this one is root. */
async function asOtherUser(native: string, copies: string | undefined): Promise<string> {
  const module = new URL('../../../../control-plane/postgres/binaries.ts', import.meta.url).href
  const script = `
    import { withLibraryLinks } from '${module}'
    const [native, copies] = process.argv.slice(1)
    await withLibraryLinks(native, copies).then(console.log, (error) => console.log(error.target, error.message))`
  const { prefix } = await findRunAs()
  const node = [process.execPath, '--input-type=module', '-e', script, native]
  const line = [...prefix, ...node, ...(copies === undefined ? [] : [copies])]
  const child = spawn(line[0]!, line.slice(1), { stdio: ['ignore', 'pipe', 'inherit'] })
  let text = ''
  child.stdout.on('data', (chunk) => {
    text += String(chunk)
  })
  await once(child, 'close')
  return text.trim()
}

test('links are made in the package itself, by several processes at once and again', async () => {
  const native = join(fakePackage(), 'native')
  const made = await Promise.all(Array.from({ length: 8 }, () => withLibraryLinks(native, undefined)))
  expect(made).toEqual(Array.from({ length: 8 }, () => native))
  expect(readlinkSync(join(native, 'lib/libpq.so.5'))).toBe('libpq.so.5.18')
})

test('a package that cannot be written is copied, once, also by several at once', async () => {
  const folder = fakePackage()
  const native = join(folder, 'native')
  chmodSync(join(native, 'lib'), 0o500)
  const copies = join(fakePackage(), 'data')
  const expected = join(copies, 'postgres-programs-18.0.1/native')
  const answers = await Promise.all(Array.from({ length: 3 }, () => asOtherUser(native, copies)))
  expect(answers).toEqual([expected, expected, expected])
  expect(readlinkSync(join(expected, 'lib/libpq.so.5'))).toBe('libpq.so.5.18')
  expect(readdirSync(copies)).toEqual(['postgres-programs-18.0.1'])
  expect(await asOtherUser(native, undefined)).toMatch(
    /^postgres_bin cannot make the library links .* set postgres_bin$/,
  )
})

test('a setting without programs names the setting', async () => {
  await expect(findBinaries(tmpdir())).rejects.toMatchObject({
    code: 'settings_invalid',
    target: 'postgres_bin',
  })
})
