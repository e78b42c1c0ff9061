// `holdfast leader`: a Leader that stands alone, with its own Postgres.
import { parseRanges } from '#shared/authz/address.ts'
import { aborted, systemClock } from '#shared/node/clock.ts'
import { listen } from '#shared/node/listen.ts'
import type { Log } from '#shared/node/log.ts'
import { aboutLeader } from './about.ts'
import { prepareDatabases } from './databases.ts'
import { loadLeaderKeys, openLeader } from './leader.ts'
import { findBinaries } from './postgres/binaries.ts'
import { createPostgres } from './postgres/server.ts'
import type { LeaderSettings } from './settings.ts'

/** Serves until the signal is aborted. */
export async function runLeader(settings: LeaderSettings, signal: AbortSignal, log: Log): Promise<void> {
  const keys = await loadLeaderKeys(settings, log)
  const about = aboutLeader(settings, keys.tls)
  const balancers = parseRanges(settings.balancers, 'balancers')
  const postgres = createPostgres({
    dataDirectory: settings.data_dir,
    binaries: await findBinaries(settings.postgres_bin, settings.data_dir),
    clock: systemClock,
    log: (message) => log.warn(message),
  })
  await postgres.start()
  await prepareDatabases(postgres.url)
  const leader = await openLeader({
    settings,
    keys,
    databaseUrl: postgres.url,
    writesUrl: true,
    epoch: undefined,
    about,
    renewsIdentity: true,
    cluster: undefined,
    log,
  })
  const { handle, onUpgrade } = leader
  const listening = await listen({
    host: settings.host,
    port: settings.port,
    handle,
    onUpgrade,
    tls: keys.tls,
    balancers,
  })
  log.info('leading', { host: settings.host, port: listening.port, epoch: leader.epoch })

  await aborted(signal)
  await leader.endStreams()
  await listening.close()
  await leader.close()
  await postgres.stop()
}
