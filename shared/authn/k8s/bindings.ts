// Which pods a host may be: its annotations, or the last three names of its id (http-api 8.9). Pure.
import { Refused } from '../contract.ts'
import { mustFollow, type Restrictions, restrictionsOf } from '../restrictions.ts'

const WORKLOADS = ['deployment', 'deployment-config', 'stateful-set'] as const
export type Workload = (typeof WORKLOADS)[number]

/** What a pod must be; undefined: anything. */
export type Binding = {
  /** Exactly one of the two. */
  readonly namespace: string | undefined
  /** Labels that the namespace must have, with their values. */
  readonly namespaceLabels: ReadonlyMap<string, string> | undefined
  readonly workload: { readonly type: Workload; readonly name: string } | undefined
  readonly serviceAccount: string | undefined
  readonly pod: string | undefined
}

const CONTAINER = 'authentication-container-name'
const DEFAULT_CONTAINER = 'authenticator'
const ONE_NAMESPACE = ['namespace', 'namespace-label-selector']
const RULES = {
  known: [...ONE_NAMESPACE, ...WORKLOADS, 'service-account', 'pod'],
  oneOf: ONE_NAMESPACE,
  exclusive: [WORKLOADS],
}

type Host = {
  readonly service: string | undefined
  /** Of its role. */
  readonly identifier: string
  readonly annotations: ReadonlyMap<string, string>
}

/** Throws `Refused` for a host that is bound to nothing, or wrongly. */
export function bindingOf(host: Host): Binding {
  const annotated = new Map(annotationsOf(host))
  annotated.delete(CONTAINER)
  const restrictions = annotated.size > 0 ? annotated : restrictionsInId(host.identifier)
  mustFollow(restrictions, RULES)
  const type = WORKLOADS.find((name) => restrictions.has(name))
  const selector = restrictions.get('namespace-label-selector')
  return {
    namespace: restrictions.get('namespace'),
    namespaceLabels: selector === undefined ? undefined : labelsOf(selector),
    workload: type && { type, name: restrictions.get(type)! },
    serviceAccount: restrictions.get('service-account'),
    pod: restrictions.get('pod'),
  }
}

/** In which container of a pod the host's certificate is put. */
export function containerOf(host: Omit<Host, 'identifier'>): string {
  const { annotations } = host
  return annotationsOf(host).get(CONTAINER) ?? annotations.get(`kubernetes/${CONTAINER}`) ?? DEFAULT_CONTAINER
}

const annotationsOf = ({ service, annotations }: Omit<Host, 'identifier'>): Restrictions =>
  restrictionsOf({ authenticator: 'authn-k8s', service }, annotations)

// `…/NAMESPACE/deployment/NAME`; types of two words are written with `_` there. `NAMESPACE/*/*` is all of a namespace.
function restrictionsInId(identifier: string): Restrictions {
  const [namespace, type, name, ...more] = identifier.split('/').slice(-3)
  if (namespace === undefined || type === undefined || name === undefined || more.length > 0)
    throw new Refused(
      `CONJ00048E Invalid Kubernetes host id: ${identifier} has no annotations and does not end with NAMESPACE/TYPE/NAME`,
    )
  const kind = type.replaceAll('_', '-')
  // It would take the place of the namespace that stands before it.
  if (ONE_NAMESPACE.includes(kind))
    throw new Refused(`CONJ00048E Invalid Kubernetes host id: ${identifier} names two namespaces`)
  const whole = type === '*' && name === '*'
  return new Map([['namespace', namespace], ...(whole ? [] : ([[kind, name]] as const))])
}

/** `key=value` or `key==value`, separated by commas. Throws `Refused` for what else Kubernetes knows: it would select nothing here. */
function labelsOf(selector: string): ReadonlyMap<string, string> {
  return new Map(
    selector.split(',').map((pair) => {
      const [, key, value] = /^\s*([\w./-]+)\s*==?\s*([\w.-]*)\s*$/.exec(pair) ?? []
      if (key === undefined || value === undefined)
        throw new Refused('CONJ00050E The restriction namespace-label-selector is no list of key=value')
      return [key, value] as const
    }),
  )
}
