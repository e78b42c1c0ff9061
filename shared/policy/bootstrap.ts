// A new account: its admin, and the root policy that everything else hangs from (policy 7).
import { makeId } from '../id/resource-id.ts'
import { type Change, put } from '../ledger/change.ts'
import { searchWords } from '../ledger/search.ts'

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
    put('credentials', {
      role: admin,
      api_key: sealedKey,
      password: null,
      restricted_to: '[]',
      expires_at: null,
      rotated_at: null,
    }),
  ]
}
