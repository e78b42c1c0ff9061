// What is there before any policy: a new account with its admin and the root policy that everything else hangs from
// (policy 7), and the records of the installation itself.
import { makeId } from '../id/resource-id.ts'
import { type Change, put } from '../ledger/change.ts'
import { searchWords } from '../ledger/search.ts'

/** The account of the installation itself; it is in no list. */
export const SYSTEM = '!'
/** Who may do what on it may do so with accounts (http-api 7). */
export const ACCOUNTS = makeId(SYSTEM, 'webservice', 'accounts')
export const SYSTEM_ROOT = makeId(SYSTEM, SYSTEM, 'root')

/** The installation's own records; `sealedKey`: the API key of its root. */
export function systemChanges(sealedKey: Uint8Array, now: number): Change[] {
  return [
    put('roles', { id: SYSTEM_ROOT, policy: null, created_at: now }),
    put('resources', {
      id: ACCOUNTS,
      owner: SYSTEM_ROOT,
      policy: null,
      created_at: now,
      words: searchWords(ACCOUNTS, []),
    }),
    credentialsOf(SYSTEM_ROOT, sealedKey),
  ]
}

const credentialsOf = (role: string, api_key: Uint8Array): Change =>
  put('credentials', {
    role,
    api_key,
    password: null,
    restricted_to: '[]',
    expires_at: null,
    rotated_at: null,
  })

/** `sealedKey`: the admin's API key under `recordId('credentials', 'ACCOUNT:user:admin')`. */
export function accountChanges(account: string, sealedKey: Uint8Array, now: number): Change[] {
  const admin = makeId(account, 'user', 'admin')
  const root = makeId(account, 'policy', 'root')
  return [
    ...[admin, root].flatMap((id) => [
      put('roles', { id, policy: null, created_at: now }),
      put('resources', { id, owner: admin, policy: null, created_at: now, words: searchWords(id, []) }),
    ]),
    put('memberships', { role: root, member: admin, ownership: 1, admin_option: 1, policy: null }),
    credentialsOf(admin, sealedKey),
  ]
}
