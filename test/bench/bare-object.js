// What the platform takes for a read like ours, with nothing of ours: two lookups among 50 000 secrets, a value opened, a
// chained audit record stored before the answer.
import { createCipheriv, createDecipheriv, createSecretKey, hash } from 'node:crypto'
import { DurableObject } from 'cloudflare:workers'

const SECRETS = 50_000
const GROUP_MS = 5
const OWN = new TextEncoder().encode('\0acme:host:app/host-1\0acme:layer:app\0')
const isOwn = (column) => `instr(?2, CAST(char(0) || ${column} || char(0) AS BLOB)) > 0`
const ACCESS =
  `SELECT 'owner' AS what, CASE WHEN ${isOwn('r.owner')} THEN 'yes' ELSE 'no' END AS value ` +
  "FROM resources r WHERE r.id = ?1 UNION ALL SELECT 'privilege' AS what, p.privilege AS value " +
  `FROM permissions p WHERE p.resource = ?1 AND ${isOwn('p.role')}`
const SECRET = 'SELECT version, sealed FROM secrets WHERE resource = ?1 ORDER BY version DESC LIMIT 1'
const TABLES = [
  'resources (id TEXT PRIMARY KEY, owner TEXT, digest BLOB) WITHOUT ROWID',
  'permissions (resource TEXT, role TEXT, privilege TEXT, digest BLOB, PRIMARY KEY (resource, role, privilege)) WITHOUT ROWID',
  'secrets (resource TEXT, version INTEGER, sealed BLOB, digest BLOB, PRIMARY KEY (resource, version)) WITHOUT ROWID',
  'audit (first INTEGER PRIMARY KEY, lines BLOB)',
]

const key = createSecretKey(new Uint8Array(32))
const nonce = new Uint8Array(12)

function seal(plain) {
  const cipher = createCipheriv('aes-256-gcm', key, nonce)
  const text = cipher.update(plain)
  cipher.final()
  return Buffer.concat([cipher.getAuthTag(), text])
}

function open(sealed) {
  const decipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: 16 })
  decipher.setAuthTag(sealed.subarray(0, 16))
  const plain = decipher.update(sealed.subarray(16))
  decipher.final()
  return plain
}

export class FollowerObject extends DurableObject {
  constructor(ctx, env) {
    super(ctx, env)
    const { sql } = ctx.storage
    for (const table of TABLES) sql.exec(`CREATE TABLE IF NOT EXISTS ${table}`)
    const digest = new Uint8Array(32)
    const sealed = seal(new Uint8Array(64))
    ctx.storage.transactionSync(() => {
      for (let n = 0; n < SECRETS; n++) {
        const id = `acme:variable:app/secret-${n}`
        sql.exec('INSERT INTO resources VALUES (?, ?, ?)', id, 'acme:policy:app', digest)
        for (const privilege of ['read', 'execute'])
          sql.exec('INSERT INTO permissions VALUES (?, ?, ?, ?)', id, 'acme:layer:app', privilege, digest)
        sql.exec('INSERT INTO secrets VALUES (?, 1, ?, ?)', id, sealed, digest)
      }
    })
    this.sql = sql
    this.waiting = []
    this.chain = ''
  }

  async fetch(request) {
    const { url } = request
    const id = `acme:variable:${decodeURIComponent(url.slice(url.indexOf('/variable/') + '/variable/'.length))}`
    const rows = this.sql.exec(ACCESS, id, OWN).toArray()
    if (!rows.some(({ value }) => value === 'execute')) return new Response(null, { status: 403 })
    const [{ sealed }] = this.sql.exec(SECRET, id).toArray()
    const value = open(new Uint8Array(sealed))
    await this.record(`<86>1 2026-11-21T00:00:00.000Z edge-1 holdfast 0 fetch ${id} ${'-'.repeat(300)}`)
    return new Response(value, {
      headers: { 'Content-Type': 'application/octet-stream', 'X-Request-Id': 'bare', 'Holdfast-Position': '1.1' },
    })
  }

  record(line) {
    return new Promise((done) => {
      if (this.waiting.length === 0) setTimeout(() => this.store(), GROUP_MS)
      this.waiting.push({ line, done })
    })
  }

  store() {
    const group = this.waiting
    this.waiting = []
    for (const { line } of group) this.chain = hash('sha256', `${this.chain}${line}`, 'hex')
    const lines = new TextEncoder().encode(group.map(({ line }) => line).join('\n'))
    this.sql.exec('INSERT INTO audit (lines) VALUES (?)', lines)
    for (const { done } of group) done()
  }
}

export default {
  fetch: (request, env) => env.FOLLOWER.getByName('edge-1').fetch(request),
}
