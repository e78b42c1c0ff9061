// A WebSocket on one side, the Leader's own upgrade on the other.
import { once } from 'node:events'
import { createServer, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { WebSocketServer } from 'ws'

export async function leaderBridge(leaderUrl: string): Promise<{ url: string; close(): void }> {
  const door = new WebSocketServer({ noServer: true, perMessageDeflate: false })
  const server = createServer((_request, response) => response.writeHead(404).end())
  server.on('upgrade', (incoming, socket, head) => {
    const asked = request(new URL(incoming.url!, leaderUrl), {
      agent: false,
      headers: {
        Authorization: incoming.headers.authorization ?? '',
        Connection: 'Upgrade',
        Upgrade: 'holdfast',
      },
    })
    asked.on('error', () => socket.destroy())
    asked.on('response', ({ statusCode }) =>
      socket.end(`HTTP/1.1 ${statusCode} No\r\nContent-Length: 0\r\n\r\n`),
    )
    asked.on('upgrade', (_response, leader, first) => {
      door.handleUpgrade(incoming, socket, head, (ws) => {
        if (first.length > 0) ws.send(first)
        leader.on('data', (bytes) => ws.send(bytes))
        leader.on('close', () => ws.close())
        leader.on('error', () => ws.close())
        ws.on('message', (bytes) => leader.write(bytes as Buffer))
        ws.on('close', () => leader.destroy())
        ws.on('error', () => leader.destroy())
      })
    })
    asked.end()
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close() {
      server.closeAllConnections()
      server.close()
    },
  }
}
