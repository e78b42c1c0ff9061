// Names of authn-k8s: hosts as common names, pods as SPIFFE ids, and what Kubernetes calls things (http-api 8.9).

/** A pod; both names may stand in a path. */
export type PodId = { readonly namespace: string; readonly name: string }

/** `host.apps.web` → `host/apps/web`: a login. */
export const loginOfName = (dotted: string): string => dotted.replaceAll('.', '/')

export const nameOfLogin = (login: string): string => login.replaceAll('/', '.')

/** Of whoever sends no Host-Id-Prefix. */
export const defaultPrefix = (service: string): string => nameOfLogin(`host/conjur/authn-k8s/${service}/apps`)

const LABEL = '[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?'
const NAMESPACE = new RegExp(`^${LABEL}$`)
const NAME = new RegExp(`^${LABEL}(?:\\.${LABEL})*$`)
const NAME_CHARACTERS = 253

/** Undefined for anything but a pod of a cluster. Whoever sends it has proved nothing: it is looked through once. */
export function podOfSpiffeId(uri: string): PodId | undefined {
  const [, namespace = '', name = ''] =
    /^spiffe:\/\/cluster\.local\/namespace\/([^/]+)\/podname\/([^/]+)$/.exec(uri) ?? []
  return isNamespace(namespace) && isName(name) ? { namespace, name } : undefined
}

export const spiffeIdOf = ({ namespace, name }: PodId): string =>
  `spiffe://cluster.local/namespace/${namespace}/podname/${name}`

/** RFC 1123 label. */
export const isNamespace = (text: string): boolean => NAMESPACE.test(text)

/** RFC 1123 subdomain: nothing that is one leads out of the path that it stands in. */
export const isName = (text: string): boolean => text.length <= NAME_CHARACTERS && NAME.test(text)
