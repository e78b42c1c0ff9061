// A file after a stop that nobody saw: checked before it serves, moved aside when it is damaged.
import { existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { DomainError } from '#shared/base/errors.ts'
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
 * page by page. `lost`: what it means to begin with an empty one. Throws `settings_invalid` when an owner finds the
 * file in another's hands.
 */
export function openChecked(
  file: string,
  log: Log,
  lost: string,
  role: 'writer' | 'owner' = 'writer',
): Checked {
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
    if (readFileSync(mark, 'utf8') === CONDEMNED || !isSound(file, role)) moveAside()
  }
  writeFileSync(mark, `${process.pid}\n`, { mode: 0o600 })
  const sqlite = opened(file, role)
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

function opened(file: string, role: 'writer' | 'owner'): NodeSqlite {
  try {
    return openSqlite(file, role)
  } catch (cause) {
    if (!(cause instanceof Error && 'code' in cause && cause.code === 'SQLITE_BUSY')) throw cause
    const message = `data_dir: ${file} is in use by another process: give each Follower a folder of its own`
    throw new DomainError('settings_invalid', message, { target: 'data_dir', cause })
  }
}

/**
 * quick_check reads every page and every row but leaves out indexes against tables, which halves the time; the
 * content hash and the chain of audit watch the rows themselves.
 */
function isSound(file: string, role: 'writer' | 'owner'): boolean {
  try {
    const sqlite = opened(file, role)
    try {
      const [row] = sqlite.all('PRAGMA quick_check(1)', [])
      return row?.quick_check === 'ok'
    } finally {
      sqlite.close()
    }
  } catch (error) {
    // In another's hands it is nobody's to judge. Otherwise not even opened: that is what the check is for.
    if (error instanceof DomainError) throw error
    return false
  }
}
