// What authenticators ask of a request, whoever proves it.
import { makeId, type ResourceId } from '../id/resource-id.ts'
import { type Attempt, Refused } from './contract.ts'

/** Of the form or JSON of the body. Throws `Refused` (400) when it is absent or empty. */
export function requiredField({ field }: Attempt, name: string): string {
  const value = field(name)
  if (value !== undefined && value !== '') return value
  throw missingField(name)
}

export const missingField = (name: string): Refused =>
  new Refused(`CONJ00009E Field '${name}' is missing or empty in the request`, 'bad_request')

/** The admin owns all there is: no word of a provider makes anybody him. Throws `Refused`. */
export function mustNotBeAdmin(account: string, role: ResourceId): void {
  if (role === makeId(account, 'user', 'admin')) throw new Refused('CONJ00017E admin user is not allowed')
}
