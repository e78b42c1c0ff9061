// A client certificate for a pod of Kubernetes, put into its container (http-api 8.9). Nothing is written here, so a Follower
// does it as well.
import type { Attempt } from '../../authn/contract.ts'
import { k8sInjector } from '../../authn/k8s/injector.ts'
import { authenticate, authenticatorBatch, type Verdict } from '../../authn/pipeline.ts'
import { limits } from '../../base/limits.ts'
import { answer, recorded } from '../outcome.ts'
import { type AnyRoute, route } from '../route.ts'
import { type Asked, circumstancesOf, eventOf, refusalOf } from './external-authn.ts'

const inject = route({
  id: 'injectClientCertificate',
  method: 'POST',
  path: '/authn-k8s/:service/inject_client_cert',
  docs: {
    does: 'Put a client certificate into the container of a pod, for the host and the pod that a CSR (PEM) names',
    takes: 'text',
    answers: [202, 401, 403, 422],
  },
  access: 'open',
  effect: 'read',
  bodyLimit: limits.bodyBytes,
  input({ params, header, body }, { account, authenticators, authn }): Asked {
    const authenticator = 'authn-k8s'
    const attempt: Attempt = {
      operation: 'k8s-inject-client-cert',
      account,
      authenticator,
      service: params.service,
      login: undefined,
      method: 'POST',
      field: () => undefined,
      body,
      header,
    }
    return { attempt, listed: authenticators, settings: authn }
  },
  facts: ({ attempt }) => authenticatorBatch(attempt, k8sInjector),
  prove: (facts, asked, io, caller): Promise<Verdict> =>
    authenticate(asked.attempt, facts, circumstancesOf(io, caller, asked), k8sInjector),
  decide(_, { attempt }, { caller }, verdict) {
    const audit = eventOf(attempt, verdict, caller)
    return recorded(verdict.refused === undefined ? answer(202) : refusalOf(verdict.refused), audit)
  },
})

export const certificateInjectionRoutes: readonly AnyRoute[] = [inject]
