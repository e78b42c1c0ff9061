// Authentication of pods by certificates that were put into them before (http-api 8.9).
import { identifierOf, kindOf } from '../../id/resource-id.ts'
import { type Attempt, type Prover, Refused, type RoleFacts, type Stored, type Tools } from '../contract.ts'
import { required } from '../settings.ts'
import { bindingOf, containerOf } from './bindings.ts'
import { provenIn } from './certificates.ts'
import { CLUSTER_VARIABLES, type Cluster, clusterOf, findObject } from './cluster.ts'
import { nameOfLogin, type PodId } from './names.ts'
import { mustBeBound } from './pods.ts'

export const k8sProver: Prover<Attempt> = {
  variables: ['ca/cert', ...CLUSTER_VARIABLES],
  async prove({ role }, facts, attempt, stored, tools) {
    const shown = attempt.certificate?.()
    if (shown === undefined) throw new Refused('CONJ00029E No client certificate was shown')
    const { commonName, pod } = await provenIn(shown, required(stored, 'ca/cert'), tools.now)
    // Of ids that differ in '.' and '/' only, certificates are made for the one without '.' (`loginOfName`).
    if (
      identifierOf(role).includes('.') ||
      commonName !== nameOfLogin(`${kindOf(role)}/${identifierOf(role)}`)
    )
      throw new Refused('CONJ00031E Client certificate CN must match host name')
    await mustBePodOf(role, facts, pod, attempt, stored, tools)
    return {}
  },
}

/** Where the pod was found, and its container. Throws `Refused` unless it is one of the host's. */
export async function mustBePodOf(
  role: string,
  { annotations }: RoleFacts,
  pod: PodId,
  { service }: Attempt,
  stored: Stored,
  { io }: Tools,
): Promise<{ readonly cluster: Cluster; readonly container: string }> {
  if (kindOf(role) !== 'host') throw new Refused(`CONJ00048E '${role}' is no host`)
  const binding = bindingOf({ service, identifier: identifierOf(role), annotations })
  const container = containerOf({ service, annotations })
  const cluster = await clusterOf(stored, io.cluster)
  await mustBeBound(pod, binding, container, (path) => findObject(cluster, path, io.cluster))
  return { cluster, container }
}
