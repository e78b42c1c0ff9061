// What stands in front of a managed Postgres such as Neon's: WebSockets from clients, each passed on to the one server as the
// bytes of its protocol. Clients log in with a password.
import { once } from 'node:events'
import { readFile, writeFile } from 'node:fs/promises'
import { type AddressInfo, createConnection, type Socket } from 'node:net'
import { join } from 'node:path'
import { type WebSocket, WebSocketServer } from 'ws'
import { connect } from '#control-plane/ledger/connection.ts'
import { toHex } from '#shared/base/bytes.ts'
import { randomBytes } from '#shared/base/native-crypto.ts'

export type OverWebSockets = {
  /** Of one of the databases, by the driver for WebSockets. */
  url(database: string): string
  /** Nothing is passed on any more, and who asks is turned away, until it is `back`. */
  leave(): void
  back(): void
  close(): Promise<void>
}

const ROLE = 'tenant'

/** `rights`: of the role by which clients come, as a managed service gives them. */
export async function overWebSockets(
  postgres: { url(database: string): string },
  rights: 'SUPERUSER' | 'CREATEDB',
): Promise<OverWebSockets> {
  const password = toHex(randomBytes(16))
  await letIn(postgres.url('postgres'), password, rights)
  const folder = new URL(postgres.url('postgres')).searchParams.get('host')!
  const server = new WebSocketServer({ host: '127.0.0.1', port: 0 })
  await once(server, 'listening')
  let away = false
  server.on('connection', (client) => {
    if (away) client.terminate()
    else passOn(client, createConnection(join(folder, '.s.PGSQL.5432')))
  })
  const proxy = encodeURIComponent(`ws://127.0.0.1:${(server.address() as AddressInfo).port}/v2`)
  const cut = (): void => {
    for (const client of server.clients) client.terminate()
  }
  return {
    url: (database) =>
      `postgresql://${ROLE}:${password}@localhost/${database}?driver=neon&websocket=${proxy}`,
    leave() {
      away = true
      cut()
    },
    back() {
      away = false
    },
    async close() {
      cut()
      server.close()
      await once(server, 'close')
    },
  }
}

function passOn(client: WebSocket, target: Socket): void {
  const end = (): void => {
    client.terminate()
    target.destroy()
  }
  for (const side of [client, target]) {
    side.on('error', end)
    side.on('close', end)
  }
  client.on('message', (bytes: Buffer) => target.write(bytes))
  target.on('data', (bytes) => client.send(bytes))
}

async function letIn(url: string, password: string, rights: string): Promise<void> {
  const admin = connect(url, 1)
  await admin.query(`CREATE ROLE ${ROLE} LOGIN ${rights} PASSWORD '${password}'`)
  const { rows } = await admin.query('SHOW hba_file')
  const file = rows[0]!.hba_file as string
  // The first rule that fits counts.
  await writeFile(file, `local all ${ROLE} scram-sha-256\n${await readFile(file, 'utf8')}`)
  await admin.query('SELECT pg_reload_conf()')
  await admin.close()
}
