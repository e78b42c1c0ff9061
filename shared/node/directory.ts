// The door to directories on Node: `ldapts` over a connection that is ours. The address that is connected to is the one that
// was judged, passwords go nowhere but there, and what comes back is bounded.
import { once } from 'node:events'
import { connect as connectTcp, isIP, type Socket } from 'node:net'
import { Duplex } from 'node:stream'
import { connect as connectTls } from 'node:tls'
import type { Client } from 'ldapts'
import type { apiTable, directoryTable, SettingsOf } from '../api/setting-tables.ts'
import type { Directories, Directory, DirectoryServer, OwnDirectory } from '../authn/directory.ts'
import { OutgoingFailure } from '../authn/outgoing.ts'
import { parseRanges, type Range } from '../authz/address.ts'
import { limits } from '../base/limits.ts'
import { readSettingFile } from './files.ts'
import { failureOf, lookupFor } from './outgoing.ts'

type Settings = SettingsOf<typeof directoryTable> &
  Pick<SettingsOf<typeof apiTable>, 'authn_private_networks'>

/** Throws `settings_invalid`. */
export async function directoriesOf(
  settings: Settings,
  env: Readonly<Record<string, string | undefined>>,
): Promise<Directories> {
  const { ldap_bind_password_file: file } = settings
  const own = {
    uri: settings.ldap_uri,
    base: settings.ldap_base,
    bindDn: settings.ldap_bind_dn,
    // No setting: those are shown.
    bindPassword:
      file === undefined
        ? env.LDAP_BINDPW || undefined
        : await readSettingFile('ldap_bind_password_file', file),
    filter: settings.ldap_filter,
  }
  return directoriesThrough(parseRanges(settings.authn_private_networks, 'authn_private_networks'), own)
}

/** `allowed`: networks that are not public and may be asked. */
export function directoriesThrough(allowed: readonly Range[], own: OwnDirectory): Directories {
  let talking = 0
  return {
    own,
    async talk(server, conversation) {
      if (talking >= limits.directoryConversations)
        throw new OutgoingFailure('failed', 'too many ask directories at once')
      talking++
      const deadline = AbortSignal.timeout(limits.providerMs)
      try {
        const socket = await connected(server, allowed, deadline)
        try {
          return await conversation(await directoryOver(socket, server))
        } finally {
          socket.destroy()
        }
      } catch (error) {
        throw failureOf(deadline.aborted ? deadline.reason : (error as Error))
      } finally {
        talking--
      }
    },
  }
}

/** Ends with the signal, whatever it is used for by then. */
async function connected(
  { host, port }: DirectoryServer,
  allowed: readonly Range[],
  signal: AbortSignal,
): Promise<Socket> {
  const socket = connectTcp({ host, port, lookup: lookupFor(host, allowed), signal })
  await once(socket, 'connect')
  return heard(socket)
}

/** TLS on a connection. The name or address that was asked for has to stand in the certificate. */
async function secured(socket: Socket, { host, ca }: DirectoryServer): Promise<Socket> {
  const servername = isIP(host) === 0 ? { servername: host } : {}
  const tls = connectTls({ socket, host, ...servername, ...(ca === undefined ? {} : { ca }) })
  await once(tls, 'secureConnect')
  return heard(tls)
}

/** An error that comes when nobody waits for one would end the program; whoever waits hears of the end. */
const heard = (socket: Socket): Socket => socket.on('error', () => undefined)

const START_TLS = '1.3.6.1.4.1.1466.20037'

async function directoryOver(socket: Socket, server: DirectoryServer): Promise<Directory> {
  // Loaded when the first directory is asked: most nodes never do.
  const { Client, ResultCodeError } = await import('ldapts')
  const clientOver = (line: Duplex): Client => {
    let used = false
    return new Client({
      url: 'ldap://directory',
      // It would dial again by itself, in clear and without us: a connection that has ended stays so.
      createConnection: (() => {
        if (used) throw new OutgoingFailure('failed', 'the connection has ended')
        used = true
        return line
      }) as unknown as typeof connectTcp,
    })
  }
  const resultOf = (error: unknown): number => {
    if (error instanceof ResultCodeError) return error.code
    throw error
  }
  const { connect } = server
  if (connect === 'tls') {
    const asked = clientOver(lineOver(socket)).exop(START_TLS)
    const refused = await asked.then(() => undefined, resultOf)
    if (refused !== undefined) throw new OutgoingFailure('failed', `it refuses StartTLS (${refused})`)
  }
  // After StartTLS another one than before: what came in clear must not be the beginning of an answer under TLS.
  const client = clientOver(lineOver(connect === 'plain' ? socket : await secured(socket, server)))
  return {
    async bind(name, password) {
      // A name has one of these. The library takes some words without them for ways to authenticate.
      if (!/[=@\\]/.test(name) || password === '')
        throw new OutgoingFailure('failed', 'nobody binds without a name and a password')
      return client.bind(name, password).then(() => undefined, resultOf)
    },
    async find(base, filter) {
      try {
        // No limit of entries: a server that knows more than it tells must say so, and then this is refused.
        const { searchEntries } = await client.search(base, { scope: 'sub', filter, attributes: ['1.1'] })
        return searchEntries.map(({ dn }) => dn)
      } catch (error) {
        throw new OutgoingFailure('failed', `it answers the search with ${resultOf(error)}`)
      }
    },
  }
}

/** Bytes that the library is given at once: it recurses once per message in them. */
const PIECE_BYTES = 1024

/** What the library reads and writes: a connection in small pieces, and no more of it than an answer may have. */
function lineOver(socket: Socket): Duplex {
  let length = 0
  const line = new Duplex({
    read: () => undefined,
    write: (chunk, _, done) => void socket.write(chunk, done),
  })
  socket.on('data', (chunk: Buffer) => {
    length += chunk.length
    if (length > limits.providerBytes) socket.destroy()
    else
      for (let at = 0; at < chunk.length; at += PIECE_BYTES) line.push(chunk.subarray(at, at + PIECE_BYTES))
  })
  socket.on('close', () => line.destroy())
  line.on('error', () => undefined)
  // As the library asks a socket whether it is connected.
  return Object.assign(line, { connecting: false, readyState: 'open' })
}
