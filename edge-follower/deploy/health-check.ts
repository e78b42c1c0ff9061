// Whether this Follower is well, for the engine of its container: ends with 0 or 1. With --any every answer will do. The port
// is the setting's variable; the certificate is not looked at, because nobody's name is 127.0.0.1.
import { get as plainly } from 'node:http'
import { get as overTls } from 'node:https'

const WITHIN_MS = 2_000
const { HOLDFAST_PORT, HOLDFAST_TLS_CERT_FILE } = process.env
const [scheme, get] = HOLDFAST_TLS_CERT_FILE === undefined ? ['http', plainly] : ['https', overTls]
const any = process.argv.includes('--any')

get(
  `${scheme}://127.0.0.1:${HOLDFAST_PORT ?? 8081}/health`,
  { rejectUnauthorized: false, timeout: WITHIN_MS },
  ({ statusCode }) => process.exit(any || statusCode === 200 ? 0 : 1),
)
  .on('timeout', () => process.exit(1))
  .on('error', () => process.exit(1))
