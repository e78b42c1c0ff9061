// Where the cluster's authority is: made with the first control node in its data folder, taken into the ledger by the first
// Leader, and from there on sealed in the ledger, so that every later Leader has it.
import { rm } from 'node:fs/promises'
import { toHex, utf8 } from '#shared/base/bytes.ts'
import { DomainError } from '#shared/base/errors.ts'
import { randomBytes } from '#shared/base/native-crypto.ts'
import { pemsIn } from '#shared/base/x509.ts'
import { fingerprintOf } from '#shared/enrolment/bundle.ts'
import { membershipForm } from '#shared/enrolment/messages.ts'
import { hostOf } from '#shared/enrolment/names.ts'
import { keyHashIn, makeAuthority, signForNode, signRevocations } from '#shared/node/certificates.ts'
import { readPrivateFile, writePrivateFile } from '#shared/node/files.ts'
import {
  type Identity,
  identityFiles,
  nameOf,
  prepareRequest,
  readIdentity,
  storeIssued,
} from '#shared/node/identity.ts'
import type { Keyring } from '#shared/secret/keyring.ts'
import { authorityRecord } from './office.ts'
import { type Held, insertAuthority, insertCertificate, putNode, type Records } from './records.ts'

export type FirstNode = {
  readonly dataDirectory: string
  readonly account: string
  readonly node: string
  /** host:port under which nodes reach the Leader. */
  readonly leaders: readonly string[]
  /** Names and addresses of this node beside its own. */
  readonly hosts?: readonly string[]
  readonly certificateLifeMs: number
  readonly now: number
}

/**
 * Makes a cluster: its id, its authority, and the identity of its first control node. The authority's key stays in the
 * folder until `holdAuthority`. Throws `conflict` when the folder belongs to a node already.
 */
export async function initCluster(first: FirstNode): Promise<Identity> {
  const { dataDirectory, account, node, leaders, now } = first
  const files = identityFiles(dataDirectory)
  if ((await readIdentity(dataDirectory)) !== undefined) {
    throw new DomainError(
      'conflict',
      `${files.folder} is the identity of a node already: a new cluster needs a new data folder`,
    )
  }
  const clusterId = toHex(randomBytes(16))
  const given = {
    clusterId,
    account,
    node,
    kind: 'standby',
    replicationSet: 'full',
    serviceRole: 'all',
    leaders,
  }
  const checked = membershipForm.safeParse(given)
  if (!checked.success) {
    throw new DomainError(
      'settings_invalid',
      `a cluster cannot be made for ${node} at ${leaders.join(', ')}: give a host name, and addresses of the form host:port`,
    )
  }
  const membership = checked.data
  const authority = await makeAuthority(clusterId, now)
  const csr = await prepareRequest(dataDirectory, node)
  const hosts = [node, ...(first.hosts ?? []), ...leaders.map(hostOf)]
  const order = { csr, name: nameOf(membership), hosts, lifeMs: first.certificateLifeMs }
  const { certificate } = await signForNode(authority, order, now)
  const revocations = await signRevocations(authority, [], now)
  await writePrivateFile(files.authorityKey, authority.key)
  await storeIssued(dataDirectory, {
    certificate,
    authorities: authority.certificate,
    revocations,
    membership,
  })
  return (await readIdentity(dataDirectory))!
}

export type Holding = {
  readonly records: Records
  readonly keyring: Keyring
  readonly dataDirectory: string
  readonly version: string
}

/**
 * What the ledger knows, with the authority in it: taken from the folder of the first control node when the ledger has none
 * yet. Undefined when neither has one. Throws `settings_invalid` when they belong to different clusters.
 */
export async function holdAuthority(holding: Holding): Promise<Held | undefined> {
  const { records, dataDirectory } = holding
  const files = identityFiles(dataDirectory)
  const held = await records.load()
  const identity = await readIdentity(dataDirectory)
  const [newest] = held.authorities
  if (newest === undefined) {
    const key = await readPrivateFile(files.authorityKey)
    if (identity === undefined) return undefined
    if (key === undefined) {
      throw new DomainError(
        'settings_invalid',
        `${identity.membership.node} belongs to cluster ${identity.membership.clusterId}, and this ledger has no authority: restore the ledger of that cluster, or start with a new data folder`,
        { target: 'data_dir' },
      )
    }
    await take(holding, identity, key)
  } else if (identity !== undefined && identity.membership.clusterId !== newest.clusterId) {
    throw new DomainError(
      'settings_invalid',
      `${files.folder} is an identity in cluster ${identity.membership.clusterId}, and the ledger is of cluster ${newest.clusterId}: remove the folder that does not belong here`,
      { target: 'data_dir' },
    )
  }
  // In the ledger it is sealed; nobody needs this copy any more.
  await rm(files.authorityKey, { force: true })
  return records.load()
}

async function take(
  { records, keyring, dataDirectory, version }: Holding,
  identity: Identity,
  key: string,
): Promise<void> {
  const { membership, presented, certificate } = identity
  const name = nameOf(membership)
  const authority = `${pemsIn(identity.authorities)[0]}\n`
  const serial = fingerprintOf(authority)
  const revocations = await readPrivateFile(identityFiles(dataDirectory).revocations)
  const sealedKey = keyring.seal(authorityRecord(serial), utf8(key))
  await records.change('', async (session, _held, now) => {
    const { clusterId, node, kind, replicationSet, serviceRole } = membership
    await insertAuthority(session, {
      serial,
      clusterId,
      certificate: authority,
      sealedKey,
      createdAt: now,
      revocations: `${revocations}\n`,
    })
    await putNode(session, {
      ...{ node, kind, replicationSet, serviceRole },
      hosts: [],
      version,
      labels: {},
      enrolledAt: now,
    })
    const { serial: own, notBefore, notAfter } = presented
    const issued = { serial: own, notBefore, notAfter, certificate, keyHash: keyHashIn(certificate) }
    await insertCertificate(session, name, issued)
    return { value: undefined, events: [] }
  })
}
