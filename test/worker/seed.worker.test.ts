// What is at stake: whoever gives the lines of `holdfast seed follower --edge` to a shell has a Follower that the Leader knows,
// until he puts it out, and again when he takes it back. Only `npx` is ours: what it would send is what workerd is started with.
import { spawnSync } from 'node:child_process'
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { systemClock } from '#shared/node/clock.ts'
import { edgeNode } from '../support/edge.ts'
import { type JoiningMachine, servingMachine } from '../support/joining.ts'
import { type Client, type Env, freePorts, type NodeProcess } from '../support/nodes.ts'

const root = new URL('../..', import.meta.url).pathname

/** Secrets come through its input; a deploy is the real one as far as it goes without an account. */
const NPX = `#!/bin/sh
shift
case "$1" in
  secret) cat > "$SENT/$3" ;;
  deploy) printf '%s\\n' "$@" > "$SENT/deploy"
    exec '${process.execPath}' node_modules/wrangler/bin/wrangler.js "$@" --dry-run --outdir "$SENT" ;;
esac
`

type Sent = { readonly vars: Env; readonly secrets: Env; readonly bundle: string; readonly said: string }

/** As the first line of them says: to sh, in a copy of holdfast. `folder`: for what is sent. */
function given(lines: string, folder: string): Sent {
  mkdirSync(folder)
  writeFileSync(join(folder, 'npx'), NPX)
  chmodSync(join(folder, 'npx'), 0o700)
  const ran = spawnSync('sh', ['-e'], {
    cwd: root,
    input: lines,
    encoding: 'utf8',
    env: {
      ...process.env,
      ...{ SENT: folder, PATH: `${folder}:${process.env.PATH}` },
      ...{ CI: '1', WRANGLER_SEND_METRICS: 'false', NO_COLOR: '1' },
    },
  })
  if (ran.status !== 0) throw new Error(`the lines ended with ${ran.status}: ${ran.stdout}${ran.stderr}`)
  const secret = (name: string): string => readFileSync(join(folder, name), 'utf8')
  const words = readFileSync(join(folder, 'deploy'), 'utf8').trimEnd().split('\n')
  const pairs = words.filter((_word, at) => words[at - 1] === '--var')
  return {
    vars: Object.fromEntries(pairs.map((pair) => [/^\w+/.exec(pair)![0], pair.replace(/^\w+:/, '')])),
    secrets: {
      HOLDFAST_BEARER: secret('HOLDFAST_BEARER'),
      HOLDFAST_DATA_KEY: secret('HOLDFAST_DATA_KEY'),
    },
    bundle: join(folder, 'index.js'),
    said: ran.stdout,
  }
}

async function until(holds: () => Promise<boolean>): Promise<void> {
  while (!(await holds().catch(() => false))) await systemClock.sleep(20)
}

describe.each(['object', 'leader'] as const)('a Worker by the lines of a seed, and the %s dials', (link) => {
  const name = `edge-${link}`
  let machine: JoiningMachine
  let admin: Client
  let port: number
  let sent: Sent
  let edge: NodeProcess | undefined
  let deploys = 0

  /** Asked for, given to the shell, and started: what was stored stays. */
  async function deployed(): Promise<void> {
    await edge?.kill()
    const dataKeyFile = join(machine.directory, 'data.key')
    const dial = link === 'leader' ? ['--dial', `http://127.0.0.1:${port}`] : []
    const lines = await machine.seed('follower', '--edge', name, '--data-key-file', dataKeyFile, ...dial)
    sent = given(lines, join(machine.directory, `deploy-${++deploys}`))
    edge = edgeNode({ directory: join(machine.directory, 'edge'), port, ...sent })
    edge.start()
    await edge.answered()
  }

  const read = async (): Promise<string> => {
    const got = await admin.at(edge!.url).getSecret('pw')
    return `${got.status} ${await got.text()}`
  }

  beforeAll(async () => {
    ;[machine, admin] = await servingMachine('of the Leader')
    ;[port] = (await freePorts(1)) as [number]
    await deployed()
  }, 120_000)
  afterAll(async () => {
    await edge?.kill()
    await machine?.stop()
  })

  test('a deploy takes what was printed, and shows no secret', () => {
    // It hides what a variable holds that is given so; those of wrangler.toml it would show.
    const named = [...sent.said.matchAll(/^env\.(HOLDFAST_\w+) \("\(hidden\)"\)/gm)].map(([, one]) => one)
    expect(named.sort()).toEqual(Object.keys(sent.vars).sort())
    expect(sent.said.match(/env\.HOLDFAST_/g)).toHaveLength(named.length)
    expect(sent.vars).toMatchObject({ HOLDFAST_NAME: name, HOLDFAST_ACCOUNT: 'acme', HOLDFAST_LINK: link })
    expect(JSON.stringify(sent.vars) + sent.said).not.toContain(sent.secrets.HOLDFAST_BEARER)
  })

  test('it is let in, and a secret is read there', async () => {
    await until(async () => (await read()) === '200 of the Leader')
    const { out } = await machine.run(['ca', 'list'])
    expect(out).toMatch(new RegExp(`follower ${name}\\n {2}bearer {2}valid`))
  })

  test('put out it serves no more, nor when it is started again', async () => {
    expect((await machine.run(['ca', 'revoke', name])).code).toBe(0)
    const isOut = async (): Promise<boolean> => (await read()).startsWith('503')
    await until(isOut)
    expect(await read()).toContain(`the bearer of ${name} is revoked`)
    await edge!.kill()
    edge!.start()
    await edge!.answered()
    expect(await isOut()).toBe(true)
  })

  test('with a bearer that the Leader does not know it stays out', async () => {
    await edge!.kill()
    const secrets = { ...sent.secrets, HOLDFAST_BEARER: 'x'.repeat(43) }
    edge = edgeNode({ directory: join(machine.directory, 'edge'), port, ...sent, secrets })
    edge.start()
    await edge.answered()
    if (link === 'object') await until(async () => edge!.log.includes('does not know this name'))
    expect(await read()).toMatch(/^503 .*is revoked/)
  })

  test('with the lines of a new seed it serves again, also after a start', async () => {
    await admin.setSecret('pw', 'written meanwhile')
    await deployed()
    await until(async () => (await read()) === '200 written meanwhile')
    await machine.leader.kill()
    await edge!.kill()
    edge!.start()
    await edge!.ready()
    expect(await read()).toBe('200 written meanwhile')
  })
})
