// Settings of a Follower at the edge: variables and secrets of its Worker, and no file.
import { z } from 'zod'
import { forms, originsOf, readSettings, type SettingsOf } from '#shared/api/setting-tables.ts'
import { fromBase64 } from '#shared/base/bytes.ts'
import { DomainError } from '#shared/base/errors.ts'
import { isInClear } from '#shared/enrolment/edge-url.ts'
import { baseFault, type Crowd, crowdsIn } from '#shared/enrolment/regions.ts'
import { servingTable } from '../serving-settings.ts'
import type { Env } from './platform-types.ts'

const crowds = forms.list.pipe(
  z.array(z.string()).transform((entries, context): readonly Crowd[] => {
    const found = crowdsIn(entries)
    if (typeof found !== 'string') return found
    context.addIssue({ code: 'custom', message: found })
    return z.NEVER
  }),
)

/** Who there is: all that the Worker in front has to know. */
const crowdTable = {
  name: {
    doc: 'Name of this Follower, as its Leader knows it; with regions, what its names begin with',
    form: forms.text.default('edge-1'),
  },
  regions: {
    doc: 'How many Followers in which regions, region=count separated by commas; default: one, of this name',
    form: crowds.default([]),
  },
} as const

export const workerTable = {
  ...servingTable,
  ...crowdTable,
  link: {
    doc: 'Who dials: the leader (it needs no address of its own), or this object',
    form: z.enum(['leader', 'object']).default('leader'),
  },
  leader_url: {
    doc: 'Address of the Leader, https; needed when this object dials',
    form: forms.httpUrl.optional(),
  },
} as const

export type WorkerSettings = SettingsOf<typeof workerTable> & {
  /** 32 bytes. */
  readonly dataKey: Uint8Array
  readonly bearer: string
}

const BEARER_CHARACTERS = 32

/** Throws `settings_invalid` that names the variable and says what to do. */
export function crowdSettings(env: Env): Pick<WorkerSettings, 'name' | 'regions'> {
  const settings = readSettings(crowdTable, sourcesOf(env))
  const fault = settings.regions.length === 0 ? undefined : baseFault(settings.name)
  if (fault !== undefined) throw invalid('HOLDFAST_NAME', fault)
  return settings
}

/** The same of all settings. */
export function workerSettings(env: Env): WorkerSettings {
  const sources = sourcesOf(env)
  const { env: texts } = sources
  const settings = readSettings(workerTable, sources)
  if (settings.link === 'object' && settings.leader_url === undefined)
    throw invalid('HOLDFAST_LEADER_URL', 'it must be given when HOLDFAST_LINK is object: set it in [vars]')
  if (settings.leader_url !== undefined && isInClear(new URL(settings.leader_url)))
    throw invalid('HOLDFAST_LEADER_URL', 'it must begin with https: the bearer would be sent in clear')
  const dataKey = fromBase64((texts.HOLDFAST_DATA_KEY ?? '').trim())
  if (dataKey?.length !== 32)
    throw invalid(
      'HOLDFAST_DATA_KEY',
      'it does not hold 32 bytes in base64: give the Leader’s data key with `wrangler secret put HOLDFAST_DATA_KEY`',
    )
  const bearer = (texts.HOLDFAST_BEARER ?? '').trim()
  if (bearer.length < BEARER_CHARACTERS || /\s/.test(bearer))
    throw invalid(
      'HOLDFAST_BEARER',
      `it is not a bearer of ${BEARER_CHARACTERS} characters or more: make one with \`holdfast keys new --bearer FILE\` and give it with \`wrangler secret put HOLDFAST_BEARER\``,
    )
  return { ...settings, dataKey, bearer, origins: originsOf(workerTable, sources) }
}

const sourcesOf = (env: Env) => ({
  flags: {},
  env: Object.fromEntries(
    Object.entries(env).filter((entry): entry is [string, string] => typeof entry[1] === 'string'),
  ),
  file: undefined,
})

const invalid = (target: string, what: string): DomainError =>
  new DomainError('settings_invalid', `${target}: ${what}`, { target })
