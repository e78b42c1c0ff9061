// The table of all routes. Rows of one path are tried in this order.
import { openApiRoute } from '../openapi.ts'
import type { AnyRoute } from '../route.ts'
import { accountRoutes } from './accounts.ts'
import { auditRoutes } from './audit.ts'
import { authenticatorStatusRoutes } from './authenticator-status.ts'
import { authenticatorRoutes } from './authenticators.ts'
import { authnRoutes } from './authn.ts'
import { branchRoutes } from './branches.ts'
import { certificateRoutes } from './certificates.ts'
import { configurationRoutes } from './configuration.ts'
import { credentialRoutes } from './credentials.ts'
import { effectivePolicyRoutes } from './effective-policy.ts'
import { externalAuthnRoutes, externalLoginRoutes } from './external-authn.ts'
import { groupMemberRoutes } from './group-members.ts'
import { hostFactoryRoutes } from './host-factories.ts'
import { issuerRoutes } from './issuers.ts'
import { policyRoutes } from './policies.ts'
import { publicKeyRoutes } from './public-keys.ts'
import { resourceRoutes } from './resources.ts'
import { roleRoutes } from './roles.ts'
import { secretRoutes } from './secrets.ts'
import { statusRoutes } from './status.ts'

export const allRoutes: readonly AnyRoute[] = [
  openApiRoute(() => allRoutes),
  ...statusRoutes,
  ...accountRoutes,
  ...authnRoutes,
  ...externalAuthnRoutes,
  ...credentialRoutes,
  ...roleRoutes,
  ...resourceRoutes,
  ...secretRoutes,
  ...policyRoutes,
  ...effectivePolicyRoutes,
  ...publicKeyRoutes,
  ...hostFactoryRoutes,
  ...certificateRoutes,
  ...issuerRoutes,
  ...branchRoutes,
  ...groupMemberRoutes,
  ...authenticatorRoutes,
  ...auditRoutes,
  ...configurationRoutes,
  // Last: their paths begin with a name of their own, and would be looked at first for every request.
  ...authenticatorStatusRoutes,
  ...externalLoginRoutes,
]
