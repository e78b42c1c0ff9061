// Who gets a certificate, and who may come in with one: pure, and every refusal says what the operator can do (cluster 3,
// 4).
import { commandFor } from '#shared/enrolment/bundle.ts'
import type { Refusal, RefusalCode } from '#shared/enrolment/messages.ts'
import {
  type LinkName,
  links,
  mayUse,
  type NodeKind,
  type NodeName,
  type Shown,
} from '#shared/enrolment/names.ts'

/** A seed as the ledger knows it. */
export type SeedRow = {
  readonly id: string
  readonly secretHash: string
  readonly node: string
  readonly kind: NodeKind
  readonly replicationSet: string
  readonly serviceRole: string
  readonly hosts: readonly string[]
  readonly expiresAt: number
  /** The certificate that was given for it. */
  readonly serial: string | undefined
}

export type CertificateRow = NodeName & {
  readonly serial: string
  readonly keyHash: string
  readonly notAfter: number
  /** Serial of the certificate that its holder asked for with it. */
  readonly replacedBy: string | undefined
  readonly revokedBecause: string | undefined
}

export type SeedFacts = {
  readonly clusterId: string
  readonly now: number
  readonly request: { readonly clusterId: string; readonly node: string; readonly kind: string }
  /** Hash of the key in the request; undefined: the request is not a valid one. */
  readonly keyHash: string | undefined
  /** By its id and secret. */
  readonly seed: SeedRow | undefined
  /** Given for this seed before. */
  readonly given: CertificateRow | undefined
  /** The policy knows such a node. */
  readonly isExpected: boolean
}

export type Verdict =
  | { readonly kind: 'issue' }
  /** The answer was lost on its way: it is given again. */
  | { readonly kind: 'again'; readonly serial: string }
  | { readonly kind: 'refuse'; readonly refusal: Refusal }

const refuse = (code: RefusalCode, message: string): Extract<Verdict, { kind: 'refuse' }> => ({
  kind: 'refuse',
  refusal: { code, message },
})

const badRequest = refuse(
  'REQUEST_INVALID',
  'the certificate request is malformed, not signed by its own key, or its key is not on P-256',
)

export function judgeSeed(facts: SeedFacts): Verdict {
  const { request, seed, given, keyHash, now } = facts
  if (request.clusterId !== facts.clusterId) {
    return refuse(
      'SEED_FOREIGN',
      `the seed is of cluster ${request.clusterId}, and this is cluster ${facts.clusterId}: make one here, with "holdfast seed"`,
    )
  }
  if (keyHash === undefined) return badRequest
  if (seed === undefined) {
    return refuse('SEED_UNKNOWN', 'this cluster knows no such seed: make a new one with "holdfast seed"')
  }
  const again = `make a new one with "${commandFor(seed.kind, seed.node)}"`
  if (seed.node !== request.node || seed.kind !== request.kind) {
    return refuse(
      'SEED_WRONG_NODE',
      `the seed is for ${seed.kind} ${seed.node}, not for ${request.kind} ${request.node}`,
    )
  }
  if (seed.serial !== undefined) {
    const own = given?.keyHash === keyHash && given.revokedBecause === undefined
    return own
      ? { kind: 'again', serial: seed.serial }
      : refuse(
          'SEED_USED',
          `the seed of ${seed.node} was used before, and is good for one node once: ${again}`,
        )
  }
  if (now > seed.expiresAt) {
    return refuse('SEED_EXPIRED', `the seed of ${seed.node} has expired: ${again}`)
  }
  return facts.isExpected ? { kind: 'issue' } : refuse('NODE_NOT_EXPECTED', notExpected(seed.node))
}

export const notExpected = (node: string): string =>
  `the policy knows no such node of the cluster: load "!host ${node}" into a policy conjur/cluster/<name>, grant that policy's layer to it, and try again`

export type RenewalFacts = {
  readonly keyHash: string | undefined
  /** The certificate that was shown. */
  readonly shown: CertificateRow
  /** The one that has taken its place, if there is one. */
  readonly newer: CertificateRow | undefined
}

/** A certificate is renewed once: with two holders of one identity, the second is found out here. */
export function judgeRenewal({ keyHash, shown, newer }: RenewalFacts): Verdict {
  if (keyHash === undefined) return badRequest
  if (shown.replacedBy === undefined) return { kind: 'issue' }
  if (newer?.keyHash === keyHash && newer.revokedBecause === undefined)
    return { kind: 'again', serial: newer.serial }
  return refuse(
    'CERT_REPLACED',
    `the certificate of ${shown.node} was renewed by another process before: if the disk of this node was cloned, stop the clone, remove its identity folder and enrol it under a name of its own`,
  )
}

export type Entry =
  | { readonly kind: 'admit'; readonly certificate: CertificateRow }
  | { readonly kind: 'refuse'; readonly refusal: Refusal }

export type EntryFacts = {
  readonly clusterId: string
  readonly link: LinkName
  readonly shown: Shown
  /** What the ledger knows of its serial. */
  readonly held: CertificateRow | undefined
}

export function judgeEntry({ clusterId, link, shown, held }: EntryFacts): Entry {
  if (shown.kind === 'nothing') return refuse('CERT_MISSING', `${links[link].does} asks for a certificate`)
  if (shown.kind === 'untrusted' || shown.name?.clusterId !== clusterId) {
    const why = shown.kind === 'untrusted' ? shown.why : 'it names no node of it'
    return refuse(
      'CERT_FOREIGN',
      `the certificate is not one of cluster ${clusterId} (${why}): enrol this node with a seed of this cluster`,
    )
  }
  const { node, roleClass } = shown.name
  if (held === undefined) {
    return refuse(
      'CERT_UNKNOWN',
      `this cluster has no record of the certificate of ${node}, as after a restore from before it joined: enrol it with a new seed`,
    )
  }
  if (held.revokedBecause !== undefined) return refuse('CERT_REVOKED', revokedWords(held))
  if (!mayUse(link, roleClass)) {
    return refuse(
      'ROLE_FORBIDDEN',
      `${links[link].does} is for nodes of the class ${links[link].from.join(' or ')}, and ${node} is of the class ${roleClass}`,
    )
  }
  return { kind: 'admit', certificate: held }
}

export const revokedWords = ({ node, revokedBecause }: CertificateRow): string =>
  `the certificate of ${node} is revoked (${revokedBecause})`
