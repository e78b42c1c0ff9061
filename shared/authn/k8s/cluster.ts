// The API of a Kubernetes cluster, as far as authn-k8s asks it: what a pod is and belongs to, and one command in a container.
import { isObject, parseJson } from '../../base/json.ts'
import { Refused, type Stored } from '../contract.ts'
import { type OutgoingAnswer, OutgoingFailure } from '../outgoing.ts'
import { required } from '../settings.ts'

/** How a cluster is asked. */
export type Cluster = {
  /** https. */
  readonly url: string
  /** PEM of the authorities that its API is checked with. */
  readonly ca: string
  /** Bearer of a service account. */
  readonly token: string
  /** Where this node runs: its address is from the node's environment, so that no rule for variables is for it. */
  readonly own: boolean
}

/** Of a command: whether it ended well, and what the cluster says of it otherwise. */
export type CommandEnd = { readonly ok: true } | { readonly ok: false; readonly why: string }

export type ClusterDoor = {
  /** The cluster in which this node runs as a pod; undefined elsewhere. */
  readonly own: () => Promise<Cluster | undefined>
  /** GET. Rejects with `OutgoingFailure`. `path`: with the query. */
  readonly ask: (cluster: Cluster, path: string) => Promise<OutgoingAnswer>
  /**
   * Runs the command that the path asks for, and gives it `input`, which has to end it: this version of the protocol cannot
   * end an input. Rejects with `OutgoingFailure` when it was not run, or nothing is known of its end.
   */
  readonly run: (cluster: Cluster, path: string, input: string) => Promise<CommandEnd>
}

/** Variables of an authenticator that say how a cluster is asked. */
export const CLUSTER_VARIABLES = [
  'kubernetes/api-url',
  'kubernetes/ca-cert',
  'kubernetes/service-account-token',
] as const

/**
 * The cluster that the variables name, or, when none of them has a value, the one in which this node runs. Half a cluster
 * is none: it would be another than was meant. Throws `Refused` when there is none.
 */
export async function clusterOf(
  stored: Pick<Stored, 'prefix' | 'values'>,
  door: Pick<ClusterDoor, 'own'>,
): Promise<Cluster> {
  const [url, ca, token] = CLUSTER_VARIABLES.map((name) => stored.values.get(name)?.trim() ?? '')
  const own = url === '' && ca === '' && token === '' ? await door.own() : undefined
  if (own !== undefined) return own
  for (const name of CLUSTER_VARIABLES) required(stored, name)
  const parsed = URL.parse(url!)
  // The bearer goes there.
  if (
    parsed?.protocol !== 'https:' ||
    parsed.username !== '' ||
    parsed.password !== '' ||
    parsed.search !== ''
  )
    throw new Refused(`CONJ00042E Received invalid Kubernetes API url: ${stored.prefix}kubernetes/api-url`)
  // Without one the runtime's own authorities would do.
  if (!ca!.includes('-----BEGIN CERTIFICATE-----'))
    throw new Refused(`CONJ00154E Invalid Kubernetes API CA certificate: ${stored.prefix}kubernetes/ca-cert`)
  if (!/^[\x21-\x7e]+$/.test(token!))
    throw new Refused(`CONJ00153E Invalid service account token: ${stored.prefix}${CLUSTER_VARIABLES[2]}`)
  return { url: parsed.href.replace(/\/+$/, ''), ca: ca!, token: token!, own: false }
}

export type KubernetesObject = Readonly<Record<string, unknown>>

/** What is there; undefined: nothing. Throws `Refused` when it cannot be found out. */
export async function findObject(
  cluster: Cluster,
  path: string,
  door: ClusterDoor,
): Promise<KubernetesObject | undefined> {
  const { status, text } = await asked(door.ask(cluster, path))
  if (status === 404) return undefined
  const found = status === 200 ? parseJson(text) : undefined
  if (isObject(found)) return found
  throw new Refused(`The Kubernetes API answered ${status} for ${path}`)
}

/** Throws `Refused` in the place of an `OutgoingFailure`. */
async function asked<T>(answer: Promise<T>): Promise<T> {
  try {
    return await answer
  } catch (error) {
    if (!(error instanceof OutgoingFailure)) throw error
    throw new Refused(`The Kubernetes API cannot be asked: ${error.message}`)
  }
}
