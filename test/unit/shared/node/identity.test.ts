// A renewal puts a certificate and its key in place one after the other; who reads meanwhile has the old identity or the new one.
import { afterEach, beforeEach, expect, test } from 'vitest'
import { initCluster } from '#control-plane/enrolment/authority.ts'
import { signForNode, signRevocations } from '#shared/node/certificates.ts'
import { readPrivateFile } from '#shared/node/files.ts'
import { identityFiles, nameOf, prepareRequest, readIdentity, storeIssued } from '#shared/node/identity.ts'
import { temporaryFolder } from '../../../support/copy.ts'

let folder: ReturnType<typeof temporaryFolder>
beforeEach(() => {
  folder = temporaryFolder()
})
afterEach(() => folder.remove())

test('read at any moment of a renewal it is whole: of before or of after', async () => {
  const dataDirectory = folder.path
  const lifeMs = 3_600_000
  const now = Date.now()
  const first = { dataDirectory, account: 'acme', node: 'a', leaders: ['127.0.0.1:1'], now }
  let known = await initCluster({ ...first, certificateLifeMs: lifeMs })
  const key = (await readPrivateFile(identityFiles(dataDirectory).authorityKey))!
  const authority = { certificate: known.authorities, key }
  const { membership } = known
  const revocations = await signRevocations(authority, [], now)
  for (let round = 0; round < 60; round++) {
    const csr = await prepareRequest(dataDirectory, 'a')
    const order = { csr, name: nameOf(membership), hosts: ['a'], lifeMs }
    const { certificate } = await signForNode(authority, order, now)
    const issued = { certificate, authorities: known.authorities, revocations, membership }
    let isStored = false
    const seen = new Set<string | undefined>()
    const readers = Array.from({ length: 12 }, async () => {
      while (!isStored) seen.add((await readIdentity(dataDirectory))?.key)
    })
    await storeIssued(dataDirectory, issued)
    isStored = true
    await Promise.all(readers)
    const after = (await readIdentity(dataDirectory))!
    expect(after.certificate).toBe(certificate.trim())
    expect([...seen].filter((one) => one !== known.key && one !== after.key)).toEqual([])
    known = after
  }
})
