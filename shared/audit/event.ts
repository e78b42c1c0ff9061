// Audit events, one constructor per message id (http-api 16, cluster 12.3). An event is built by the decision
// that it records; number, chain and time of storing are the node's business (chain.ts).
import type { Json } from '../base/json.ts'

export type SdElement = {
  readonly id: string
  readonly params: readonly (readonly [name: string, value: string])[]
}

export type AuditEvent = {
  readonly facility: number
  readonly severity: number
  readonly msgid: string
  readonly sdata: readonly SdElement[]
  readonly message: string
}

/** Who did it, and from where. */
export type Actor = { readonly user: string; readonly clientIp: string }

export const facilities = { auth: 4, authpriv: 10 } as const
export const severities = { warning: 4, notice: 5, info: 6 } as const

/** SD-IDs carry the enterprise number of the reference, so that existing parsers find them. */
const sd = (name: string): string => `${name}@43868`

type Fields = Readonly<Record<string, string | undefined>>

type Form = {
  readonly msgid: string
  readonly operation: string
  readonly auth: Fields
  readonly subject: Fields
  readonly policy?: Fields | undefined
  readonly clientIp: string
  /** Undefined means success. */
  readonly error?: string | undefined
  readonly success: string
  readonly failure: string
  readonly facility?: number
  readonly severity?: number
  /** Authentication events name the subject first. */
  readonly subjectFirst?: boolean
}

export function build(form: Form): AuditEvent {
  const failed = form.error !== undefined
  const auth = element('auth', form.auth)
  const subject = element('subject', form.subject)
  return {
    facility: form.facility ?? facilities.authpriv,
    severity: form.severity ?? (failed ? severities.warning : severities.info),
    msgid: form.msgid,
    sdata: [
      ...(form.subjectFirst ? [subject, auth] : [auth, subject]),
      element('client', { ip: form.clientIp }),
      element('action', { result: failed ? 'failure' : 'success', operation: form.operation }),
      ...(form.policy ? [element('policy', form.policy)] : []),
    ],
    message: failed ? (form.error === '' ? form.failure : `${form.failure}: ${form.error}`) : form.success,
  }
}

export function element(name: string, fields: Fields): SdElement {
  const params: [string, string][] = []
  for (const field in fields) {
    const value = fields[field]
    if (value !== undefined) params.push([field, value])
  }
  return { id: sd(name), params }
}

export type AuthnOperation =
  | 'authenticate'
  | 'login'
  | 'validate-status'
  | 'update-authenticator-configuration'
  | 'k8s-inject-client-cert'

const authnWords = {
  authenticate: ['successfully authenticated', 'failed to authenticate'],
  login: ['successfully logged in', 'failed to login'],
  'validate-status': ['successfully validated status', 'failed to validate status'],
  'update-authenticator-configuration': [
    'successfully updated configuration',
    'failed to update configuration',
  ],
  'k8s-inject-client-cert': [
    'successfully injected client certificate',
    'failed to inject client certificate',
  ],
} as const satisfies Record<AuthnOperation, readonly [string, string]>

/** `user`: the role id, or `not-found` when it failed and no such role exists. `role`: as claimed. */
export function authnEvent(
  actor: Actor,
  a: {
    readonly operation: AuthnOperation
    readonly role: string
    readonly authenticator: string
    readonly service?: string | undefined
    readonly error?: string | undefined
  },
): AuditEvent {
  const what = `with authenticator ${a.authenticator}${a.service ? ` service ${a.service}` : ''}`
  const verbs = authnWords[a.operation]
  return build({
    msgid: 'authn',
    operation: a.operation,
    auth: { user: actor.user, authenticator: a.authenticator, service: a.service },
    subject: { role: a.role },
    clientIp: actor.clientIp,
    error: a.error,
    success: `${a.role} ${verbs[0]} ${what}`,
    failure: `${a.role} ${verbs[1]} ${what}`,
    subjectFirst: true,
  })
}

export function fetchEvent(
  actor: Actor,
  f: {
    readonly resource: string
    readonly version?: string | undefined
    readonly error?: string | undefined
  },
): AuditEvent {
  const what = f.version === undefined ? f.resource : `version ${f.version} of ${f.resource}`
  return build({
    msgid: 'fetch',
    operation: 'fetch',
    auth: { user: actor.user },
    subject: { resource: f.resource, version: f.version },
    clientIp: actor.clientIp,
    error: f.error,
    success: `${actor.user} fetched ${what}`,
    failure: `${actor.user} tried to fetch ${what}`,
  })
}

export function updateEvent(
  actor: Actor,
  u: { readonly resource: string; readonly error?: string | undefined },
): AuditEvent {
  return build({
    msgid: 'update',
    operation: 'update',
    auth: { user: actor.user },
    subject: { resource: u.resource },
    clientIp: actor.clientIp,
    error: u.error,
    success: `${actor.user} updated ${u.resource}`,
    failure: `${actor.user} tried to update ${u.resource}`,
  })
}

export function checkEvent(
  actor: Actor,
  c: {
    readonly resource: string
    readonly role: string
    readonly privilege: string
    readonly error?: string | undefined
  },
): AuditEvent {
  const who = c.role === actor.user ? 'they' : c.role
  const what = `if ${who} can ${c.privilege} ${c.resource}`
  return build({
    msgid: 'check',
    operation: 'check',
    auth: { user: actor.user },
    subject: { resource: c.resource, role: c.role, privilege: c.privilege },
    clientIp: actor.clientIp,
    error: c.error,
    success: `${actor.user} successfully checked ${what}`,
    failure: `${actor.user} failed to check ${what}`,
  })
}

/** `parameters`: the query parameters that were used, as texts. */
export function listEvent(
  actor: Actor,
  l: {
    readonly msgid: 'list' | 'members' | 'membership'
    readonly parameters: Readonly<Record<string, string>>
    readonly error?: string | undefined
  },
): AuditEvent {
  const noun = { list: 'resources', members: 'members', membership: 'memberships' }[l.msgid]
  const what = `${noun} with parameters: ${JSON.stringify(l.parameters)}`
  return build({
    msgid: l.msgid,
    operation: 'list',
    auth: { user: actor.user },
    subject: l.parameters,
    clientIp: actor.clientIp,
    error: l.error,
    success: `${actor.user} successfully listed ${what}`,
    failure: `${actor.user} failed to list ${what}`,
  })
}

export function resourceEvent(
  actor: Actor,
  r: { readonly resource: string; readonly error?: string | undefined },
): AuditEvent {
  return build({
    msgid: 'resource',
    operation: 'get',
    auth: { user: actor.user },
    subject: { resource: r.resource },
    clientIp: actor.clientIp,
    error: r.error,
    success: `${actor.user} successfully fetched resource details.`,
    failure: `${actor.user} failed to fetch resource details`,
  })
}

export function passwordEvent(
  actor: Actor,
  p: { readonly role: string; readonly error?: string | undefined },
): AuditEvent {
  return build({
    msgid: 'password',
    operation: 'change',
    auth: { user: actor.user },
    subject: { role: p.role },
    clientIp: actor.clientIp,
    error: p.error,
    success: `${actor.user} successfully changed their password`,
    failure: `${actor.user} failed to change their password`,
  })
}

export function apiKeyEvent(
  actor: Actor,
  k: { readonly role: string; readonly error?: string | undefined },
): AuditEvent {
  const whose = k.role === actor.user ? 'their API key' : `the api key for ${k.role}`
  return build({
    msgid: 'api-key',
    operation: 'rotate',
    auth: { user: actor.user },
    subject: { role: k.role },
    clientIp: actor.clientIp,
    error: k.error,
    success: `${actor.user} successfully rotated ${whose}`,
    failure: `${actor.user} failed to rotate ${whose}`,
  })
}

export function whoamiEvent(actor: Actor): AuditEvent {
  return build({
    msgid: 'identity-check',
    operation: 'check',
    auth: { user: actor.user },
    subject: { role: actor.user },
    clientIp: actor.clientIp,
    success: `${actor.user} checked its identity using whoami`,
    failure: '',
    facility: facilities.auth,
  })
}

export type PolicySubject =
  | { readonly kind: 'role'; readonly role: string }
  | { readonly kind: 'resource'; readonly resource: string }
  | { readonly kind: 'annotation'; readonly annotation: string; readonly resource: string }
  | {
      readonly kind: 'permission'
      readonly resource: string
      readonly role: string
      readonly privilege: string
    }
  | { readonly kind: 'membership'; readonly role: string; readonly member: string }
  | { readonly kind: 'ownership'; readonly role: string; readonly owner: string }

export type PolicyOperation = 'add' | 'change' | 'remove'

const policyWords: Record<PolicyOperation, string> = { add: 'added', change: 'changed', remove: 'removed' }

/** One changed row of a policy load (policy 11). `policy` is absent for members added by the API. */
export function policyEvent(
  actor: Actor,
  p: {
    readonly operation: PolicyOperation
    readonly subject: PolicySubject
    readonly policy?: { readonly id: string; readonly version: number } | undefined
  },
): AuditEvent {
  const { kind, ...fields } = p.subject
  return build({
    msgid: 'policy',
    operation: p.operation,
    auth: { user: actor.user },
    subject: fields,
    policy: p.policy && { id: p.policy.id, version: String(p.policy.version) },
    clientIp: actor.clientIp,
    success: `${actor.user} ${policyWords[p.operation]} ${policyNoun(p.subject)}`,
    failure: '',
    severity: severities.notice,
  })
}

function policyNoun(s: PolicySubject): string {
  switch (s.kind) {
    case 'role':
      return `role ${s.role}`
    case 'resource':
      return `resource ${s.resource}`
    case 'annotation':
      return `annotation ${s.annotation} on ${s.resource}`
    case 'permission':
      return `permission of ${s.role} to ${s.privilege} on ${s.resource}`
    case 'membership':
      return `membership of ${s.member} in ${s.role}`
    case 'ownership':
      return `ownership of ${s.owner} in ${s.role}`
  }
}

/** A dry run that found nothing wrong (policy 9). */
export function policyValidatedEvent(actor: Actor, policy: string): AuditEvent {
  return build({
    msgid: 'policy',
    operation: 'validate',
    auth: { user: actor.user },
    subject: { resource: policy },
    clientIp: actor.clientIp,
    success: `${actor.user} validated policy ${policy}`,
    failure: '',
    severity: severities.notice,
  })
}

/** An effective policy that was read, or not (policy 11). */
export function policyReadEvent(
  actor: Actor,
  p: { readonly policy: string; readonly error?: string | undefined },
): AuditEvent {
  const [account = '', , ...identifier] = p.policy.split(':')
  return build({
    msgid: 'policy',
    operation: 'read',
    auth: { user: actor.user },
    subject: { account, identifier: identifier.join(':'), role_id: actor.user },
    clientIp: actor.clientIp,
    error: p.error,
    success: `${actor.user} read policy ${p.policy}`,
    failure: `${actor.user} failed to read policy ${p.policy}`,
    severity: severities.notice,
  })
}

/** A load that failed: `create` for POST, `update` for PATCH and PUT (policy 11). */
export function policyFailedEvent(
  actor: Actor,
  p: { readonly operation: 'create' | 'update'; readonly error: string },
): AuditEvent {
  return build({
    msgid: 'policy',
    operation: p.operation,
    auth: { user: actor.user },
    subject: {},
    clientIp: actor.clientIp,
    error: p.error,
    success: '',
    failure: 'Failed to load policy',
    severity: severities.notice,
  })
}

const v2Words = {
  create: ['created', 'create'],
  get: ['retrieved', 'retrieve'],
  list: ['listed', 'list'],
  update: ['updated', 'update'],
  remove: ['removed', 'remove'],
  delete: ['deleted', 'delete'],
  enable: ['enabled', 'enable'],
} as const

export type V2Operation = keyof typeof v2Words

/** What a V2 route did, or refused to do (http-api 15). `body` is written down as it is: it must hold no secret. */
export function v2Event(
  actor: Actor,
  e: {
    readonly type: 'branch' | 'membership' | 'authenticator'
    readonly operation: V2Operation
    /** Which one; absent for lists. */
    readonly name?: string | undefined
    readonly path: string
    readonly body?: Json | undefined
    readonly error?: string | undefined
  },
): AuditEvent {
  const [done, undone] = v2Words[e.operation]
  const named = e.name === undefined ? e.type : `${e.type} ${e.name}`
  const object = e.body === undefined ? '' : ` and JSON object: ${JSON.stringify(e.body)}`
  const what = `${named} with URI path: '${e.path}'${object}`
  return build({
    msgid: e.type,
    operation: e.operation,
    auth: { user: actor.user },
    subject: { edge: '' },
    clientIp: actor.clientIp,
    error: e.error,
    success: `${actor.user} successfully ${done} ${what}`,
    failure: `${actor.user} failed to ${undone} ${what}`,
    severity: severities.notice,
  })
}

const issuerWords = {
  add: ['added', 'add'],
  update: ['updated', 'update'],
  remove: ['removed', 'remove'],
  fetch: ['fetched', 'fetch'],
  list: ['listed', 'list'],
} as const

/** What was done with an issuer (http-api 14). `issuer`: its name, or `*` for all; absent when it was no name. */
export function issuerEvent(
  actor: Actor,
  e: {
    readonly operation: keyof typeof issuerWords
    readonly account: string
    readonly issuer?: string | undefined
    readonly error?: string | undefined
  },
): AuditEvent {
  const [done, undone] = issuerWords[e.operation]
  const what = `${e.account}:issuer:${e.issuer ?? ''}`
  return build({
    msgid: 'issuer',
    operation: e.operation,
    auth: { user: actor.user },
    subject: { account: e.account, issuer: e.issuer },
    clientIp: actor.clientIp,
    error: e.error,
    success: `${actor.user} ${done} ${what}`,
    failure: `${actor.user} tried to ${undone} ${what}`,
  })
}

/** A variable that went with its issuer. */
export function issuerVariableEvent(
  actor: Actor,
  v: { readonly account: string; readonly issuer: string; readonly resource: string },
): AuditEvent {
  return build({
    msgid: 'variable',
    operation: 'remove',
    auth: { user: actor.user },
    // `resource` too: queries for a resource look there.
    subject: { account: v.account, issuer: v.issuer, resource_id: v.resource, resource: v.resource },
    clientIp: actor.clientIp,
    success: `${actor.user} removed ${v.resource}`,
    failure: '',
  })
}

/** A stream of audit records that the Leader refuses: records before `seq` are missing, or it has another history. */
export function streamRefusedEvent(
  operation: 'gap' | 'fork',
  stream: { readonly node: string; readonly incarnation: string; readonly seq: number },
): AuditEvent {
  const { node, incarnation, seq } = stream
  const error =
    operation === 'gap' ? `records before ${seq} are missing` : `record ${seq} has another history`
  return {
    facility: facilities.authpriv,
    severity: severities.notice,
    msgid: 'audit',
    sdata: [
      element('auth', { user: node }),
      element('subject', { node, incarnation, seq: String(seq) }),
      element('action', { result: 'failure', operation }),
    ],
    message: `The audit records of ${node} were refused: ${error}`,
  }
}

/** First record of a new queue in the place of a damaged one: what the Leader does not have is in `aside`. */
export function queueLostEvent(node: string, aside: string): AuditEvent {
  return {
    facility: facilities.authpriv,
    severity: severities.notice,
    msgid: 'audit',
    sdata: [
      element('auth', { user: node }),
      element('subject', { node }),
      element('action', { result: 'failure', operation: 'gap' }),
    ],
    message: `The audit queue of ${node} was damaged: records that were not forwarded are in ${aside}`,
  }
}
