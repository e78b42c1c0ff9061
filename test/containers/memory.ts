// What a Follower in a container takes: memory when it is idle, and time from the start of its process to a first read.
import { chownSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { toBase64, toHex } from '#shared/base/bytes.ts'
import { randomBytes } from '#shared/base/native-crypto.ts'
import { installDataset } from '../bench/install.ts'
import { residentMb } from '../bench/measure.ts'
import { Client } from '../support/nodes.ts'
import { eventually } from './cluster.ts'
import { done, type Engine } from './engine.ts'

const SECRETS = 100_000
const PORT = 8081
const ROUNDS = 5
const TICK_MS = 10
const IDLE_MS = 5_000

/** In words, with the bars (issue 5): a figure beyond its bar is said and is no failure of the image. */
export async function measureFollower(engine: Engine, image: string, folder: string): Promise<string> {
  const apiKey = toHex(randomBytes(32))
  const place = await install(join(folder, 'measured'), apiKey)
  const name = `holdfast-measured-${process.pid}`
  const seconds: number[] = []
  const worked: number[] = []
  const resident: number[] = []
  for (let round = 0; round < ROUNDS; round++) {
    await done([...engine.command, ...runWords(name, image, place)], engine.env)
    try {
      const pid = await processOf(engine, name)
      await eventually(() => readOnce(apiKey))
      seconds.push(ageOf(pid))
      worked.push(workOf(pid))
      await new Promise((resolve) => setTimeout(resolve, IDLE_MS))
      resident.push(residentMb(pid))
    } finally {
      await done([...engine.command, 'rm', '-f', '-t', '5', name], engine.env)
    }
  }
  const middle = (figures: number[]): number => figures.sort((a, b) => a - b)[Math.floor(ROUNDS / 2)]!
  return `${middle(resident).toFixed(0)} MB resident when idle (bar 120), ${middle(seconds).toFixed(2)} s from its start to a first read (bar 1), of them ${middle(worked).toFixed(2)} s of a processor`
}

async function install(place: string, apiKey: string): Promise<string> {
  const data = join(place, 'data')
  mkdirSync(data, { recursive: true })
  const key = randomBytes(32)
  writeFileSync(join(place, 'data.key'), toBase64(key))
  writeFileSync(join(place, 'bearer'), toHex(randomBytes(32)))
  await installDataset(data, key, { account: 'acme', hosts: 100, secrets: SECRETS, apiKey })
  for (const file of [
    data,
    ...readdirSync(data).map((name) => join(data, name)),
    join(place, 'data.key'),
    join(place, 'bearer'),
  ])
    chownSync(file, 1000, 1000)
  return place
}

const runWords = (name: string, image: string, place: string): string[] => [
  ...[
    'run',
    '-d',
    '--name',
    name,
    '--network',
    'host',
    '--read-only',
    '--cap-drop',
    'all',
    '--tmpfs',
    '/tmp',
  ],
  ...['-v', `${place}/data:/data`, '-v', `${place}/data.key:/run/secrets/data_key:ro`],
  ...['-v', `${place}/bearer:/run/secrets/bearer:ro`, '-e', 'HOLDFAST_BEARER_FILE=/run/secrets/bearer'],
  ...[
    '-e',
    'HOLDFAST_ACCOUNT=acme',
    '-e',
    'HOLDFAST_NAME=edge-1',
    '-e',
    'HOLDFAST_LEADER_URL=http://127.0.0.1:9',
    image,
  ],
]

/** The Follower itself, below the init of its container. */
async function processOf(engine: Engine, name: string): Promise<number> {
  const init = await done([...engine.command, 'inspect', '-f', '{{.State.Pid}}', name], engine.env)
  return eventually(async () => {
    const [child] = readFileSync(`/proc/${init}/task/${init}/children`, 'utf8').trim().split(' ')
    return child ? Number(child) : undefined
  })
}

async function readOnce(apiKey: string): Promise<true | undefined> {
  const client = await new Client(`http://127.0.0.1:${PORT}`, 'acme').login('host/app/host-1', apiKey)
  const read = await client.getSecret('app/secret-7')
  await read.arrayBuffer()
  return read.status === 200 ? true : undefined
}

const fieldsOf = (pid: number): string[] =>
  readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ')

/** Seconds since a process began. */
function ageOf(pid: number): number {
  const uptime = Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0])
  return uptime - (Number(fieldsOf(pid)[19]) * TICK_MS) / 1000
}

/** Seconds that processors have worked for it: what its start takes, whoever else is busy here. */
const workOf = (pid: number): number =>
  ((Number(fieldsOf(pid)[11]) + Number(fieldsOf(pid)[12])) * TICK_MS) / 1000
