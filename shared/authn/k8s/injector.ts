// A certificate for a pod that asks for one, put into its container: only who is inside can read it, so that whoever asks
// needs to prove nothing (http-api 8.9).
import { DomainError } from '../../base/errors.ts'
import { limits } from '../../base/limits.ts'
import { roleOfLogin } from '../../id/login.ts'
import { type Attempt, type Prover, Refused, type Tools } from '../contract.ts'
import { OutgoingFailure } from '../outgoing.ts'
import { required } from '../settings.ts'
import { requestedIn, type Subject } from './certificates.ts'
import { defaultPrefix, loginOfName, nameOfLogin, spiffeIdOf } from './names.ts'
import { podPath } from './pods.ts'
import { k8sProver, mustBePodOf } from './prover.ts'

/** `commonName`: of the whole host. */
type Request = Subject & { readonly csr: string }

export const k8sInjector: Prover<Request> = {
  variables: [...k8sProver.variables, 'ca/key'],
  async claim(attempt) {
    const { csr, commonName, pod } = await requestedIn(attempt.body)
    const login = loginOfName(`${prefixOf(attempt)}.${commonName}`)
    return {
      role: roleOfLogin(attempt.account, login),
      evidence: { csr, commonName: nameOfLogin(login), pod },
    }
  },
  async prove({ role, evidence }, facts, attempt, stored, tools) {
    const { pod } = evidence
    const authority = { chain: required(stored, 'ca/cert'), privateKey: required(stored, 'ca/key') }
    const { cluster, container } = await mustBePodOf(role, facts, pod, attempt, stored, tools)
    const certificate = await signed(evidence, authority, tools)
    const path = `${podPath(pod)}/exec?${commandIn(container)}`
    const where = `in container '${container}' of pod '${pod.name}'`
    try {
      const end = await tools.io.cluster.run(cluster, path, writing(certificate))
      if (end.ok) return {}
      throw new Refused(`CONJ00072E Exec command failed ${where}: ${end.why}`, 'accepted')
    } catch (error) {
      if (!(error instanceof OutgoingFailure)) throw error
      const what =
        error.kind === 'timeout' ? 'CONJ00033E Exec command timed out' : 'CONJ00072E Exec command failed'
      throw new Refused(`${what} ${where}: ${error.message}`)
    }
  },
}

/** Whoever sends none means the hosts of the service's own policy. */
function prefixOf({ service, header }: Attempt): string {
  const given = header('host-id-prefix')?.trim() ?? ''
  return given === '' ? defaultPrefix(service ?? '') : given
}

/** Throws `Refused`. Of the request the key is taken, and the pod: no other name that it may ask for. */
async function signed(
  { csr, commonName, pod }: Request,
  authority: { readonly chain: string; readonly privateKey: string },
  { io }: Tools,
): Promise<string> {
  const order = {
    ...authority,
    csr,
    password: undefined,
    commonName,
    dnsName: undefined,
    uri: spiffeIdOf(pod),
    lifeMs: limits.podCertificateLifeMs,
  }
  try {
    const certificate = await io.signCertificate(order)
    if (certificate !== undefined) return certificate
  } catch (error) {
    if (!(error instanceof DomainError)) throw error
    throw new Refused(`CONJ00156E Invalid signing key: ${error.message}`)
  }
  throw new Refused('CONJ00002E The certificate request is not signed with its own key')
}

const commandIn = (container: string): string =>
  new URLSearchParams({ command: 'sh', container, stdin: 'true', stdout: 'true', stderr: 'true' }).toString()

const FOLDER = '/etc/conjur/ssl'
/** Where clients look for what went wrong. */
const CLIENTS_LOG = `\${TMPDIR:-/tmp}/conjur_copy_text_output.log`

/**
 * Moved into its place when it is whole: clients wait for the file to be there. What goes wrong is written to where clients
 * look for it, and beside the file when there is a folder for it. Ends the shell that reads it.
 */
const writing = (certificate: string): string => `
umask 022
file="${FOLDER}/client.pem"
log="${CLIENTS_LOG}"
put() {
  cat > "$file.tmp" <<'CERTIFICATE' || return
${certificate.trim()}
CERTIFICATE
  chmod 0644 "$file.tmp" && mv "$file.tmp" "$file"
}
put > "$log" 2>&1
ended=$?
if [ "$ended" -ne 0 ]; then
  rm -f "$file.tmp"
  cp "$log" "$file.log" 2>/dev/null
else
  rm -f "$file.log"
fi
exit "$ended"
`
