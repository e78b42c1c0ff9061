// The files of an enrolled node, in `identity` of its data folder: who it is, whom it trusts, its certificate and key.
// Postgres, etcd and the links between nodes are given these files.
import { createPrivateKey, X509Certificate } from 'node:crypto'
import { rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { DomainError } from '../base/errors.ts'
import { isObject, parseJson } from '../base/json.ts'
import { pemsIn } from '../base/x509.ts'
import { commandFor } from '../enrolment/bundle.ts'
import { type Issued, type Membership, membershipForm } from '../enrolment/messages.ts'
import { classOf, type NodeName } from '../enrolment/names.ts'
import { type Presented, presentedIn, requestCertificate } from './certificates.ts'
import { readPrivateFile, writePrivateFile } from './files.ts'

export type Identity = {
  readonly membership: Membership
  /** PEM: the authorities; the certificate; its private key. */
  readonly authorities: string
  readonly certificate: string
  readonly key: string
  readonly presented: Presented
}

export type IdentityFiles = ReturnType<typeof identityFiles>

export function identityFiles(dataDirectory: string) {
  const folder = join(dataDirectory, 'identity')
  return {
    folder,
    membership: join(folder, 'cluster.json'),
    authorities: join(folder, 'ca.pem'),
    /** Certificates that are revoked, PEM, as of the issue of the certificate; at the Leader as of now. */
    revocations: join(folder, 'crl.pem'),
    certificate: join(folder, 'node.pem'),
    key: join(folder, 'node.key'),
    /** A key whose certificate has not arrived yet. */
    nextKey: join(folder, 'next.key'),
    /** Why this node is out of its cluster. */
    revoked: join(folder, 'revoked'),
    /** Of the first control node, until the ledger holds it. */
    authorityKey: join(folder, 'ca.key'),
    /** Where a seed waits for the start of its node. */
    seed: join(dataDirectory, 'init', 'seed'),
  }
}

export const nameOf = ({ clusterId, kind, node }: Membership): NodeName => ({
  clusterId,
  roleClass: classOf[kind],
  node,
})

/** Undefined when the node is not enrolled. Throws `settings_invalid` when the files do not fit together. */
export async function readIdentity(dataDirectory: string): Promise<Identity | undefined> {
  try {
    return await readOnce(dataDirectory)
  } catch {
    // Another process or thread of this node may have been taking a new certificate meanwhile: parts of both were read.
    return await readOnce(dataDirectory)
  }
}

async function readOnce(dataDirectory: string): Promise<Identity | undefined> {
  const files = identityFiles(dataDirectory)
  const membershipText = await readPrivateFile(files.membership)
  const certificate = await readPrivateFile(files.certificate)
  // It comes last: without it nothing was issued, or not all of it has arrived.
  if (certificate === undefined) return undefined
  const authorities = await readPrivateFile(files.authorities)
  const membership = membershipForm.safeParse(asObject(membershipText))
  if (authorities === undefined || !membership.success) throw damaged(files)
  const read = readCertificate(certificate, files)
  const presented = presentedIn(read)
  const key = await keyOf(read, files)
  const authority = pemsIn(authorities).map((pem) => readCertificate(pem, files))
  const name = nameOf(membership.data)
  if (
    presented.name?.clusterId !== name.clusterId ||
    presented.name.node !== name.node ||
    presented.name.roleClass !== name.roleClass ||
    !authority.some((one) => read.checkIssued(one) && read.verify(one.publicKey))
  )
    throw damaged(files)
  return { membership: membership.data, authorities, certificate, key, presented }
}

/** Why the node was put out of its cluster; undefined when it was not. */
export const revocationOf = (dataDirectory: string): Promise<string | undefined> =>
  readPrivateFile(identityFiles(dataDirectory).revoked)

/** Kept on the disk: a start changes nothing of it (cluster 1.1). */
export const markRevoked = (dataDirectory: string, why: string): Promise<void> =>
  writePrivateFile(identityFiles(dataDirectory).revoked, `${why}\n`)

/**
 * A key and the request for its certificate. The key is on the disk before anybody hears of it, and the same as long as no
 * certificate came for it: who asks again after an answer was lost is recognized by it.
 */
export async function prepareRequest(dataDirectory: string, node: string): Promise<string> {
  const { nextKey } = identityFiles(dataDirectory)
  const { key, csr } = await requestCertificate(node, await readPrivateFile(nextKey))
  await writePrivateFile(nextKey, key.endsWith('\n') ? key : `${key}\n`)
  return csr
}

/** Takes what was issued for the prepared request. A stop at any moment leaves the old identity or the new one. */
export async function storeIssued(dataDirectory: string, issued: Issued): Promise<void> {
  const files = identityFiles(dataDirectory)
  await writePrivateFile(files.authorities, issued.authorities)
  await writePrivateFile(files.revocations, issued.revocations)
  await writePrivateFile(files.membership, `${JSON.stringify(issued.membership, undefined, 2)}\n`)
  await rm(files.revoked, { force: true })
  await writePrivateFile(files.certificate, issued.certificate)
  await takeNextKey(files)
}

/** The key of a certificate; one that was about to take its place is put there. */
async function keyOf(certificate: X509Certificate, files: IdentityFiles): Promise<string> {
  const key = await readPrivateFile(files.key)
  if (key !== undefined && fits(certificate, key)) return key
  const next = await readPrivateFile(files.nextKey)
  if (next === undefined || !fits(certificate, next)) throw damaged(files)
  await takeNextKey(files)
  return next
}

/** Another process or thread of this node may do the same at the same time. */
async function takeNextKey({ nextKey, key }: IdentityFiles): Promise<void> {
  try {
    await rename(nextKey, key)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
}

function fits(certificate: X509Certificate, key: string): boolean {
  try {
    return certificate.checkPrivateKey(createPrivateKey(key))
  } catch {
    // The library's error may quote the key.
    return false
  }
}

function readCertificate(pem: string, files: IdentityFiles): X509Certificate {
  try {
    return new X509Certificate(pem)
  } catch {
    throw damaged(files)
  }
}

const asObject = (text: string | undefined): unknown => {
  const value = text === undefined ? undefined : parseJson(text)
  return isObject(value) ? value : undefined
}

const damaged = ({ folder }: IdentityFiles): DomainError =>
  new DomainError(
    'settings_invalid',
    `${folder} does not hold an identity whose parts belong together: put back what was there, or remove the folder and join again with a new seed`,
    { target: 'data_dir' },
  )

/** For messages: what an operator does with a node that is out. */
export const joinAgain = ({ kind, node }: Pick<Membership, 'kind' | 'node'>): string =>
  `to let it in again make a seed with "${commandFor(kind, node)}", unpack it here with "holdfast unpack seed" and start the node`
