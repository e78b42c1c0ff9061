// How a node gets its identity: from its own folder, then from a seed in it, otherwise it waits for one (cluster 3). And
// how it keeps it: renewed at two thirds of its certificate's life.
import { watch } from 'node:fs'
import { mkdir, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { DomainError } from '../base/errors.ts'
import { limits } from '../base/limits.ts'
import type { Clock } from '../base/time.ts'
import { type Manifest, mustBeCurrent, openBundle } from '../enrolment/bundle.ts'
import {
  ENROLMENT_PROTOCOL,
  type EnrolRequest,
  type Issued,
  issuedForm,
  type Membership,
  paths,
  Refused,
} from '../enrolment/messages.ts'
import { type NodeKind, renewalDueAt } from '../enrolment/names.ts'
import { readPrivateFile, writePrivateFile } from './files.ts'
import {
  type Identity,
  identityFiles,
  joinAgain,
  prepareRequest,
  readIdentity,
  revocationOf,
  storeIssued,
} from './identity.ts'
import { askLeader, nodeTls } from './node-client.ts'

export type JoinOptions = {
  readonly dataDirectory: string
  /** What this program can be. */
  readonly kinds: readonly NodeKind[]
  /** What the settings call this node; undefined: the seed names it. */
  readonly name?: string | undefined
  readonly version: string
  readonly labels?: Readonly<Record<string, string>>
  readonly clock: Clock
  readonly report: (message: string) => void
}

/**
 * The identity of this node: from now on it needs no seed. Waits for one when it has neither; undefined when the signal is
 * aborted meanwhile. Throws `settings_invalid`, `bad_request` and `Refused` with what the operator has to do.
 */
export async function obtainIdentity(
  options: JoinOptions,
  signal: AbortSignal,
): Promise<Identity | undefined> {
  const { dataDirectory, clock } = options
  const files = identityFiles(dataDirectory)
  const held = await readIdentity(dataDirectory)
  if (held !== undefined) mustFit(held.membership, options)
  const revoked = await revocationOf(dataDirectory)
  const out = held !== undefined && (revoked !== undefined || clock.wall() > held.presented.notAfter)
  if (held !== undefined && !out) return held
  if (held !== undefined && (await readPrivateFile(files.seed)) === undefined) {
    const why = revoked ?? `the certificate has expired at ${new Date(held.presented.notAfter).toISOString()}`
    throw new DomainError(
      'settings_invalid',
      `${held.membership.node} is out of its cluster: ${why}; ${joinAgain(held.membership)}`,
      { target: 'data_dir' },
    )
  }
  const seed = await awaitedSeed(options, signal)
  if (seed === undefined) return undefined
  await enrol(seed, options, signal)
  await rm(files.seed, { force: true })
  return readIdentity(dataDirectory)
}

/** True when this node has an identity or a seed for one. */
export async function isEnrolled(dataDirectory: string): Promise<boolean> {
  const files = identityFiles(dataDirectory)
  const held = await Promise.all([files.membership, files.certificate, files.seed].map(readPrivateFile))
  return held.some((text) => text !== undefined)
}

/** Checks a seed and lays it where the node looks for it. Throws `bad_request` and `conflict`. */
export async function unpackSeed(text: string, dataDirectory: string, now: number) {
  const bundle = await openBundle(text)
  const { manifest } = bundle
  mustBeCurrent(manifest, now)
  const files = identityFiles(dataDirectory)
  const held = await readIdentity(dataDirectory)
  if (held !== undefined) {
    mustBelong(manifest, held.membership, files.folder)
    const out = (await revocationOf(dataDirectory)) !== undefined || now > held.presented.notAfter
    if (!out) {
      throw new DomainError(
        'conflict',
        `${dataDirectory} belongs to ${held.membership.node}, which is enrolled and needs no seed; to enrol it anew remove ${files.folder} first`,
      )
    }
  }
  await writePrivateFile(files.seed, text)
  return bundle
}

function mustBelong(manifest: Manifest, held: Membership, folder: string): void {
  if (manifest.clusterId !== held.clusterId || manifest.node !== held.node || manifest.kind !== held.kind) {
    throw new DomainError(
      'conflict',
      `the seed is for ${manifest.kind} ${manifest.node} of cluster ${manifest.clusterId}, and this folder belongs to ${held.kind} ${held.node} of cluster ${held.clusterId}: use another data folder, or remove ${folder} and the data beside it`,
    )
  }
}

/** A folder of another node, or of another cluster, is not this node's to go on with. */
function mustFit(
  { kind, node }: Pick<Membership, 'kind' | 'node'>,
  { kinds, name }: Pick<JoinOptions, 'kinds' | 'name'>,
): void {
  const invalid = (message: string): DomainError =>
    new DomainError('settings_invalid', message, { target: 'data_dir' })
  if (!kinds.includes(kind)) {
    throw invalid(
      `this is the identity of ${kind} ${node}, and the program was started as ${kinds.join(' or ')}: start the program that fits, or make a seed of the right kind`,
    )
  }
  if (name !== undefined && name !== node) {
    throw invalid(
      `this is the identity of ${node}, and the settings name the node ${name}: set name to ${node}, or make a seed for ${name}`,
    )
  }
}

async function awaitedSeed(options: JoinOptions, signal: AbortSignal): Promise<Manifest | undefined> {
  const { seed } = identityFiles(options.dataDirectory)
  let text = await readPrivateFile(seed)
  if (text === undefined) {
    options.report(
      `this node is not enrolled: it waits for a seed, from "holdfast unpack seed" or as the file ${seed}`,
    )
    await mkdir(dirname(seed), { recursive: true, mode: 0o700 })
  }
  while (text === undefined) {
    await changed(dirname(seed), options.clock, signal)
    if (signal.aborted) return undefined
    text = await readPrivateFile(seed)
  }
  const { manifest } = await openBundle(text)
  mustBeCurrent(manifest, options.clock.wall())
  mustFit(manifest, options)
  const held = await readIdentity(options.dataDirectory)
  if (held !== undefined) mustBelong(manifest, held.membership, identityFiles(options.dataDirectory).folder)
  return manifest
}

/** Some file systems tell of no change, so it is looked at from time to time as well. */
async function changed(folder: string, clock: Clock, signal: AbortSignal): Promise<void> {
  const seen = new AbortController()
  const watcher = watch(folder, () => seen.abort())
  watcher.on('error', () => undefined)
  await clock.sleep(limits.seedLookMs, AbortSignal.any([signal, seen.signal]))
  watcher.close()
}

async function enrol(manifest: Manifest, options: JoinOptions, signal: AbortSignal): Promise<void> {
  const { clusterId, node, kind, enrolment, leaders, authorities } = manifest
  const { dataDirectory, version, labels = {}, clock } = options
  const csr = await prepareRequest(dataDirectory, node)
  const body: EnrolRequest = {
    protocol: ENROLMENT_PROTOCOL,
    clusterId,
    node,
    kind,
    enrolment,
    csr,
    version,
    labels,
  }
  let reported: string | undefined
  for (;;) {
    try {
      const issued = await askLeader(leaders, paths.enrol, body, nodeTls(clusterId, authorities), signal)
      await storeIssued(dataDirectory, issuedForm.parse(issued))
      options.report(`enrolled as ${kind} ${node} in cluster ${clusterId}`)
      return
    } catch (error) {
      if (!(error instanceof DomainError && error.code === 'unavailable') || signal.aborted) throw error
      mustBeCurrent(manifest, clock.wall())
      if (error.message !== reported) options.report(`not enrolled yet: ${error.message}`)
      reported = error.message
      await clock.sleep(limits.seedLookMs, signal)
    }
  }
}

/** Asks the Leader for a new certificate, with the one that is held. Throws as `askLeader` does. */
export async function renewAtLeader(dataDirectory: string, signal?: AbortSignal): Promise<void> {
  const held = await readIdentity(dataDirectory)
  if (held === undefined) throw new DomainError('unavailable', 'this node is not enrolled')
  const { clusterId, node, leaders } = held.membership
  const csr = await prepareRequest(dataDirectory, node)
  const tls = nodeTls(clusterId, held.authorities, held)
  const issued = await askLeader(leaders, paths.renew, { protocol: ENROLMENT_PROTOCOL, csr }, tls, signal)
  await storeIssued(dataDirectory, issuedForm.parse(issued) satisfies Issued)
}

export type Renewing = {
  readonly dataDirectory: string
  /** Has the certificate renewed and stored. */
  readonly renew: () => Promise<void>
  readonly onRenewed: (identity: Identity) => void
  readonly clock: Clock
  readonly report: (message: string) => void
  /** The certificate will run out unless somebody does something. */
  readonly alarm: (message: string) => void
}

/** Tells of certificates that another process of this node has renewed, until the signal is aborted. */
export async function followIdentity(
  { dataDirectory, clock, onRenewed }: Pick<Renewing, 'dataDirectory' | 'clock' | 'onRenewed'>,
  signal: AbortSignal,
): Promise<void> {
  // Two files are exchanged for a renewal: between them they do not fit, and a moment later they do.
  const read = () => readIdentity(dataDirectory).catch(() => undefined)
  let serial = (await read())?.presented.serial
  while (!signal.aborted) {
    await clock.sleep(limits.identityLookMs, signal)
    const identity = await read()
    if (identity === undefined || identity.presented.serial === serial) continue
    serial = identity.presented.serial
    onRenewed(identity)
  }
}

/** Until the signal is aborted. What fails is tried again as long as the node runs. */
export async function keepRenewed(renewing: Renewing, signal: AbortSignal): Promise<void> {
  const { dataDirectory, clock } = renewing
  let told: string | undefined
  while (!signal.aborted) {
    const identity = await readIdentity(dataDirectory)
    if (identity === undefined) return
    const { notAfter } = identity.presented
    const left = renewalDueAt(identity.presented) - clock.wall()
    if (left > 0) {
      // A clock may be set: the time is looked at again at least so often.
      await clock.sleep(Math.min(left, limits.renewalRetryMs), signal)
      continue
    }
    try {
      await renewing.renew()
      const renewed = await readIdentity(dataDirectory)
      if (renewed === undefined) return
      renewing.report(
        `the certificate is renewed until ${new Date(renewed.presented.notAfter).toISOString()}`,
      )
      renewing.onRenewed(renewed)
      told = undefined
    } catch (error) {
      if (signal.aborted) return
      const why = error instanceof Error ? error.message : String(error)
      const message = `the certificate is not renewed, and runs out at ${new Date(notAfter).toISOString()}: ${why}`
      if (why !== told) (error instanceof Refused ? renewing.alarm : renewing.report)(message)
      told = why
      await clock.sleep(
        Math.max(1_000, Math.min(limits.renewalRetryMs, (notAfter - clock.wall()) / 4)),
        signal,
      )
    }
  }
}
