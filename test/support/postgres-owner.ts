// Owns a Postgres as a Leader does, so that a test can take the owner away: node postgres-owner.ts FOLDER
import { findBinaries } from '#control-plane/postgres/binaries.ts'
import { createPostgres } from '#control-plane/postgres/server.ts'
import { systemClock } from '#shared/node/clock.ts'

const dataDirectory = process.argv[2]!
const binaries = await findBinaries(process.env.PGBIN)
const postgres = createPostgres({ dataDirectory, binaries, clock: systemClock, log: () => undefined })
await postgres.start()
process.stdout.write(`${postgres.pid()}\n`)
