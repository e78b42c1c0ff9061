// The connections that were let in with a certificate: each ends as soon as its certificate is not good any more.
import type { Duplex } from 'node:stream'
import type { Refusal } from '#shared/enrolment/messages.ts'
import type { LinkName } from '#shared/enrolment/names.ts'
import { shownOn } from '#shared/node/tls.ts'
import type { Identified } from '../publish/entrance.ts'
import type { Office } from './office.ts'
import { revokedWords } from './rules.ts'

export type Gate = {
  /** Who is at the other end. */
  identify(socket: Duplex, link: LinkName): Identified
  /** Ends what has run out; what is revoked ends when it is. */
  look(now: number): void
}

type Held = {
  readonly serial: string
  readonly end: (refusal: Refusal | undefined) => void
}

export function createGate(office: Office): Gate {
  const open = new Set<Held>()

  function hold(serial: string, end: Held['end']): () => void {
    const entry = { serial, end }
    open.add(entry)
    return () => void open.delete(entry)
  }

  function endRevoked(): void {
    for (const entry of open) {
      const certificate = office.certificate(entry.serial)
      if (certificate !== undefined && certificate.revokedBecause === undefined) continue
      open.delete(entry)
      entry.end(certificate && { code: 'CERT_REVOKED', message: revokedWords(certificate) })
    }
  }
  office.onChange(endRevoked)

  return {
    identify(socket, link) {
      const entry = office.judge(link, shownOn(socket))
      if (entry.kind === 'refuse') return { kind: 'refused', status: '403 Forbidden', refusal: entry.refusal }
      const { node, serial } = entry.certificate
      return {
        kind: 'known',
        identity: { name: node, set: office.node(node)?.replicationSet ?? 'full' },
        hold: (end) => hold(serial, end),
      }
    },
    look(now) {
      for (const entry of open) {
        if ((office.certificate(entry.serial)?.notAfter ?? 0) > now) continue
        open.delete(entry)
        // No word: the node dials again with the certificate that it has by now.
        entry.end(undefined)
      }
    },
  }
}
