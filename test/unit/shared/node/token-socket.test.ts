// Whoever may open the socket gets a token, and nobody else may (http-api 4).
import { once } from 'node:events'
import { existsSync, linkSync, mkdtempSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { toBase64, utf8 } from '#shared/base/bytes.ts'
import { limits } from '#shared/base/limits.ts'
import { wall } from '#shared/base/time.ts'
import { systemClock } from '#shared/node/clock.ts'
import { type TokenSocket, tokenSocketOf } from '#shared/node/token-socket.ts'
import { createTokens, newSigningKey, type Tokens } from '#shared/token/access-token.ts'

const NOW = Date.UTC(2026, 0, 5, 10, 20, 30)
const SECONDS = NOW / 1000

let folder: string
let path: string
let tokens: Tokens
let socket: TokenSocket | undefined
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'holdfast-socket-'))
  path = join(folder, 'tokens.sock')
  const key = await newSigningKey()
  tokens = await createTokens(key, 'leader-1')
  tokens.keysChanged([{ kid: key.kid, jwk: JSON.stringify(key.publicJwk) }])
})
afterEach(async () => {
  await socket?.close()
  socket = undefined
  rmSync(folder, { recursive: true })
})

const clock = { ...systemClock, wall: () => wall(NOW) }
async function open(token_socket?: string): Promise<void> {
  socket = await tokenSocketOf({ token_socket, host_authorization_token_ttl: 480 }, tokens, clock)
}

/** The lines that come back for these. */
async function ask(...lines: string[]): Promise<string[]> {
  const client = connect(path)
  await once(client, 'connect')
  client.write(lines.map((line) => `${line}\n`).join(''))
  let text = ''
  client.on('data', (chunk) => {
    text += String(chunk)
  })
  while (text.split('\n').length <= lines.length)
    await Promise.race([once(client, 'data'), once(client, 'close')])
  client.destroy()
  return text.split('\n').slice(0, lines.length)
}

const verified = (line: string) => tokens.verify(toBase64(utf8(line)), NOW)

describe('a line', () => {
  test.each([
    [
      { account: 'acme', sub: 'alice' },
      { role: 'acme:user:alice', expiresAt: NOW + 480_000, cidr: [] },
    ],
    [
      { account: 'acme', sub: 'host/app/web', exp: SECONDS + 60 },
      { role: 'acme:host:app/web', expiresAt: NOW + 60_000 },
    ],
    [{ account: 'acme', sub: 'host/x', cidr: ['10.0.0.0/8', '::1'] }, { cidr: ['10.0.0.0/8', '::1/128'] }],
    [
      { account: 'acme', sub: 'host/x', exp: SECONDS + 1e9 },
      { expiresAt: NOW + limits.tokenTtlSecondsMax * 1000 },
    ],
  ])('%j gets a token', async (asked, expected) => {
    await open(path)
    const [line] = await ask(JSON.stringify(asked))
    expect(await verified(line!)).toMatchObject(expected)
  })

  test('that is no request gets an empty line, and the next one its token', async () => {
    await open(path)
    const bad = [
      '',
      'no json',
      '[]',
      '{}',
      '{"account":"acme"}',
      '{"account":"","sub":"x"}',
      '{"account":"a:b","sub":"x"}',
      '{"account":"acme","sub":7}',
      `{"account":"acme","sub":"x","exp":${SECONDS}}`,
      '{"account":"acme","sub":"x","exp":"soon"}',
      '{"account":"acme","sub":"x","cidr":"10.0.0.0/8"}',
      '{"account":"acme","sub":"x","cidr":["nowhere"]}',
    ]
    const answers = await ask(...bad, '{"account":"acme","sub":"alice"}')
    expect(answers.slice(0, -1)).toEqual(bad.map(() => ''))
    expect(await verified(answers.at(-1)!)).toMatchObject({ role: 'acme:user:alice' })
  })

  test('without end is not read to the end', async () => {
    await open(path)
    const client = connect(path)
    client.on('error', () => undefined)
    client.write('x'.repeat(limits.bodyBytes + 1))
    await once(client, 'close')
  })
})

describe('the socket', () => {
  test('is not opened where the settings name none', async () => {
    await open()
    expect(socket).toBeUndefined()
  })

  test('is its owner’s only, and gone when it is closed', async () => {
    await open(path)
    expect(statSync(path).mode & 0o777).toBe(0o600)
    await socket!.close()
    socket = undefined
    expect(existsSync(path)).toBe(false)
  })

  test('of a killed process is taken over; one in use, a file, or a folder that is closed is refused by name', async () => {
    const left = createServer().listen(path)
    await once(left, 'listening')
    await expect(open(path)).rejects.toThrow(`token_socket: ${path} is in use by another process`)
    // Closed without its file being removed, as after SIGKILL.
    const kept = join(folder, 'kept')
    linkSync(path, kept)
    await new Promise((resolve) => left.close(resolve))
    renameSync(kept, path)
    await open(path)
    expect(await ask('{"account":"acme","sub":"alice"}')).toHaveLength(1)
    await socket!.close()
    socket = undefined
    writeFileSync(path, 'text')
    await expect(open(path)).rejects.toThrow('is a file')
  })
})
