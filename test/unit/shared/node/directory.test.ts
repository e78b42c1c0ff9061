// What is at stake: a directory is named by whoever writes policy. One that lies, floods or says nothing gets no password
// that is not for it, makes nobody somebody else, and stops no node.
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createSecureContext, TLSSocket } from 'node:tls'
import { afterEach, describe, expect, test } from 'vitest'
import type { Directory, DirectoryServer } from '#shared/authn/directory.ts'
import { parseRanges } from '#shared/authz/address.ts'
import { limits } from '#shared/base/limits.ts'
import { directoriesOf, directoriesThrough } from '#shared/node/directory.ts'
import { apiTable, directoryTable, readSettings, showSettings } from '#shared/node/settings.ts'
import { certificatesFor } from '../../../support/certificates.ts'

const NOTHING = {
  uri: undefined,
  base: undefined,
  bindDn: undefined,
  bindPassword: undefined,
  filter: undefined,
}
const { talk } = directoriesThrough(parseRanges(['127.0.0.1', '::1'], 'x'), NOTHING)

const ber = (tag: number, ...content: readonly (Buffer | number)[]): Buffer => {
  const body = Buffer.concat(content.map((part) => (typeof part === 'number' ? Buffer.from([part]) : part)))
  return Buffer.concat([Buffer.from([tag, body.length]), body])
}
const text = (value: string): Buffer => ber(0x04, Buffer.from(value))
const result = (id: number, tag: number, code: number): Buffer =>
  ber(0x30, ber(0x02, id), ber(tag, ber(0x0a, code), text(''), text('')))
const BIND = 0x61
const EXTENDED = 0x78
/** The id of a request: all that these servers read of it. */
const idOf = (request: Buffer): number => request[4]!

const closers: (() => void)[] = []
afterEach(() => {
  for (const close of closers.splice(0)) close()
})

/** `dials`: how many connections there were. */
async function serve(
  speak: (socket: Socket) => void,
  more: Partial<DirectoryServer> = {},
): Promise<DirectoryServer & { dials(): number }> {
  let dials = 0
  const sockets: Socket[] = []
  const server = createServer((socket) => {
    dials++
    sockets.push(socket.on('error', () => undefined))
    speak(socket)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  closers.push(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  return { host: '127.0.0.1', port, connect: 'plain', ca: undefined, ...more, dials: () => dials }
}

const answering = (answer: (id: number) => Buffer) => (socket: Socket) =>
  void socket.on('data', (request) => socket.write(answer(idOf(request as Buffer))))
const bind = (directory: Directory) => directory.bind('cn=a', 'secret')

describe('the operator’s password', () => {
  const table = { ...apiTable, ...directoryTable }
  const env = {
    LDAP_URI: 'ldaps://own.example',
    LDAP_BASE: 'dc=own',
    LDAP_BINDDN: 'cn=own',
    LDAP_BINDPW: 'of the environment',
    LDAP_FILTER: '(uid=%s)',
  }
  const sources = (more: Readonly<Record<string, string>> = {}) => ({
    flags: {},
    env: { ...env, ...more },
    file: undefined,
  })
  const own = async (more?: Readonly<Record<string, string>>) =>
    (await directoriesOf(readSettings(table, sources(more)), env)).own

  test('is that of the environment, or of a file before it', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'holdfast-directory-'))
    closers.push(() => rmSync(folder, { recursive: true }))
    const file = join(folder, 'password')
    writeFileSync(file, 'of the file\n')
    expect(await own()).toEqual({
      uri: env.LDAP_URI,
      base: env.LDAP_BASE,
      bindDn: env.LDAP_BINDDN,
      bindPassword: env.LDAP_BINDPW,
      filter: env.LDAP_FILTER,
    })
    expect(await own({ HOLDFAST_LDAP_BIND_PASSWORD_FILE: file })).toMatchObject({
      bindPassword: 'of the file',
    })
    await expect(own({ HOLDFAST_LDAP_BIND_PASSWORD_FILE: join(folder, 'none') })).rejects.toMatchObject({
      code: 'settings_invalid',
    })
  })

  test('is no setting: it is not among those that are shown', () => {
    const shown = showSettings(table, sources())
    expect(shown).toContainEqual({ name: 'ldap_uri', value: 'ldaps://own.example', from: 'LDAP_URI' })
    expect(JSON.stringify(shown)).not.toMatch('of the environment')
  })

  test.each(['http://own.example', 'ldap://cn=own:secret@own.example', 'own.example'])(
    'nor is there an address with one: %s',
    (uri) => {
      expect(() => readSettings(table, sources({ LDAP_URI: uri }))).toThrow(/ldap_uri/)
    },
  )
})

test('a result is told as it is', async () => {
  for (const code of [10, 49, 53, 80]) {
    const server = await serve(answering((id) => result(id, BIND, code)))
    expect(await talk(server, bind)).toBe(code)
  }
  expect(await talk(await serve(answering((id) => result(id, BIND, 0))), bind)).toBeUndefined()
})

test('what came in clear is no part of an answer under TLS', async () => {
  const { ca, cert, key } = await certificatesFor('127.0.0.1')
  const refusal = (id: number) => result(id, BIND, 49)
  const attacked = (id: number) => (socket: Socket) => {
    // Somebody on the way adds the beginning of a success, whose last text is the answer that comes under TLS.
    const success = ber(
      0x30,
      ber(0x02, id),
      ber(BIND, ber(0x0a, 0), text(''), text('x'.repeat(refusal(id).length))),
    )
    const begun = success.subarray(0, success.length - refusal(id).length)
    socket.once('data', (request) => {
      socket.write(Buffer.concat([result(idOf(request as Buffer), EXTENDED, 0), begun]))
      const tls = new TLSSocket(socket, { isServer: true, secureContext: createSecureContext({ cert, key }) })
      tls.on('error', () => undefined).on('data', (asked: Buffer) => tls.write(refusal(idOf(asked))))
    })
  }
  for (const id of [1, 2, 3, 4]) {
    const server = await serve(attacked(id), { connect: 'tls', ca })
    expect(await talk(server, bind)).toBe(49)
  }
})

test('one that does not want TLS is told nothing', async () => {
  const heard: Buffer[] = []
  const server = await serve(
    (socket) => {
      socket.on('data', (request: Buffer) => {
        heard.push(request)
        socket.write(result(idOf(request), EXTENDED, 2))
      })
    },
    { connect: 'tls' },
  )
  await expect(talk(server, bind)).rejects.toMatchObject({
    kind: 'failed',
    message: 'it refuses StartTLS (2)',
  })
  expect(Buffer.concat(heard).includes('secret')).toBe(false)
})

test('a certificate is for the name or address that was asked', async () => {
  const { ca, cert, key } = await certificatesFor('other.example')
  const server = await serve(
    (socket) => {
      const tls = new TLSSocket(socket, { isServer: true, secureContext: createSecureContext({ cert, key }) })
      tls.on('error', () => undefined)
    },
    { connect: 'ssl', ca },
  )
  for (const host of ['127.0.0.1', 'localhost'])
    await expect(talk({ ...server, host }, bind)).rejects.toMatchObject({ kind: 'failed' })
})

test('very many small messages at once are read, and too many are refused', async () => {
  // Each is whole, and for a request that nobody made.
  const small = ber(0x30, ber(0x02, 0x63), ber(BIND))
  const flood = (count: number) => Buffer.concat(Array.from({ length: count }, () => small))
  const many = await serve((socket) => {
    socket.on('data', (request: Buffer) => {
      socket.write(flood(50_000))
      socket.write(result(idOf(request), BIND, 0))
    })
  })
  expect(await talk(many, bind)).toBeUndefined()
  const endless = await serve((socket) => {
    socket.on('data', () => {
      const more = (): void => {
        while (!socket.destroyed && socket.write(flood(5_000)));
      }
      socket.on('drain', more)
      more()
    })
  })
  await expect(talk(endless, bind)).rejects.toMatchObject({ kind: 'failed' })
})

test('nobody binds without a name or a password, nor in another way than by these', async () => {
  let heard = 0
  const server = await serve((socket) => void socket.on('data', () => heard++))
  for (const [name, password] of [
    ['', 'secret'],
    ['cn=a', ''],
    ['EXTERNAL', 'secret'],
    ['PLAIN', 'secret'],
  ] as const)
    await expect(talk(server, (directory) => directory.bind(name, password))).rejects.toMatchObject({
      kind: 'failed',
    })
  expect(heard).toBe(0)
})

test('a connection that has ended is not dialled again', async () => {
  const server = await serve((socket) => {
    socket.on('data', (request) => socket.end(result(idOf(request as Buffer), BIND, 0)))
  })
  const again = talk(server, async (directory) => {
    await bind(directory)
    // Whether it fails already depends on when the end is heard; the next one is after it.
    await bind(directory).catch(() => undefined)
    return bind(directory)
  })
  await expect(again).rejects.toMatchObject({
    kind: 'failed',
    message: expect.stringContaining('the connection has ended'),
  })
  expect(server.dials()).toBe(1)
})

test('an address that is not public and not allowed is not dialled', async () => {
  const server = await serve(() => undefined)
  const strict = directoriesThrough([], NOTHING)
  for (const host of ['127.0.0.1', 'localhost', '169.254.169.254', '::1'])
    await expect(strict.talk({ ...server, host }, bind)).rejects.toMatchObject({ kind: 'not_allowed' })
  expect(server.dials()).toBe(0)
})

test('one that says nothing is waited for as long as for any provider', async () => {
  const silent = [await serve(() => undefined), await serve(() => undefined, { connect: 'ssl' })]
  await Promise.all(
    silent.map((server) => expect(talk(server, bind)).rejects.toMatchObject({ kind: 'timeout' })),
  )
})

test('so many at once, and no more', async () => {
  const server = await serve(answering((id) => result(id, BIND, 0)))
  const all = Promise.withResolvers<undefined>()
  const talks = Array.from({ length: limits.directoryConversations }, () => talk(server, () => all.promise))
  await expect(talk(server, bind)).rejects.toMatchObject({ kind: 'failed' })
  all.resolve(undefined)
  await Promise.all(talks)
  expect(await talk(server, bind)).toBeUndefined()
})
