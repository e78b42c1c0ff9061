// A wire to the Leader: an HTTP request that asks to go on as frames.
import { request as httpRequest } from 'node:http'
import { request as httpsRequest } from 'node:https'
import { limits } from '#shared/base/limits.ts'
import { readSettingFile } from '#shared/node/files.ts'
import { socketWire } from '#shared/node/socket-wire.ts'
import type { Dial } from '#shared/replication/wire.ts'
import type { FollowerSettings } from '../settings.ts'

export type DialOptions = {
  readonly leaderUrl: string
  readonly name: string
  /** Certificates that the Leader's is checked against, PEM; undefined: the system's. */
  readonly ca?: string | undefined
  /** Secret of this Follower; sent in a header, never in a URL. */
  readonly bearer: string
}

/** The certificates of `leader_ca_file`. */
export const leaderCa = async (settings: FollowerSettings): Promise<string | undefined> =>
  settings.leader_ca_file === undefined
    ? undefined
    : readSettingFile('leader_ca_file', settings.leader_ca_file)

export function createDial({ leaderUrl, name, bearer, ca }: DialOptions): Dial {
  const request = leaderUrl.startsWith('https:') ? httpsRequest : httpRequest
  return (path, signal) =>
    new Promise((resolve, reject) => {
      const asked = request(new URL(path, leaderUrl), {
        signal,
        ...(ca === undefined ? {} : { ca }),
        timeout: limits.linkSilenceMs,
        headers: { Connection: 'Upgrade', Upgrade: 'holdfast', Authorization: `Bearer ${name}.${bearer}` },
      })
      asked.on('upgrade', (_response, socket, head) => {
        socket.setTimeout(0)
        resolve(socketWire(socket, head, limits.linkSilenceMs))
      })
      asked.on('response', (response) => {
        response.resume()
        const hint =
          response.statusCode === 401 ? ': the Leader does not know this name with this bearer' : ''
        reject(new Error(`the Leader answered ${response.statusCode}${hint}`))
      })
      asked.on('timeout', () => asked.destroy(new Error('the Leader did not answer in time')))
      asked.on('error', reject)
      asked.end()
    })
}
