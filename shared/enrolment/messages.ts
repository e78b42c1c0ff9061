// What a node and the node port of the Leader say to each other about certificates: JSON, one request and one answer.
import { z } from 'zod'
import { limits } from '../base/limits.ts'
import { ADDRESS, CLUSTER_ID, NODE_NAME, nodeKinds } from './names.ts'

// 1  first form
export const ENROLMENT_PROTOCOL = 1

export const paths = { enrol: '/enrol', renew: '/renew' } as const

const text = z.string().min(1).max(200)
/** Every store can hold it, and a list can show it. */
const printable = z.string().regex(/^[\x20-\x7e]{1,200}$/)
const pem = z.string().min(1).max(limits.bodyBytes)
const name = z.string().regex(NODE_NAME)

/** Of a node without a certificate: the secret of its seed is what it has. */
export const enrolRequest = z.object({
  protocol: z.literal(ENROLMENT_PROTOCOL),
  clusterId: z.string().regex(CLUSTER_ID),
  node: name,
  kind: z.enum(nodeKinds),
  enrolment: z.object({ id: z.string().regex(/^[0-9a-f]{32}$/), secret: text }),
  csr: pem,
  /** Of the program. */
  version: printable,
  labels: z.record(printable, printable).refine((labels) => Object.keys(labels).length <= 20),
})
export type EnrolRequest = z.infer<typeof enrolRequest>

/** Of a node that shows its certificate. */
export const renewRequest = z.object({ protocol: z.literal(ENROLMENT_PROTOCOL), csr: pem })

/** What a node is in its cluster: cluster.json in its folder. */
export const membershipForm = z.object({
  clusterId: z.string().regex(CLUSTER_ID),
  account: z.string().min(1).max(limits.nameBytes),
  node: name,
  kind: z.enum(nodeKinds),
  replicationSet: text,
  serviceRole: text,
  leaders: z.array(z.string().regex(ADDRESS)).min(1).max(limits.leaderAddresses),
})
export type Membership = z.infer<typeof membershipForm>

/**
 * PEM; `revocations` is a list in the form of RFC 5280, for Postgres and etcd. The membership is the newest: addresses of the
 * Leader may have changed.
 */
export const issuedForm = z.object({
  certificate: pem,
  authorities: pem,
  revocations: z.string().max(limits.revocationsBytes),
  membership: membershipForm,
})
export type Issued = z.infer<typeof issuedForm>

export const refusalCodes = [
  'SEED_FOREIGN',
  'SEED_UNKNOWN',
  'SEED_WRONG_NODE',
  'SEED_EXPIRED',
  'SEED_USED',
  'NODE_NOT_EXPECTED',
  'REQUEST_INVALID',
  'CERT_MISSING',
  'CERT_FOREIGN',
  'CERT_UNKNOWN',
  'CERT_REVOKED',
  'CERT_REPLACED',
  'ROLE_FORBIDDEN',
] as const
export type RefusalCode = (typeof refusalCodes)[number]
export type Refusal = { readonly code: RefusalCode; readonly message: string }

const refusedForm = z.object({
  error: z.object({ code: z.enum(refusalCodes), message: z.string().max(1_000) }),
})

export const refusalBody = ({ code, message }: Refusal): string =>
  JSON.stringify({ error: { code, message } })

/** Undefined when the text is no refusal. */
export function refusalIn(value: unknown): Refusal | undefined {
  const read = refusedForm.safeParse(value)
  return read.success ? read.data.error : undefined
}

/** The Leader says no: the message tells the operator what to do. */
export class Refused extends Error {
  readonly refusal: Refusal
  constructor(refusal: Refusal) {
    super(`${refusal.code}: ${refusal.message}`)
    this.refusal = refusal
  }
}
