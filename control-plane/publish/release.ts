import { compare, type Position } from '#shared/ledger/position.ts'

/**
 * I6: a commit is shown to Followers only when it is durable where it must be. On one node that is the Leader's own
 * head, which moves after COMMIT has returned.
 */
export function mayShow(commit: Position, durable: Position): boolean {
  return compare(commit, durable) <= 0
}
