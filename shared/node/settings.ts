// Settings of a program on Node: flags before HOLDFAST_* before holdfast.yml before defaults; a wrong one stops the start
// and is named. The tables and their rules stand in shared/api/setting-tables.ts.
import { readFileSync } from 'node:fs'
import { parse } from 'yaml'
import {
  originsOf as originsOfTable,
  readSettings as readTable,
  type SettingsOf,
  type SettingTable,
  type ShownSetting,
  showSettings as showTable,
  type Sources as TableSources,
} from '../api/setting-tables.ts'
import { DomainError } from '../base/errors.ts'
import { isObject } from '../base/json.ts'

export type {
  NamedUrl,
  SettingRow,
  SettingsOf,
  SettingTable,
  ShownSetting,
} from '../api/setting-tables.ts'
export { apiSettingsOf, apiTable, directoryTable, doorTable, forms, port } from '../api/setting-tables.ts'

export type Sources = Omit<TableSources, 'file'> & {
  /** Path of holdfast.yml; absent: no file. */
  readonly file: string | undefined
}

/** Throws `settings_invalid` that names the setting, where it came from, and what would be right. */
export const readSettings = <T extends SettingTable>(table: T, sources: Sources): SettingsOf<T> =>
  readTable(table, withFile(sources))

/** For people: what a node would start with. No setting holds a secret, only names of files. Throws as `readSettings` does. */
export const showSettings = (table: SettingTable, sources: Sources): ShownSetting[] =>
  showTable(table, withFile(sources))

/** Of settings with their values: which source each came from, without the name of the file. Throws as `readSettings` does. */
export const originsOf = (table: SettingTable, sources: Sources): Record<string, string> =>
  originsOfTable(table, withFile(sources))

const withFile = ({ flags, env, file }: Sources): TableSources => ({
  flags,
  env,
  file: file === undefined ? undefined : { name: file, values: readFile(file) },
})

function readFile(file: string): Record<string, unknown> {
  let value: unknown
  try {
    value = parse(readFileSync(file, 'utf8')) ?? {}
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    throw new DomainError('settings_invalid', `${file} cannot be read: ${why}`, { target: file, cause })
  }
  if (!isObject(value))
    throw new DomainError('settings_invalid', `${file} is not a mapping of settings`, { target: file })
  return value
}
