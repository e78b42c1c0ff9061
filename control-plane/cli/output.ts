// How a command ends: words or JSON on standard output, errors on standard error, and an exit code.
import { DomainError } from '#shared/base/errors.ts'

/** 0 is done; 1 refused or failed; 2 wrong usage or settings; 3 nobody answered. */
export const exitCodes = { done: 0, failed: 1, usage: 2, unreachable: 3 } as const

export class CommandError extends Error {
  readonly code: string
  readonly exit: number
  constructor(code: string, message: string, exit: number = exitCodes.failed) {
    super(message)
    this.code = code
    this.exit = exit
  }
}

export function print(json: boolean, value: unknown, words: string): void {
  process.stdout.write(json ? `${JSON.stringify(value)}\n` : `${words}\n`)
}

/** Writes the error for a person, or with `--json` for a program, and returns the exit code. */
export function reportError(error: unknown, json: boolean): number {
  const message = error instanceof Error ? error.message : String(error)
  const known = error instanceof CommandError || error instanceof DomainError
  const code = known ? error.code : 'internal'
  const settings = error instanceof DomainError && error.code === 'settings_invalid'
  process.stderr.write(json ? `${JSON.stringify({ error: { code, message } })}\n` : `holdfast: ${message}\n`)
  return error instanceof CommandError ? error.exit : settings ? exitCodes.usage : exitCodes.failed
}
