// A Follower's data as a team of some size would have it: one policy branch, hosts in a layer, the layer may
// read and execute every variable. Made as rows, so that a benchmark of reading needs no Leader.
import { utf8 } from '#shared/base/bytes.ts'
import { randomBytes } from '#shared/base/native-crypto.ts'
import type { Row, TableName } from '#shared/ledger/tables.ts'
import { type Keyring, recordId } from '#shared/secret/keyring.ts'

export type Dataset = {
  readonly account: string
  readonly hosts: number
  readonly secrets: number
  /** Every host of the benchmark has this API key; keys are random in life, equal here. */
  readonly apiKey: string
  /** An authenticator that every host may use. */
  readonly jwt?: TrustedProvider
}

export type TrustedProvider = { readonly jwksUri: string; readonly issuer: string }

const createdAt = 1_767_600_000_000

/** Rows by table, in pieces of at most `pieceRows`, in an order a snapshot may have. */
export function* datasetRows(
  data: Dataset,
  keyring: Keyring,
  pieceRows = 2_000,
): Generator<{ table: TableName; rows: Row[] }> {
  const { account } = data
  const policy = `${account}:policy:app`
  const root = `${account}:policy:root`
  const admin = `${account}:user:admin`
  const layer = `${account}:layer:app`
  const hosts = Array.from({ length: data.hosts }, (_, i) => `${account}:host:app/host-${i}`)
  const variables = Array.from({ length: data.secrets }, (_, i) => `${account}:variable:app/secret-${i}`)
  const roles = [admin, root, policy, layer, ...hosts]
  const owner = (id: string): string => (id === admin || id === root ? admin : id === policy ? admin : policy)

  yield* pieces('roles', roles, pieceRows, (id) => ({ id, policy: root, created_at: createdAt }))
  yield* pieces('resources', [...roles, ...variables], pieceRows, (id) => ({
    id,
    owner: owner(id),
    policy: root,
    created_at: createdAt,
    words: ` ${id.replaceAll(/[:/.-]/g, ' ')} `,
  }))
  const owned = roles.filter((id) => id !== admin)
  yield* pieces('memberships', owned, pieceRows, (id) => membership(id, owner(id), 1))
  yield* pieces('memberships', hosts, pieceRows, (id) => membership(layer, id, 0))
  for (const privilege of ['execute', 'read']) {
    yield* pieces('permissions', variables, pieceRows, (resource) => ({
      resource,
      role: layer,
      privilege,
      policy: root,
    }))
  }
  yield* pieces('credentials', [admin, ...hosts], pieceRows, (role) => ({
    role,
    api_key: keyring.seal(recordId('credentials', role), utf8(data.apiKey)),
    password: null,
    restricted_to: '[]',
    expires_at: null,
    rotated_at: null,
  }))
  yield* pieces('secrets', variables, pieceRows, (resource) => ({
    resource,
    version: 1,
    sealed: keyring.seal(recordId('secrets', resource, 1), utf8(randomBytes(32).toHex())),
    expires_at: null,
  }))
}

/** `authn-jwt/bench`: a host is named by the claim `host`, and bound by the claim `team`. */
export function* jwtRows(
  { account, hosts }: Dataset,
  { jwksUri, issuer }: TrustedProvider,
  keyring: Keyring,
): Generator<{ table: TableName; rows: Row[] }> {
  const policy = `${account}:policy:root`
  const branch = 'conjur/authn-jwt/bench'
  const webservice = `${account}:webservice:${branch}`
  const values = { 'jwks-uri': jwksUri, issuer, 'token-app-property': 'host', 'identity-path': 'app' }
  const variables = Object.entries(values).map(([name, value]) => ({
    id: `${account}:variable:${branch}/${name}`,
    value,
  }))
  yield {
    table: 'resources',
    rows: [webservice, ...variables.map(({ id }) => id)].map((id) => ({
      id,
      owner: `${account}:user:admin`,
      policy,
      created_at: createdAt,
      words: ' ',
    })),
  }
  yield {
    table: 'secrets',
    rows: variables.map(({ id, value }) => ({
      resource: id,
      version: 1,
      sealed: keyring.seal(recordId('secrets', id, 1), utf8(value)),
      expires_at: null,
    })),
  }
  yield { table: 'authenticators', rows: [{ webservice, enabled: 1 }] }
  const role = `${account}:layer:app`
  yield { table: 'permissions', rows: [{ resource: webservice, role, privilege: 'authenticate', policy }] }
  yield {
    table: 'annotations',
    rows: Array.from({ length: hosts }, (_, i) => ({
      resource: `${account}:host:app/host-${i}`,
      name: 'authn-jwt/bench/team',
      value: 'one',
      policy,
    })),
  }
}

function membership(role: string, member: string, ownership: number): Row {
  return { role, member, ownership, admin_option: ownership, policy: `${role.split(':')[0]}:policy:root` }
}

function* pieces<T>(
  table: TableName,
  items: readonly T[],
  size: number,
  row: (item: T) => Row,
): Generator<{ table: TableName; rows: Row[] }> {
  for (let at = 0; at < items.length; at += size) {
    yield { table, rows: items.slice(at, at + size).map(row) }
  }
}
