// The table of all routes. Rows of one path are tried in this order.
import type { AnyRoute } from '../route.ts'
import { authnRoutes } from './authn.ts'
import { credentialRoutes } from './credentials.ts'
import { secretRoutes } from './secrets.ts'
import { statusRoutes } from './status.ts'

export const allRoutes: readonly AnyRoute[] = [
  ...statusRoutes,
  ...authnRoutes,
  ...credentialRoutes,
  ...secretRoutes,
]
