// `npm run bench [-- NAME…]`: every claim about speed, as figures of one run.
import { mkdirSync, writeFileSync } from 'node:fs'
import { arch, cpus, platform, totalmem } from 'node:os'
import { closures } from './closure.ts'
import { failover, switchovers, syncWrites } from './cluster.ts'
import { edge } from './edge.ts'
import { edgeIdle } from './edge-idle.ts'
import { type Figure, printFigure } from './measure.ts'
import { neonWrites } from './neon.ts'
import { authenticate, authenticateJwt, batchRead, secretRead } from './read.ts'
import { coldStart } from './start.ts'
import { policyLoad, policyScale, propagation, secretWrites } from './write.ts'

const cases: Record<string, () => Promise<Figure[]>> = {
  'secret-read': secretRead,
  authenticate,
  'authenticate-jwt': authenticateJwt,
  'batch-read': batchRead,
  'policy-load': policyLoad,
  'policy-scale': policyScale,
  closures,
  'secret-writes': secretWrites,
  neon: neonWrites,
  propagation,
  'cold-start': coldStart,
  'sync-writes': syncWrites,
  failover,
  switchovers,
  edge,
  'edge-idle': edgeIdle,
}

const asked = process.argv.slice(2)
const unknown = asked.filter((name) => !Object.hasOwn(cases, name))
if (unknown.length > 0) {
  process.stderr.write(
    `no such benchmark: ${unknown.join(', ')}; there are: ${Object.keys(cases).join(', ')}\n`,
  )
  process.exit(2)
}

const machine = `${platform()} ${arch()}, ${cpus().length} × ${cpus()[0]?.model.trim()}, ${Math.round(totalmem() / 2 ** 30)} GiB, Node ${process.version}`
process.stdout.write(
  `${machine}\n${''.padEnd(52)} ${'min'.padStart(9)} ${'median'.padStart(9)} ${'max'.padStart(9)}\n`,
)
const figures: Figure[] = []
for (const name of asked.length > 0 ? asked : Object.keys(cases)) {
  const measured = await cases[name]!()
  measured.forEach(printFigure)
  figures.push(...measured)
}
const directory = new URL('./results/', import.meta.url).pathname
mkdirSync(directory, { recursive: true })
const file = `${directory}${new Date().toISOString().replaceAll(':', '-')}.json`
writeFileSync(file, `${JSON.stringify({ machine, at: new Date().toISOString(), figures }, null, 2)}\n`)
process.stdout.write(`kept in ${file}\n`)
process.exit(0)
