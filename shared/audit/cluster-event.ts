// Events about the nodes of the cluster (cluster 12.3).
import { type Actor, type AuditEvent, build, severities } from './event.ts'

const seedWords = {
  issue: ['made a seed for', 'failed to make a seed for'],
  redeem: ['redeemed the seed of', 'failed to redeem the seed of'],
  refuse: ['', 'tried to join with the seed of'],
} as const

/** `node`: the one that the seed is for, or that somebody says to be. */
export function seedEvent(
  actor: Actor,
  s: {
    readonly operation: keyof typeof seedWords
    readonly node: string
    readonly kind: string
    readonly seed?: string | undefined
    readonly error?: string | undefined
  },
): AuditEvent {
  const [done, undone] = seedWords[s.operation]
  return build({
    msgid: 'seed',
    operation: s.operation,
    auth: { user: actor.user },
    subject: { node: s.node, kind: s.kind, seed: s.seed },
    clientIp: actor.clientIp,
    error: s.error,
    success: `${actor.user} ${done} ${s.kind} ${s.node}`,
    failure: `${actor.user} ${undone} ${s.kind} ${s.node}`,
    severity: severities.notice,
  })
}

const memberWords = {
  enroll: ['enrolled', 'failed to enroll'],
  renew: ['renewed the certificate of', 'failed to renew the certificate of'],
  evict: ['put out', 'failed to put out'],
} as const

/** A node that joined, got a new certificate, or is out. */
export function memberEvent(
  actor: Actor,
  m: {
    readonly operation: keyof typeof memberWords
    readonly node: string
    readonly serial?: string | undefined
    readonly error?: string | undefined
  },
): AuditEvent {
  const [done, undone] = memberWords[m.operation]
  return build({
    msgid: 'cluster',
    operation: m.operation,
    auth: { user: actor.user },
    subject: { node: m.node, serial: m.serial },
    clientIp: actor.clientIp,
    error: m.error,
    success: `${actor.user} ${done} ${m.node}`,
    failure: `${actor.user} ${undone} ${m.node}`,
    severity: severities.notice,
  })
}
