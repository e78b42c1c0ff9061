// Whether a pod is what a host is bound to (http-api 8.9). What it belongs to is read from the cluster each time: a pod that
// is gone proves nothing, however good its certificate is.
import { isObject } from '../../base/json.ts'
import { Refused } from '../contract.ts'
import type { Binding, Workload } from './bindings.ts'
import type { KubernetesObject } from './cluster.ts'
import { isName, isNamespace, type PodId } from './names.ts'

/** What is at a path; undefined: nothing. Throws `Refused`. */
export type Find = (path: string) => Promise<KubernetesObject | undefined>

type Kind = { readonly kind: string; readonly group: string; readonly plural: string }

const core = (kind: string, plural: string): Kind => ({ kind, group: '/api/v1', plural })
const apps = (kind: string, plural: string): Kind => ({ kind, group: '/apis/apps/v1', plural })

/** Each kind of workload, and what stands between it and its pods. */
const workloads: Readonly<Record<Workload, { readonly own: Kind; readonly between: readonly Kind[] }>> = {
  deployment: { own: apps('Deployment', 'deployments'), between: [apps('ReplicaSet', 'replicasets')] },
  'deployment-config': {
    own: { kind: 'DeploymentConfig', group: '/apis/apps.openshift.io/v1', plural: 'deploymentconfigs' },
    between: [core('ReplicationController', 'replicationcontrollers')],
  },
  'stateful-set': { own: apps('StatefulSet', 'statefulsets'), between: [] },
}

export const podPath = ({ namespace, name }: PodId): string => `/api/v1/namespaces/${namespace}/pods/${name}`

/** Throws `Refused` unless the pod is there, has the container, and is what the host is bound to. */
export async function mustBeBound(
  pod: PodId,
  binding: Binding,
  container: string,
  find: Find,
): Promise<void> {
  // What needs no question is looked at first.
  if (binding.namespace !== undefined && binding.namespace !== pod.namespace)
    throw new Refused(`CONJ00023E Namespace '${pod.namespace}' of the SPIFFE id is not that of the host`)
  if (binding.pod !== undefined && binding.pod !== pod.name)
    throw new Refused(`CONJ00060E Pod '${pod.name}' is not the one of the host`)
  const found = await find(podPath(pod))
  if (found === undefined)
    throw new Refused(`CONJ00024E No pod found for '${pod.name}' in namespace '${pod.namespace}'`)
  if (binding.namespaceLabels !== undefined) await mustBeLabelled(pod, binding.namespaceLabels, find)
  if (
    binding.serviceAccount !== undefined &&
    partOf(found, 'spec').serviceAccountName !== binding.serviceAccount
  )
    throw new Refused(`CONJ00061E Pod '${pod.name}' has not the service account of the host`)
  if (binding.workload !== undefined) await mustBelong(pod, found, binding.workload, find)
  if (!containersOf(found).includes(container))
    throw new Refused(`CONJ00028E Container '${container}' was not found in the pod '${pod.name}'`)
}

async function mustBeLabelled(
  { namespace }: PodId,
  labels: ReadonlyMap<string, string>,
  find: Find,
): Promise<void> {
  const found = isNamespace(namespace) ? await find(`/api/v1/namespaces/${namespace}`) : undefined
  const held = found === undefined ? {} : partOf(partOf(found, 'metadata'), 'labels')
  for (const [key, value] of labels)
    if (!Object.hasOwn(held, key) || held[key] !== value)
      throw new Refused(
        `CONJ00049E Restriction namespace-label-selector does not match the namespace '${namespace}'`,
      )
}

/** From owner to owner, upwards. */
async function mustBelong(
  pod: PodId,
  found: KubernetesObject,
  { type, name }: NonNullable<Binding['workload']>,
  find: Find,
): Promise<void> {
  const { own, between } = workloads[type]
  const at = (kind: Kind, called: string) =>
    isName(called) ? find(`${kind.group}/namespaces/${pod.namespace}/${kind.plural}/${called}`) : undefined
  const wanted = await at(own, name)
  if (wanted === undefined)
    throw new Refused(`CONJ00026E Kubernetes ${type} of the host not found in namespace '${pod.namespace}'`)
  let below = found
  for (const kind of between) {
    const owner = ownerOf(below, kind)
    const next = owner && (await at(kind, owner.name))
    if (next === undefined || partOf(next, 'metadata').uid !== owner?.uid) throw belongsToNone(pod, kind)
    below = next
  }
  const owner = ownerOf(below, own)
  if (owner === undefined) throw belongsToNone(pod, own)
  // Names are given again; a uid is of one object for ever.
  if (owner.name !== name || owner.uid !== partOf(wanted, 'metadata').uid)
    throw new Refused(`CONJ00061E Pod '${pod.name}' belongs to another ${own.kind} than the host`)
}

const belongsToNone = ({ name }: PodId, { kind }: Kind): Refused =>
  new Refused(`CONJ00062E Pod '${name}' does not belong to a ${kind}`)

/** The controller of an object, when it is of this kind. */
function ownerOf(
  object: KubernetesObject,
  { kind, group }: Kind,
): { readonly name: string; readonly uid: string } | undefined {
  const version = group.replace(/^\/apis?\//, '')
  for (const owner of listOf(partOf(object, 'metadata').ownerReferences)) {
    const { name, uid } = owner
    if (owner.kind !== kind || owner.apiVersion !== version || owner.controller !== true) continue
    if (typeof name === 'string' && typeof uid === 'string') return { name, uid }
  }
  return undefined
}

function containersOf(pod: KubernetesObject): unknown[] {
  const spec = partOf(pod, 'spec')
  return [...listOf(spec.containers), ...listOf(spec.initContainers)].map(({ name }) => name)
}

const partOf = (object: KubernetesObject, name: string): KubernetesObject => {
  const part = object[name]
  return isObject(part) ? part : {}
}

const listOf = (value: unknown): KubernetesObject[] => (Array.isArray(value) ? value.filter(isObject) : [])
