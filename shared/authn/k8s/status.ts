// Whether pods could be given certificates and be asked for: the authority signs, and the cluster answers (http-api 8.10).
import { readPrivateKey } from '../../base/native-crypto.ts'
import { Refused } from '../contract.ts'
import { required } from '../settings.ts'
import { authoritySettings, type Fault, faultOf, type StatusCheck } from '../status-checks.ts'
import { mustBeAuthority } from './certificates.ts'
import { CLUSTER_VARIABLES, clusterOf, findObject } from './cluster.ts'

/** The reference's classes, by code. */
const classes: Readonly<Record<string, string>> = {
  CONJ00036E: 'Conjur::RequiredResourceMissing',
  CONJ00037E: 'Conjur::RequiredSecretMissing',
  CONJ00042E: 'Authentication::AuthnK8s::InvalidApiUrl',
  CONJ00153E: 'Authentication::AuthnK8s::InvalidServiceAccountToken',
  CONJ00154E: 'Authentication::AuthnK8s::InvalidApiCert',
  CONJ00155E: 'Authentication::AuthnK8s::InvalidSigningCert',
  CONJ00156E: 'Authentication::AuthnK8s::InvalidSigningKey',
}

export const k8sStatus: StatusCheck = {
  variables: [...authoritySettings.variables, ...CLUSTER_VARIABLES],
  check: authoritySettings.check,
  async ask(stored, { cluster: door }): Promise<Fault | undefined> {
    try {
      await mustBeAuthority(required(stored, 'ca/cert'))
      mustBeKey(required(stored, 'ca/key'))
      const cluster = await clusterOf(stored, door)
      // Whoever is somebody there may ask which versions it has.
      if ((await findObject(cluster, '/api', door)) !== undefined) return undefined
      throw new Refused('The Kubernetes API answered 404 for /api')
    } catch (error) {
      return faultOf(error, classes, 'Authentication::AuthnK8s')
    }
  },
}

function mustBeKey(pem: string): void {
  try {
    readPrivateKey(pem, undefined).pkcs8.fill(0)
  } catch {
    // The error may quote what could not be read.
    throw new Refused('CONJ00156E Invalid signing key: ca/key is no private key in PEM')
  }
}
