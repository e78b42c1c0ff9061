// Accounts: made, listed and removed by whoever may do so on their webservice (http-api 7).
import { need } from '../../authz/decide.ts'
import { utf8 } from '../../base/bytes.ts'
import { DomainError } from '../../base/errors.ts'
import { limits } from '../../base/limits.ts'
import { makeId } from '../../id/resource-id.ts'
import { remove } from '../../ledger/change.ts'
import { accessQuery } from '../../ledger/reads/access.ts'
import { accountRowsBatch, accountsQuery } from '../../ledger/reads/account.ts'
import { ACCOUNTS, accountChanges, SYSTEM } from '../../policy/bootstrap.ts'
import { recordId } from '../../secret/keyring.ts'
import { drawApiKey } from '../../token/api-key.ts'
import { answer, json, type Outcome } from '../outcome.ts'
import { problems } from '../problems.ts'
import { parametersOf, textOf } from '../request.ts'
import { type AnyRoute, route } from '../route.ts'

const access = accessQuery(ACCOUNTS)

/**
 * Undefined when the caller may; otherwise what he is answered. No policy is the system's own and none changes another
 * account, so who sees the webservice owns it: 403 is for the day when it can be permitted.
 */
function refusal(facts: Parameters<typeof need>[0], privilege: string): Outcome | undefined {
  const verdict = need(facts, privilege)
  if (verdict === 'allowed') return undefined
  return verdict === 'not_found' ? problems.recordNotFound(ACCOUNTS) : problems.forbidden()
}

/** What is wrong with a name, undefined when nothing is. */
function faultOf(name: string): string | undefined {
  if (name.includes('/')) return `Invalid account: ${name}`
  const odd = /[ :]/.exec(name)
  if (odd !== null) return `account name "${name}" contains invalid characters (${odd[0]})`
  // Every id of the account begins with its name, and a login behind it must still fit.
  return utf8(name).length > limits.nameBytes || name === SYSTEM ? `Invalid account: ${name}` : undefined
}

const create = route({
  id: 'createAccount',
  method: 'POST',
  path: '/accounts',
  docs: {
    does: 'Make an account',
    takes: 'form',
    fields: { id: 'Its name' },
    gives: 'json',
    answers: [201, 404, 405, 409, 422],
  },
  access: 'token',
  effect: 'write',
  bodyLimit: limits.bodyBytes,
  input: (request) => ({ name: textOf(parametersOf(request), 'id') ?? '' }),
  facts: () => ({ access, accounts: accountsQuery }),
  decide(facts, { name }, { random, keyring, now }) {
    const refused = refusal(facts.access, 'execute')
    if (refused !== undefined) return refused
    if (name === '') throw new DomainError('parameter_missing', '', { target: 'id' })
    const fault = faultOf(name)
    if (fault !== undefined) return problems.argument(fault)
    if (facts.accounts.includes(name)) return problems.exists('account', name)
    const key = drawApiKey(random)
    const sealed = keyring.seal(recordId('credentials', makeId(name, 'user', 'admin')), utf8(key))
    return answer(201, json({ id: name, api_key: key }), { changes: accountChanges(name, sealed, now) })
  },
})

const list = route({
  id: 'listAccounts',
  method: 'GET',
  path: '/accounts',
  docs: { does: 'Names of the accounts', gives: 'json', answers: [200, 404] },
  access: 'token',
  effect: 'read',
  input: () => undefined,
  facts: () => ({ access, accounts: accountsQuery }),
  decide: (facts) =>
    refusal(facts.access, 'read') ?? answer(200, json(facts.accounts.filter((name) => name !== SYSTEM))),
})

const destroy = route({
  id: 'deleteAccount',
  method: 'DELETE',
  path: '/accounts/:account',
  docs: { does: 'Remove an account with all that is in it', answers: [204, 404, 405] },
  access: 'token',
  effect: 'write',
  input: ({ params }) => ({ name: params.account! }),
  facts: ({ name }) => ({ access, ...accountRowsBatch(name) }),
  decide({ access: granted, ...rows }, { name }) {
    const refused = refusal(granted, 'update')
    if (refused !== undefined) return refused
    const keys = Object.values(rows).flat()
    if (keys.length === 0 || name === SYSTEM) return problems.accountNotFound(name)
    return answer(204, undefined, { changes: keys.map(({ table, key }) => remove(table, key as never)) })
  },
})

export const accountRoutes: readonly AnyRoute[] = [create, list, destroy]
