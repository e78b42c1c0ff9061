// Where nodes are taken in and put out: seeds, certificates, revocations. There is one, at the Leader.

import type { SeedOrder } from '#shared/api/node.ts'
import { memberEvent, seedEvent } from '#shared/audit/cluster-event.ts'
import type { Actor, AuditEvent } from '#shared/audit/event.ts'
import { fromUtf8, toBase64Url, toHex, utf8 } from '#shared/base/bytes.ts'
import type { Json } from '#shared/base/json.ts'
import { limits } from '#shared/base/limits.ts'
import { sha256Hex } from '#shared/base/native-crypto.ts'
import { BUNDLE_FORMAT, signBundle } from '#shared/enrolment/bundle.ts'
import type { EnrolRequest, Issued, Membership, Refusal } from '#shared/enrolment/messages.ts'
import { classOf, hostOf, type LinkName, type NodeName, type Shown } from '#shared/enrolment/names.ts'
import { placeCalled, placesOf } from '#shared/enrolment/regions.ts'
import {
  type Authority,
  type IssuedCertificate,
  keyHashOf,
  signForNode,
  signRevocations,
} from '#shared/node/certificates.ts'
import { type Keyring, recordId } from '#shared/secret/keyring.ts'
import type { Session } from '../ledger/connection.ts'
import { bearerRecord, type EdgeRow, putEdge, revokeEdge } from './edges.ts'
import { membersOf } from './members.ts'
import {
  type AuthorityRow,
  forgetBefore,
  type Held,
  insertCertificate,
  insertSeed,
  type NodeRow,
  putNode,
  putRevocations,
  type Recorded,
  type Records,
  redeemSeed,
  replaceCertificate,
  revokeCertificates,
  revokedCertificates,
  withdrawSeeds,
} from './records.ts'
import {
  type CertificateRow,
  type Entry,
  judgeEntry,
  judgeRenewal,
  judgeSeed,
  notExpected,
  type SeedRow,
  type Verdict,
} from './rules.ts'

/** What came of a request within its turn. */
type Judged = { readonly verdict: Verdict; readonly issued: Issued | undefined }

export type Answered = { readonly issued: Issued } | { readonly refusal: Refusal }

/** Who asked: for the audit. */
export type Asker = Actor & { readonly requestId: string }

export type Office = {
  readonly clusterId: string
  /** PEM of all authorities: what this node's listeners and clients trust. */
  authorities(): string
  /** PEM of their lists of revoked certificates. */
  revocations(): string
  makeSeed(order: SeedOrder, asker: Asker): Promise<{ seed: string } | { refusal: string }>
  redeem(request: EnrolRequest, asker: Asker): Promise<Answered>
  /** `shown`: the certificate that the connection was admitted with. */
  renew(shown: CertificateRow, csr: string, asker: Asker): Promise<Answered>
  /** Of this node itself, which leads: nobody else could be asked. */
  issueOwn(self: NodeRow, csr: string): Promise<Issued>
  /** Revokes all certificates of a node and takes back its seeds. */
  evict(node: string, because: string, asker: Asker): Promise<'done' | 'unknown' | 'leads'>
  /** It was in the cluster, and is not any more. */
  isOut(node: string): boolean
  judge(link: LinkName, shown: Shown): Entry
  /** What is known now, of a certificate and of a node. */
  certificate(serial: string): CertificateRow | undefined
  node(name: string): NodeRow | undefined
  edge(name: string): EdgeRow | undefined
  edges(): readonly EdgeRow[]
  /** Of one that the Leader dials. Throws when the data key is another one. */
  bearerOf(edge: EdgeRow): string
  /** Called when what is known has changed, as by a revocation. */
  onChange(listener: () => void): () => void
  members(): Json
}

export type OfficeOptions = {
  readonly records: Records
  readonly held: Held
  readonly keyring: Keyring
  readonly account: string
  /** This node, which leads. */
  readonly self: string
  /** Followers that its settings name. */
  readonly named: readonly string[]
  /** host:port under which nodes reach the Leader. */
  readonly leaders: readonly string[]
  readonly epoch: number
  readonly certificateLifeMs: number
  readonly random: (length: number) => Uint8Array
  readonly now: () => number
  /** Whether the policy has a host of this name in a cluster's layer. */
  readonly isExpected: (node: string) => Promise<boolean>
  /** Records what changed nothing. */
  readonly record: (event: AuditEvent, requestId: string) => Promise<void>
}

export const authorityRecord = (serial: string): string => recordId('node_authorities', serial)

export function createOffice(options: OfficeOptions): Office {
  const { records, keyring, leaders, account } = options
  const listeners = new Set<() => void>()
  let { held } = options
  const { clusterId } = newest(held)

  /** What others see is what is stored. */
  async function change<T>(
    requestId: string,
    body: (session: Session, held: Held, now: number) => Promise<Recorded<T>>,
  ): Promise<T> {
    const value = await records.change(requestId, body)
    held = await records.load()
    for (const listener of listeners) listener()
    return value
  }

  const authorities = (): string => held.authorities.map(({ certificate }) => certificate).join('')

  function signing(row: AuthorityRow): Authority {
    const key = fromUtf8(keyring.open(authorityRecord(row.serial), row.sealedKey)) ?? ''
    return { certificate: row.certificate, key }
  }

  const revocations = (): string => held.authorities.map((row) => row.revocations).join('')

  /** Returns whether there was anything to revoke. */
  async function revoke(session: Session, node: string, because: string, now: number): Promise<boolean> {
    const hadBearer = await revokeEdge(session, node, because, now)
    const serials = await revokeCertificates(session, node, because, now)
    if (serials.length === 0) return hadBearer
    const row = newest(held)
    const list = await signRevocations(signing(row), await revokedCertificates(session, now), now)
    await putRevocations(session, row.serial, list)
    return true
  }

  const membershipOf = ({ node, kind, replicationSet, serviceRole }: NodeRow): Membership => ({
    clusterId,
    account,
    node,
    kind,
    replicationSet,
    serviceRole,
    leaders: [...leaders],
  })

  const issuedTo = (node: NodeRow, certificate: string): Issued => ({
    certificate,
    authorities: authorities(),
    revocations: revocations(),
    membership: membershipOf(node),
  })

  /** Control nodes and DR Standbys may lead one day, and are reached under the Leader's names then. */
  const hostsOf = ({ node, kind, hosts }: Pick<NodeRow, 'node' | 'kind' | 'hosts'>): string[] => [
    node,
    ...hosts,
    ...(kind === 'follower' ? [] : leaders.map(hostOf)),
  ]

  async function sign(session: Session, now: number, node: NodeRow, csr: string): Promise<IssuedCertificate> {
    const name: NodeName = { clusterId, roleClass: classOf[node.kind], node: node.node }
    const order = { csr, name, hosts: hostsOf(node), lifeMs: options.certificateLifeMs }
    const issued = await signForNode(signing(newest(held)), order, now)
    await insertCertificate(session, name, issued)
    return issued
  }

  async function makeSeed(order: SeedOrder, asker: Asker): Promise<{ seed: string } | { refusal: string }> {
    let refusal: string | undefined
    for (const node of namesOf(order)) refusal ??= await refusalOf({ ...order, node })
    const told = { node: order.node, kind: order.kind }
    if (refusal !== undefined) {
      await options.record(seedEvent(asker, { operation: 'issue', ...told, error: refusal }), asker.requestId)
      return { refusal }
    }
    if (order.edge !== undefined) return { seed: await makeEdge(order, asker) }
    const { node, kind, replicationSet, serviceRole, hosts } = order
    const id = toHex(options.random(16))
    const secret = toBase64Url(options.random(32))
    const expiresAt = options.now() + order.lifeSeconds * 1000
    const row: SeedRow = {
      id,
      secretHash: sha256Hex(secret),
      node,
      kind,
      replicationSet,
      serviceRole,
      hosts,
      expiresAt,
      serial: undefined,
    }
    const authority = signing(newest(held))
    await change(asker.requestId, async (session, _held, now) => {
      await forgetBefore(session, now - limits.enrolmentKeptMs)
      await insertSeed(session, row, asker.user, now)
      return { value: undefined, events: [seedEvent(asker, { operation: 'issue', ...told, seed: id })] }
    })
    const manifest = {
      format: BUNDLE_FORMAT as typeof BUNDLE_FORMAT,
      clusterId,
      account,
      ...{ node, kind, replicationSet, serviceRole },
      issuedAt: options.now(),
      expiresAt,
      enrolment: { id, secret },
      leaders: [...new Set([...(order.leader === undefined ? [] : [order.leader]), ...leaders])],
      epoch: options.epoch,
      authorities: authorities(),
      keyProtection: 'none' as const,
    }
    return { seed: await signBundle(manifest, authority.certificate, authority.key) }
  }

  /** What it answers is all that the Followers need of the cluster, and is said once. */
  async function makeEdge(order: SeedOrder, asker: Asker): Promise<string> {
    const { kind, replicationSet, serviceRole, edge } = order
    const bearer = toBase64Url(options.random(32))
    const url = edge?.url
    const rowOf = (node: string): EdgeRow => ({
      node,
      bearerHash: sha256Hex(bearer),
      dialled:
        url === undefined ? undefined : { url, sealedBearer: keyring.seal(bearerRecord(node), utf8(bearer)) },
      revokedBecause: undefined,
    })
    const followers = namesOf(order)
    await change(asker.requestId, async (session, current, now) => {
      const events: AuditEvent[] = []
      for (const node of new Set([...followers, ...formerOf(order, current)])) {
        await putEdge(session, rowOf(node), now)
        events.push(seedEvent(asker, { operation: 'issue', node, kind }))
      }
      for (const node of followers) {
        const names = { node, kind, replicationSet, serviceRole }
        await putNode(session, { ...names, hosts: [], version: '', labels: {}, enrolledAt: now })
        events.push(memberEvent(asker, { operation: 'enroll', node }))
      }
      return { value: undefined, events }
    })
    return `${JSON.stringify({ node: order.node, followers, account, bearer, dialled_at: url ?? null })}\n`
  }

  async function refusalOf({ node, kind, replicationSet, edge }: SeedOrder): Promise<string | undefined> {
    if (replicationSet !== 'full') return `there is no replication set ${replicationSet}: give "full"`
    if (node === options.self) return `${node} is this node, which leads: take another name`
    const known = held.nodes.get(node)
    const alive = [...held.certificates.values()].some(
      (one) => one.node === node && one.revokedBecause === undefined && one.notAfter > options.now(),
    )
    if (edge !== undefined && options.named.includes(node))
      return `${node} is a Follower of the settings of this node: take another name, or take it out of them first`
    if (edge !== undefined && alive)
      return `${node} is enrolled with a certificate: take another name, or put it out first with "holdfast ca revoke ${node}"`
    if (known !== undefined && known.kind !== kind && alive) {
      return `${node} is enrolled as ${known.kind}: take another name, or put it out first with "holdfast ca revoke ${node}"`
    }
    return kind === 'follower' || (await options.isExpected(node)) ? undefined : notExpected(node)
  }

  async function redeem(request: EnrolRequest, asker: Asker): Promise<Answered> {
    const keyHash = await keyHashOf(request.csr)
    const isExpected = request.kind === 'follower' || (await options.isExpected(request.node))
    const secretHash = sha256Hex(request.enrolment.secret)
    const judgeIn = (now: Held): readonly [Verdict, SeedRow | undefined] => {
      const seed = now.seeds.find((one) => one.id === request.enrolment.id && one.secretHash === secretHash)
      const given = seed?.serial === undefined ? undefined : now.certificates.get(seed.serial)
      return [judgeSeed({ clusterId, now: options.now(), request, keyHash, seed, given, isExpected }), seed]
    }
    // What is refused takes nobody's turn to write; what is not is judged again where nobody else redeems it.
    const [verdict] = judgeIn(held)
    if (verdict.kind === 'refuse') return refused(verdict.refusal)
    const done = await change<Judged>(asker.requestId, async (session, current, now) => {
      const [again, seed] = judgeIn(current)
      if (again.kind !== 'issue' || seed === undefined)
        return { value: { verdict: again, issued: undefined }, events: [] }
      const row = nodeOf(seed, request, now)
      const because = 'the node has joined again with another seed'
      const revoked = await revoke(session, row.node, because, now)
      await putNode(session, row)
      const issued = await sign(session, now, row, request.csr)
      await redeemSeed(session, seed.id, issued.serial, now)
      const { node, kind } = row
      const events = [
        ...(revoked ? [memberEvent(asker, { operation: 'evict', node })] : []),
        seedEvent(asker, { operation: 'redeem', node, kind, seed: seed.id }),
        memberEvent(asker, { operation: 'enroll', node, serial: issued.serial }),
      ]
      return { value: { verdict: again, issued: issuedTo(row, issued.certificate) }, events }
    })
    if (done.issued !== undefined) return { issued: done.issued }
    return done.verdict.kind === 'again' ? givenAgain(done.verdict.serial) : refused(refusalIn(done.verdict))

    async function refused(refusal: Refusal): Promise<Answered> {
      const { node, kind, enrolment } = request
      const nobody = { ...asker, user: 'not-found' }
      const event = { operation: 'refuse', node, kind, seed: enrolment.id, error: refusal.message } as const
      await options.record(seedEvent(nobody, event), asker.requestId)
      return { refusal }
    }
  }

  async function renew(shown: CertificateRow, csr: string, asker: Asker): Promise<Answered> {
    const keyHash = await keyHashOf(csr)
    const { node } = shown
    const done = await change<Judged>(asker.requestId, async (session, current, now) => {
      const certificate = current.certificates.get(shown.serial) ?? shown
      const newer = current.certificates.get(certificate.replacedBy ?? '')
      const verdict = judgeRenewal({ keyHash, shown: certificate, newer })
      const row = current.nodes.get(node)
      if (verdict.kind !== 'issue' || row === undefined) {
        const error = verdict.kind === 'refuse' ? verdict.refusal.message : undefined
        const events = error === undefined ? [] : [memberEvent(asker, { operation: 'renew', node, error })]
        return { value: { verdict, issued: undefined }, events }
      }
      const issued = await sign(session, now, row, csr)
      await replaceCertificate(session, shown.serial, issued.serial)
      const events = [memberEvent(asker, { operation: 'renew', node, serial: issued.serial })]
      return { value: { verdict, issued: issuedTo(row, issued.certificate) }, events }
    })
    if (done.issued !== undefined) return { issued: done.issued }
    return done.verdict.kind === 'again'
      ? givenAgain(done.verdict.serial)
      : { refusal: refusalIn(done.verdict) }
  }

  async function givenAgain(serial: string): Promise<Answered> {
    const certificate = await records.certificate(serial)
    const node = held.nodes.get(held.certificates.get(serial)?.node ?? '')
    if (certificate === undefined || node === undefined) return { refusal: unknown }
    return { issued: issuedTo(node, certificate) }
  }

  return {
    clusterId,
    authorities,
    revocations,
    makeSeed,
    redeem,
    renew,
    issueOwn: (self, csr) =>
      change('', async (session, current, now) => {
        await putNode(session, self)
        const issued = await sign(session, now, self, csr)
        for (const { serial, node, replacedBy } of current.certificates.values())
          if (node === self.node && replacedBy === undefined)
            await replaceCertificate(session, serial, issued.serial)
        const actor = { user: self.node, clientIp: '' }
        const events = [memberEvent(actor, { operation: 'renew', node: self.node, serial: issued.serial })]
        return { value: issuedTo(self, issued.certificate), events }
      }),
    isOut: (node) =>
      held.nodes.has(node) &&
      isRevoked(held.edges.get(node)) &&
      ![...held.certificates.values()].some((one) => one.node === node && one.revokedBecause === undefined),
    evict: async (node, because, asker) => {
      if (node === options.self) return 'leads'
      return change(asker.requestId, async (session, _held, now) => {
        const revoked = await revoke(session, node, because, now)
        const withdrawn = await withdrawSeeds(session, node)
        const done = revoked || withdrawn > 0
        return {
          value: done ? ('done' as const) : ('unknown' as const),
          events: done ? [memberEvent(asker, { operation: 'evict', node })] : [],
        }
      })
    },
    judge: (link, shown) =>
      judgeEntry({
        clusterId,
        link,
        shown,
        held: shown.kind === 'trusted' ? held.certificates.get(shown.serial) : undefined,
      }),
    certificate: (serial) => held.certificates.get(serial),
    node: (name) => held.nodes.get(name),
    edge: (name) => held.edges.get(name),
    edges: () => [...held.edges.values()],
    bearerOf: ({ node, dialled }) =>
      dialled === undefined ? '' : (fromUtf8(keyring.open(bearerRecord(node), dialled.sealedBearer)) ?? ''),
    onChange(listener) {
      listeners.add(listener)
      return () => void listeners.delete(listener)
    },
    members: () => membersOf(held, options.now()),
  }
}

/** Who never had a bearer has none that is good. */
const isRevoked = (edge: EdgeRow | undefined): boolean =>
  edge === undefined || edge.revokedBecause !== undefined

/** Whom an order takes in. */
const namesOf = ({ node, edge }: SeedOrder): string[] =>
  edge === undefined ? [node] : placesOf(node, edge.crowds).map(({ name }) => name)

/** Others that the same Worker has had: it has one bearer, and they still have audit to give away. */
const formerOf = ({ node, edge }: SeedOrder, { edges }: Held): string[] =>
  edge === undefined || edge.crowds.length === 0
    ? []
    : [...edges.values()]
        .filter((row) => row.revokedBecause === undefined && placeCalled(node, row.node) !== undefined)
        .map((row) => row.node)

const unknown: Refusal = {
  code: 'CERT_UNKNOWN',
  message: 'the node is not known any more: enrol it with a new seed',
}
const refusalIn = (verdict: Verdict): Refusal => (verdict.kind === 'refuse' ? verdict.refusal : unknown)

function newest({ authorities }: Held): AuthorityRow {
  const [row] = authorities
  if (row === undefined) throw new Error('an office was opened without an authority')
  return row
}

const nodeOf = (seed: SeedRow, { version, labels }: EnrolRequest, now: number): NodeRow => ({
  node: seed.node,
  kind: seed.kind,
  replicationSet: seed.replicationSet,
  serviceRole: seed.serviceRole,
  hosts: seed.hosts,
  version,
  labels,
  enrolledAt: now,
})
