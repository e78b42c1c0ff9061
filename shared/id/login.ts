import { makeId, parseId, type ResourceId } from './resource-id.ts'

/** `alice` → user, `host/app/web` → host: no slash means a user, otherwise the first segment is the kind. */
export function roleOfLogin(account: string, login: string): ResourceId {
  const slash = login.indexOf('/')
  if (slash < 0) return makeId(account, 'user', login)
  return makeId(account, login.slice(0, slash), login.slice(slash + 1))
}

/** The inverse of `roleOfLogin`: the `sub` of a token and the user name of whoami. */
export function loginOfRole(role: ResourceId): string {
  const parts = parseId(role)
  if (!parts) return role
  return parts.kind === 'user' && !parts.identifier.includes('/')
    ? parts.identifier
    : `${parts.kind}/${parts.identifier}`
}
