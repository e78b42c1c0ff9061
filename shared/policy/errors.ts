import type { Mark } from '../yaml/read-yaml.ts'

/** A policy text that cannot be loaded (policy 2.4, 8). */
export class PolicyError extends Error {
  /** What is wrong, without the place. */
  readonly problem: string
  /** Of errors found while reading; not of faults of YAML's syntax. */
  readonly mark: Mark | undefined
  /** Where it was found, if that is known: the mark, or where the syntax is wrong. */
  readonly at: Mark | undefined

  constructor(problem: string, mark?: Mark, at: Mark | undefined = mark) {
    super(
      mark === undefined
        ? problem
        : `Error at line ${mark.line}, column ${mark.column} in policy : ${problem}`,
    )
    this.name = 'PolicyError'
    this.problem = problem
    this.mark = mark
    this.at = at
  }
}
