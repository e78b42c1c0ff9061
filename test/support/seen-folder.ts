// One folder per run for what the cases have seen (seen.ts).
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export default function make(): () => void {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-seen-'))
  process.env.HOLDFAST_SEEN = folder
  return () => rmSync(folder, { recursive: true, force: true })
}

/** The file there of a test file: two of one name in two folders have two. */
export const seenName = (testFile: string): string => testFile.replaceAll('/', '__')

/** Of a file that runs once more with another kind of Follower; what is for that kind only runs once. */
export const seenAgainName = (testFile: string, kind: string | undefined): string =>
  kind === undefined || testFile.endsWith(`.${kind}.test.ts`)
    ? seenName(testFile)
    : `${seenName(testFile)}@${kind}`
