import pino from 'pino'

export type Log = {
  readonly info: (message: string, fields?: Readonly<Record<string, unknown>>) => void
  readonly warn: (message: string, fields?: Readonly<Record<string, unknown>>) => void
  readonly error: (message: string, fields?: Readonly<Record<string, unknown>>) => void
}

export const logLevels = ['debug', 'info', 'warn', 'error', 'fatal', 'unknown'] as const

/** Lines of JSON on standard error. Fields are names, counts and codes: never a value, a key or a token. */
export function createLog(origin: string, level: (typeof logLevels)[number]): Log {
  const logger = pino(
    {
      level: level === 'unknown' ? 'silent' : level,
      base: { origin },
      timestamp: pino.stdTimeFunctions.isoTime,
    },
    pino.destination({ fd: 2, sync: true }),
  )
  return {
    info: (message, fields = {}) => logger.info(fields, message),
    warn: (message, fields = {}) => logger.warn(fields, message),
    error: (message, fields = {}) => logger.error(fields, message),
  }
}

/** What may be written of an error: its message and code, and for faults of ours the stack. */
export function errorFields(error: unknown): Record<string, unknown> {
  if (!(error instanceof Error)) return { error: String(error) }
  const code = 'code' in error ? { code: error.code } : {}
  const cause = error.cause instanceof Error ? { cause: error.cause.message } : {}
  return { error: error.message, ...code, ...cause, stack: error.stack }
}
