// The Followers that the settings name, with their bearers: those that dial, and those that are dialled.
import { DomainError } from '#shared/base/errors.ts'
import { readSettingFile } from '#shared/node/files.ts'
import { loadAuthorities } from '#shared/node/keys.ts'
import type { LeaderSettings } from '../settings.ts'
import { type EdgeFollower, edgeEntryIn, invalidEdge } from './dialler.ts'
import type { FollowerBearer } from './entrance.ts'

export type NamedFollowers = {
  readonly dialling: readonly FollowerBearer[]
  readonly edge: readonly (FollowerBearer & { readonly url: string })[]
  /** PEM; undefined: the system's. */
  readonly edgeAuthorities: string | undefined
}

/** A name stands for one node: audit records and keys are kept by it. Throws `settings_invalid`. */
export async function followersOf(settings: LeaderSettings): Promise<NamedFollowers> {
  const taken = new Set([settings.name])
  const claim = (name: string, invalid: (what: string) => DomainError): void => {
    if (taken.has(name)) throw invalid(`${name} is the name of another node: give each its own`)
    taken.add(name)
  }
  const given = settings.followers.map((entry) => {
    const equals = entry.indexOf('=')
    if (equals < 1) throw invalidFollower(`${entry} is not of the form name=file-with-bearer`)
    return { name: entry.slice(0, equals), bearerFile: entry.slice(equals + 1) }
  })
  const edges = settings.edge_followers.map(edgeEntryIn)
  for (const { name } of given) claim(name, invalidFollower)
  for (const { name } of edges) claim(name, invalidEdge)
  const { edge_ca_file: caFile } = settings
  return {
    dialling: await Promise.all(
      given.map(async ({ name, bearerFile }) => ({
        name,
        bearer: await readSettingFile('followers', bearerFile),
      })),
    ),
    edge: await Promise.all(
      edges.map(async ({ name, url, bearerFile }) => ({
        name,
        url,
        bearer: await readSettingFile('edge_followers', bearerFile),
      })),
    ),
    edgeAuthorities: caFile === undefined ? undefined : await loadAuthorities('edge_ca_file', caFile),
  }
}

export const edgesOf = ({ edge }: NamedFollowers, { edge_heartbeat }: LeaderSettings): EdgeFollower[] =>
  edge.map(({ name, url, bearer }) => ({
    key: `settings ${name}`,
    identity: { name, set: 'full', heartbeatMs: edge_heartbeat * 1000 },
    url,
    bearer: () => bearer,
  }))

const invalidFollower = (what: string): DomainError =>
  new DomainError('settings_invalid', `followers: ${what}`, { target: 'followers' })
