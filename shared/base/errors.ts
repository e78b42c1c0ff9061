// Codes are for programs and never change; messages are for people. What has no code is our own fault: it is
// logged and answered without detail. No secret, key or token is ever part of a message.

export type Code =
  | 'bad_request'
  | 'unauthorized'
  | 'forbidden'
  | 'not_found'
  | 'method_not_allowed'
  | 'not_acceptable'
  | 'conflict'
  | 'policy_conflict'
  | 'too_large'
  | 'argument_error'
  | 'parameter_missing'
  | 'validation_failed'
  | 'unprocessable_entity'
  | 'policy_invalid'
  | 'data_key_invalid'
  | 'unavailable'
  | 'audit_unavailable'
  | 'stale_epoch'
  | 'settings_invalid'

export class DomainError extends Error {
  readonly code: Code
  /** The member at fault: a setting, a parameter, a field. */
  readonly target: string | undefined
  constructor(code: Code, message: string, options: { target?: string; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = 'DomainError'
    this.code = code
    this.target = options.target
  }
}
