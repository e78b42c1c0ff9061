// A Follower whose service role this program does not know: it holds no data and serves nothing (cluster 3).
import { aborted } from '#shared/node/clock.ts'
import { loadTls } from '#shared/node/keys.ts'
import { listen } from '#shared/node/listen.ts'
import type { Log } from '#shared/node/log.ts'
import type { FollowerSettings } from '../settings.ts'

/** Says so until the signal is aborted. */
export async function idle(
  settings: FollowerSettings,
  serviceRole: string,
  signal: AbortSignal,
  log: Log,
): Promise<void> {
  const words = `idle: this program knows no service role ${serviceRole}`
  log.error(`${words}; join it anew with another seed, or start a newer holdfast`)
  const services = { possum: words, ok: false }
  const health = JSON.stringify({ ok: false, degraded: true, role: 'follower', services })
  const listening = await listen({
    host: settings.host,
    port: settings.port,
    tls: await loadTls(settings),
    handle: async ({ path }) => ({
      status: path === '/health' ? 502 : 503,
      headers: { 'Content-Type': 'application/json' },
      body: path === '/health' ? health : undefined,
    }),
  })
  await aborted(signal)
  await listening.close()
}
