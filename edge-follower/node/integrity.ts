// The copy after a stop that nobody saw: checked before it serves, moved aside when it is damaged.
import { existsSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import type { Log } from '#shared/node/log.ts'
import type { Sqlite } from '../store/sqlite.ts'
import { openSqlite } from './sqlite.ts'

export type Checked = {
  readonly sqlite: Sqlite
  /** Says that this stop was a clean one. */
  close(): void
}

/**
 * Opens the data file for writing. A mark beside it stands while it is open: found at the start, the file is
 * checked page by page; a damaged one is kept aside and a snapshot is taken instead.
 */
export function openChecked(file: string, log: Log): Checked {
  const mark = `${file}.open`
  const unclean = existsSync(mark) && existsSync(file)
  writeFileSync(mark, `${process.pid}\n`, { mode: 0o600 })
  if (unclean && !isSound(file)) {
    const aside = `${file}.damaged-${Date.now()}`
    for (const suffix of ['', '-wal', '-shm']) {
      if (existsSync(file + suffix)) renameSync(file + suffix, aside + suffix)
    }
    log.error('the local copy was damaged and is kept aside; a snapshot will be taken', { aside })
  }
  const sqlite = openSqlite(file, 'writer')
  return {
    sqlite,
    close() {
      sqlite.close()
      rmSync(mark, { force: true })
    },
  }
}

/** quick_check reads every page and every row but leaves out indexes against tables, which halves the time; the
 * content hash watches the rows themselves. */
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
