// A wire to the Leader: an HTTP request that asks to go on as frames.
import { request as httpRequest } from 'node:http'
import { request as httpsRequest } from 'node:https'
import { limits } from '#shared/base/limits.ts'
import { socketWire } from '#shared/node/socket-wire.ts'
import type { Dial } from '#shared/replication/wire.ts'

export type DialOptions = {
  readonly leaderUrl: string
  readonly name: string
  /** Secret of this Follower; sent in a header, never in a URL. */
  readonly bearer: string
}

export function createDial({ leaderUrl, name, bearer }: DialOptions): Dial {
  const request = leaderUrl.startsWith('https:') ? httpsRequest : httpRequest
  return (path, signal) =>
    new Promise((resolve, reject) => {
      const asked = request(new URL(path, leaderUrl), {
        signal,
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
