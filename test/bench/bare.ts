// The baseline of every HTTP figure: a bare node:http server that answers a constant.
import { createServer } from 'node:http'

const body = Buffer.from('x'.repeat(64))
const server = createServer((_request, response) => {
  response.writeHead(200, { 'Content-Type': 'application/octet-stream', 'Content-Length': body.length })
  response.end(body)
})
server.listen(0, '127.0.0.1', () => {
  const address = server.address()
  if (address !== null && typeof address === 'object') process.stdout.write(`${address.port}\n`)
})
