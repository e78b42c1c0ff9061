// A file after a stop that nobody saw: checked before it serves, moved aside when it is damaged.
import { existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import type { Log } from '#shared/node/log.ts'
import { type NodeSqlite, openSqlite } from './sqlite.ts'

export type Checked = {
  readonly sqlite: NodeSqlite
  /** Where the damaged file is kept, when this one is new in its place. */
  readonly aside: string | undefined
  /** The content is wrong: the file is moved aside when it is closed, or at the next start if that never happens. */
  condemn(): void
  /** Says that this stop was a clean one. */
  close(): void
}

const CONDEMNED = 'condemned\n'

/**
 * Opens a file for writing. A mark beside it stands while it is open: found at the start, the file is checked
 * page by page. `lost`: what it means to begin with an empty one.
 */
export function openChecked(file: string, log: Log, lost: string): Checked {
  const mark = `${file}.open`
  let aside: string | undefined
  const moveAside = (): void => {
    aside = `${file}.damaged-${Date.now()}`
    for (const suffix of ['', '-wal', '-shm']) {
      if (existsSync(file + suffix)) renameSync(file + suffix, aside + suffix)
    }
    log.error(`a damaged file is kept aside: ${lost}`, { file, aside })
  }
  if (existsSync(mark) && existsSync(file)) {
    if (readFileSync(mark, 'utf8') === CONDEMNED || !isSound(file)) moveAside()
  }
  writeFileSync(mark, `${process.pid}\n`, { mode: 0o600 })
  const sqlite = openSqlite(file, 'writer')
  let condemned = false
  return {
    sqlite,
    aside,
    condemn() {
      condemned = true
      writeFileSync(mark, CONDEMNED, { mode: 0o600 })
    },
    close() {
      sqlite.close()
      if (condemned) moveAside()
      rmSync(mark, { force: true })
    },
  }
}

/**
 * quick_check reads every page and every row but leaves out indexes against tables, which halves the time; the
 * content hash and the chain of audit watch the rows themselves.
 */
function isSound(file: string): boolean {
  try {
    const sqlite = openSqlite(file, 'writer')
    try {
      const [row] = sqlite.all('PRAGMA quick_check(1)', [])
      return row?.quick_check === 'ok'
    } finally {
      sqlite.close()
    }
  } catch {
    // Not even opened: that is what the check is for.
    return false
  }
}
