// Events about a cluster and its nodes (cluster 12.3).
import { type Actor, type AuditEvent, build, element, facilities, severities } from './event.ts'

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

const clusterWords = {
  promote: ['promoted', 'promote'],
  demote: ['demoted', 'demote'],
  evict: ['removed', 'remove'],
  switchover: ['ordered a switchover to', 'switch over to'],
  pause: ['paused failover of', 'pause failover of'],
  resume: ['resumed failover of', 'resume failover of'],
  recover: ['began the coordination store anew with', 'begin the coordination store anew with'],
  enroll: ['let in', 'let in'],
} as const

/** What happened to a cluster (cluster 12.3). `user`: the operator, or the node that did it by itself. */
export function clusterEvent(c: {
  readonly operation: keyof typeof clusterWords
  readonly user: string
  /** The node, or the cluster. */
  readonly object: string
  readonly epoch?: number
  readonly why: string
  readonly error?: string | undefined
}): AuditEvent {
  const [done, undone] = clusterWords[c.operation]
  const failed = c.error !== undefined
  const text = failed
    ? `${c.user} failed to ${undone} ${c.object}: ${c.error}`
    : `${c.user} ${done} ${c.object}`
  return {
    facility: facilities.authpriv,
    severity: severities.notice,
    msgid: 'cluster',
    sdata: [
      element('auth', { user: c.user }),
      element('subject', { node: c.object, epoch: c.epoch?.toString() }),
      element('action', { result: failed ? 'failure' : 'success', operation: c.operation }),
    ],
    message: c.why === '' || failed ? text : `${text}: ${c.why}`,
  }
}
