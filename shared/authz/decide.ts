// The one place that says who may do what (http-api 5, policy 7).
import type { Access } from '../ledger/reads/access.ts'

/** An effective role owns the resource or holds the privilege on it. */
export function allowed(access: Access, privilege: string): boolean {
  return access.exists && (access.owns || access.privileges.has(privilege))
}

/** An effective role owns the resource or holds any privilege on it. */
export function visible(access: Access): boolean {
  return access.exists && (access.owns || access.privileges.size > 0)
}

export type Verdict = 'allowed' | 'forbidden' | 'not_found'

/** The guard "need P": missing or unseen is not found, seen but not allowed is forbidden. */
export function need(access: Access, privilege: string): Verdict {
  if (!visible(access)) return 'not_found'
  return allowed(access, privilege) ? 'allowed' : 'forbidden'
}
