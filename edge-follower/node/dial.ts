// A wire to the Leader: an HTTP request that asks to go on as frames.
import { request as httpRequest, type IncomingMessage } from 'node:http'
import { request as httpsRequest, type RequestOptions } from 'node:https'
import { fromUtf8 } from '#shared/base/bytes.ts'
import { DomainError } from '#shared/base/errors.ts'
import { parseJson } from '#shared/base/json.ts'
import { limits } from '#shared/base/limits.ts'
import { Refused, refusalIn } from '#shared/enrolment/messages.ts'
import { readSettingFile } from '#shared/node/files.ts'
import { type Identity, readIdentity } from '#shared/node/identity.ts'
import { isEnrolled } from '#shared/node/join.ts'
import { loadAuthorities } from '#shared/node/keys.ts'
import { nodeTls } from '#shared/node/node-client.ts'
import { socketWire } from '#shared/node/socket-wire.ts'
import type { Dial, Wire } from '#shared/replication/wire.ts'
import type { FollowerSettings, GivenSettings } from '../settings.ts'

export type DialOptions = {
  readonly leaderUrl: string
  readonly name: string
  /** Certificates that the Leader's is checked against, PEM; undefined: the system's. */
  readonly ca?: string | undefined
  /** Secret of this Follower; sent in a header, never in a URL. */
  readonly bearer: string
}

/** With the certificate of the node's identity, or with the bearer of the settings. */
export async function dialOf(settings: FollowerSettings): Promise<Dial> {
  const { leader_url: leaderUrl, bearer_file: bearerFile, leader_ca_file: caFile, name } = settings
  if ((await isEnrolled(settings.data_dir)) || leaderUrl === undefined || bearerFile === undefined)
    return identityDial(settings.data_dir)
  const bearer = await readSettingFile('bearer_file', bearerFile)
  const ca = caFile === undefined ? undefined : await loadAuthorities('leader_ca_file', caFile)
  return createDial({ leaderUrl, name, bearer, ca })
}

/** A Follower joins with a seed, unless the settings give it a bearer. Throws `settings_invalid` for half of one. */
export async function joinsWithSeed(settings: GivenSettings): Promise<boolean> {
  const { leader_url: leaderUrl, bearer_file: bearerFile } = settings
  if (await isEnrolled(settings.data_dir)) return true
  if ((leaderUrl === undefined) === (bearerFile === undefined)) return leaderUrl === undefined
  const [given, missing] =
    leaderUrl === undefined ? ['bearer_file', 'leader_url'] : ['leader_url', 'bearer_file']
  throw new DomainError(
    'settings_invalid',
    `${missing}: it must be given when ${given} is; a Follower that joins with a seed needs neither`,
    { target: missing! },
  )
}

export function createDial({ leaderUrl, name, bearer, ca }: DialOptions): Dial {
  const own = {
    ...(ca === undefined ? {} : { ca }),
    headers: { Authorization: `Bearer ${name}.${bearer}` },
  }
  return (path, signal) => upgraded(new URL(path, leaderUrl), own, signal)
}

/** Reads the identity with every dial, so a renewed certificate is used; addresses are tried in turn. */
export function identityDial(dataDirectory: string): Dial {
  let turn = 0
  return async (path, signal) => {
    const identity = await readIdentity(dataDirectory)
    if (identity === undefined) throw new Error('this node has no identity any more')
    const { leaders } = identity.membership
    const address = leaders[turn % leaders.length]!
    try {
      return await upgraded(new URL(path, `https://${address}`), tlsOf(identity), signal)
    } catch (error) {
      turn++
      throw error
    }
  }
}

const tlsOf = (identity: Identity): RequestOptions =>
  nodeTls(identity.membership.clusterId, identity.authorities, identity)

function upgraded(url: URL, own: RequestOptions, signal: AbortSignal): Promise<Wire> {
  const request = url.protocol === 'https:' ? httpsRequest : httpRequest
  return new Promise((resolve, reject) => {
    const asked = request(url, {
      ...own,
      agent: false,
      signal,
      timeout: limits.linkSilenceMs,
      headers: { ...own.headers, Connection: 'Upgrade', Upgrade: 'holdfast' },
    })
    asked.on('upgrade', (_response, socket, head) => {
      socket.setTimeout(0)
      resolve(socketWire(socket, head, limits.linkSilenceMs))
    })
    asked.on('response', (response) => void refusalOf(response).then(reject))
    asked.on('timeout', () => asked.destroy(new Error('the Leader did not answer in time')))
    asked.on('error', reject)
    asked.end()
  })
}

/** Never rejects. */
async function refusalOf(response: IncomingMessage): Promise<Error> {
  const parts: Buffer[] = []
  let length = 0
  try {
    for await (const part of response as AsyncIterable<Buffer>) {
      length += part.length
      if (length > limits.bodyBytes) break
      parts.push(part)
    }
  } catch {
    // What has come of the answer says enough.
  }
  const refusal = refusalIn(parseJson(fromUtf8(Buffer.concat(parts)) ?? ''))
  if (refusal !== undefined) return new Refused(refusal)
  const hint = response.statusCode === 401 ? ': the Leader does not know this name with this bearer' : ''
  return new Error(`the Leader answered ${response.statusCode}${hint}`)
}
