import type { Mark } from '../yaml/read-yaml.ts'

/** A policy text that cannot be loaded. `mark` only for errors found while reading (policy 2.4, 8). */
export class PolicyError extends Error {
  readonly mark: Mark | undefined
  constructor(message: string, mark?: Mark) {
    super(
      mark === undefined
        ? message
        : `Error at line ${mark.line}, column ${mark.column} in policy : ${message}`,
    )
    this.name = 'PolicyError'
    this.mark = mark
  }
}
