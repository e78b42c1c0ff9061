// The program as people and scripts use it: words, JSON, exit codes, against real nodes.
import { spawn } from 'node:child_process'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startWorld, type World } from './api/world.ts'

const main = new URL('../../control-plane/cli/holdfast.js', import.meta.url).pathname
let world: World
beforeAll(async () => {
  world = await startWorld()
})
afterAll(() => world.machine.stop())

type Ran = { readonly code: number | null; readonly out: string; readonly err: string }

function run(args: readonly string[], input = '', env: Readonly<Record<string, string>> = {}): Promise<Ran> {
  const session = {
    HOLDFAST_URL: world.machine.leader.url,
    HOLDFAST_ACCOUNT: 'acme',
    HOLDFAST_API_KEY: world.machine.adminKey(),
  }
  const child = spawn(process.execPath, [main, ...args], { env: { ...process.env, ...session, ...env } })
  let out = ''
  let err = ''
  child.stdout.setEncoding('latin1').on('data', (text: string) => {
    out += text
  })
  child.stderr.on('data', (text) => {
    err += String(text)
  })
  child.stdin.end(input)
  return new Promise((resolve) => child.on('close', (code) => resolve({ code, out, err })))
}

const done = (out: string | RegExp) => ({ code: 0, out: expect.stringMatching(out), err: '' })

describe('resources', () => {
  test('list, in words, as JSON, filtered and counted', async () => {
    expect(await run(['list', '--kind', 'variable', '--limit', '2'])).toEqual(
      done(/^acme:variable:app\/db\/pw\nacme:variable:app\/empty\n$/),
    )
    const listed = await run(['list', '-k', 'variable', '-s', 'databases', '--json'])
    expect(JSON.parse(listed.out)).toMatchObject([{ id: 'acme:variable:app/db/pw' }])
    expect(await run(['list', '-k', 'variable', '--count'])).toEqual(done(/^4\n$/))
    expect(await run(['list', '-k', 'variable', '-r', 'group:app/readers', '--count'])).toEqual(done(/^3\n$/))
    expect(await run(['list', '-k', 'nothing'])).toEqual(done('(none)'))
  })

  test('show, and say what is not there', async () => {
    const shown = await run(['show', 'variable:app/db/pw', '--json'])
    expect(JSON.parse(shown.out)).toMatchObject({ id: 'acme:variable:app/db/pw', owner: 'acme:policy:app' })
    expect((await run(['show', 'acme:variable:app/db/pw', '--json'])).out).toBe(shown.out)
    expect(await run(['show', 'variable:none'])).toMatchObject({
      code: 1,
      out: '',
      err: expect.stringContaining('not found'),
    })
    expect(await run(['show', 'variable'])).toMatchObject({
      code: 2,
      err: expect.stringContaining('is no id'),
    })
  })

  test('check answers by words and exit code', async () => {
    expect(await run(['check', 'variable:app/db/pw', 'execute'])).toEqual(done(/^yes\n$/))
    expect(
      await run(['check', 'variable:app/db/pw', 'execute', '-r', 'host:app/onlooker', '--json']),
    ).toEqual({
      code: 1,
      out: '{"resource":"variable:app/db/pw","privilege":"execute","allowed":false}\n',
      err: '',
    })
  })
})

test('roles: show, members, memberships', async () => {
  expect(await run(['role', 'members', 'group:app/readers'])).toEqual(
    done(/acme:host:app\/web\n(.*\n)*acme:user:alice@app/),
  )
  expect(await run(['role', 'memberships', 'host:app/web'])).toEqual(
    done(/acme:group:app\/readers\nacme:group:app\/writers/),
  )
  const shown = await run(['role', 'show', 'group:app/readers', '--json'])
  expect(JSON.parse(shown.out)).toMatchObject({ id: 'acme:group:app/readers' })
})

describe('values', () => {
  test('go in and come out byte for byte', async () => {
    expect(await run(['variable', 'set', '-i', 'app/empty'], 'a\0\xff\nb')).toEqual(done('stored'))
    const file = Buffer.from('a\0\xff\nb').toString('latin1')
    expect((await run(['variable', 'get', '-i', 'app/empty'])).out).toBe(file)
  })
})

describe('credentials', () => {
  test('rotate a key of another, then one’s own', async () => {
    const rotated = await run(['host', 'rotate-api-key', '-i', 'app/far'])
    expect(rotated).toEqual(done(/^\w{40,}\n$/))
    const alice = { HOLDFAST_LOGIN: 'alice@app', HOLDFAST_API_KEY: world.keys.get('acme:user:alice@app')! }
    const own = await run(['user', 'rotate-api-key', '--json'], '', alice)
    const { api_key } = JSON.parse(own.out) as { api_key: string }
    expect(await run(['whoami'], '', alice)).toMatchObject({ code: 1, out: '' })
    expect(await run(['whoami'], '', { ...alice, HOLDFAST_API_KEY: api_key })).toEqual(done('alice@app'))
    const changed = await run(['user', 'change-password'], 'MyP@ssw0rd-99\n', {
      ...alice,
      HOLDFAST_API_KEY: api_key,
    })
    expect(changed).toEqual(done('changed'))
  })

  test('show public keys', async () => {
    expect(await run(['pubkeys', 'bob@app'])).toEqual(done(/^ssh-ed25519 AAAAC3Nz laptop\n$/))
  })

  test('enrol a host with a token of a host factory, and end the token', async () => {
    const made = await run(['hostfactory', 'tokens', 'create', '-i', 'app/factory', '--cidr', '127.0.0.0/8'])
    expect(made).toEqual(done(/^\w+\n$/))
    const enrolled = await run(['hostfactory', 'hosts', 'create', '-i', 'app/new'], made.out)
    expect(enrolled).toEqual(done(/^acme:host:app\/new\n\w+\n$/))
    expect(await run(['hostfactory', 'tokens', 'revoke'], made.out)).toEqual(done('revoked'))
    expect(await run(['hostfactory', 'hosts', 'create', '-i', 'late'], made.out)).toMatchObject({
      code: 1,
      out: '',
    })
  })
})

describe('how commands end', () => {
  test.each([
    ['an unknown command', ['nonsense'], 2],
    ['an unknown flag', ['list', '--nonsense'], 2],
    ['a missing argument', ['show'], 2],
    ['help', ['--help'], 0],
    ['help of a command', ['hostfactory', 'tokens', 'create', '--help'], 0],
    ['a node without its settings', ['follower', '--leader-url', 'http://h'], 2],
  ])('%s', async (_, args, code) => {
    expect((await run(args)).code).toBe(code)
  })

  test('a node that does not answer, a key that is wrong, no key at all', async () => {
    const nobody = { HOLDFAST_URL: 'http://127.0.0.1:1' }
    expect(await run(['whoami'], '', nobody)).toMatchObject({
      code: 3,
      err: expect.stringContaining('does not answer'),
    })
    const wrong = await run(['whoami', '--json'], '', { HOLDFAST_API_KEY: 'not-the-key' })
    expect(wrong).toMatchObject({ code: 1, out: '' })
    expect(JSON.parse(wrong.err)).toMatchObject({ error: { code: 'unauthorized' } })
    expect(wrong.err).not.toContain('not-the-key')
    expect(await run(['whoami'], '', { HOLDFAST_API_KEY: '' })).toMatchObject({ code: 2 })
  })

  test.each([
    ['leader-1=bearer', 'leader-1 is the name of another node'],
    ['bearer', 'bearer is not of the form name=file-with-bearer'],
  ])('a Leader with the Follower %s does not start', async (followers, message) => {
    const { dataKeyFile, directory } = world.machine
    const args = [
      '--data-key-file',
      dataKeyFile,
      '--data-dir',
      `${directory}/other`,
      '--followers',
      followers,
    ]
    expect(await run(['leader', ...args])).toMatchObject({ code: 2, err: expect.stringContaining(message) })
  })

  test('settings are shown with their sources and nothing starts', async () => {
    const shown = await run(['leader', '--print-settings', '--data-key-file', 'k', '--json'], '', {
      HOLDFAST_PORT: '81',
    })
    expect(JSON.parse(shown.out)).toEqual(
      expect.arrayContaining([
        { name: 'port', value: 81, from: 'HOLDFAST_PORT' },
        { name: 'data_key_file', value: 'k', from: '--data-key-file' },
        { name: 'log_level', value: 'info', from: 'default' },
      ]),
    )
    expect(shown.code).toBe(0)
  })
})
