// `npm run test:containers`: the images are built and the cluster of compose.yaml runs for real, with its Leader killed, cut off
// and stopped, while Followers go on answering; the charts are held against Kubernetes's schemas. What cannot be done here is
// said, and is no failure. It leaves nothing behind but images.
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { checkCharts } from './charts.ts'
import { checkCluster, checkImages } from './checks.ts'
import { startCluster } from './cluster.ts'
import { type Engine, findEngine } from './engine.ts'
import { build, haveBases, type Images } from './images.ts'
import { measureFollower } from './memory.ts'

const IMAGES = 'HOLDFAST_TEST_IMAGES'

export type Note = (name: string, check: () => Promise<string | undefined>) => Promise<void>

const tally = { passed: 0, failed: 0 }
const say = (line: string): void => void process.stdout.write(`${line}\n`)

/** A check that throws has failed; the others go on. */
const note: Note = async (name, check) => {
  try {
    const figure = await check()
    tally.passed++
    say(`ok ${name}${figure === undefined ? '' : `: ${figure}`}`)
  } catch (error) {
    tally.failed++
    say(`fail ${name}: ${error instanceof Error ? error.message : String(error)}`)
  }
}

async function run(engine: Engine, folder: string): Promise<void> {
  const { note: instead, missing } = await haveBases(engine, folder)
  if (instead !== undefined) say(instead)
  if (missing !== undefined) return say(`left out: ${missing}`)
  const images = await build(engine)
  await checkImages(engine, images, note)
  await inside(engine, images, folder)
}

/** Published ports are those of the engine's network: Podman's is its own, and who asks must be in it. */
async function inside(engine: Engine, images: Images, folder: string): Promise<void> {
  const [program, ...words] = [...engine.command.slice(0, -1), process.execPath, ...process.argv.slice(1)]
  const handedOver = JSON.stringify({ engine: { ...engine, env: {} }, images, folder })
  const child = spawn(program!, words, { stdio: 'inherit', env: { ...engine.env, [IMAGES]: handedOver } })
  const code = await new Promise<number>((resolve) => child.once('exit', (ended) => resolve(ended ?? 1)))
  if (code !== 0) tally.failed++
}

type HandedOver = { readonly engine: Engine; readonly images: Images; readonly folder: string }

async function runInside({ engine: given, images, folder }: HandedOver): Promise<void> {
  const engine = { ...given, env: process.env }
  await note('a Follower with 100 000 secrets', () => measureFollower(engine, images.follower, folder))
  const cluster = await startCluster(engine, images, folder)
  try {
    await checkCluster(cluster, note)
  } finally {
    await cluster.down()
  }
}

const handedOver = process.env[IMAGES]
if (handedOver !== undefined) await runInside(JSON.parse(handedOver) as HandedOver)
else {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-containers-'))
  try {
    const unchecked = await checkCharts(folder, note)
    if (unchecked !== undefined) say(`left out: ${unchecked}`)
    const engine = await findEngine(folder)
    if (typeof engine === 'string') say(`left out: images and compose.yaml: ${engine}`)
    else await run(engine, folder).finally(() => engine.close())
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
say(`${tally.passed} passed, ${tally.failed} failed`)
process.exitCode = tally.failed === 0 ? 0 : 1
