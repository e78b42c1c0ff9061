// Commands of one lane run one after the other, and wait for each other only so long (policy 5: two loads into
// one account).
import { DomainError } from '#shared/base/errors.ts'
import { limits } from '#shared/base/limits.ts'

type Waiting = { readonly admit: () => void; readonly timer: NodeJS.Timeout }

export type Lanes = {
  /** Resolves when the lane is free and now the caller's; rejects with `policy_conflict` after the longest wait. */
  enter(lane: string): Promise<void>
  leave(lane: string): void
}

const conflict = (): DomainError => new DomainError('policy_conflict', 'another policy load is in progress')

export function createLanes(waitMs: number = limits.policyLoadWaitMs): Lanes {
  const busy = new Map<string, Waiting[]>()
  return {
    enter(lane) {
      const queue = busy.get(lane)
      if (queue === undefined) {
        busy.set(lane, [])
        return Promise.resolve()
      }
      if (queue.length >= limits.commandsWaiting) return Promise.reject(conflict())
      return new Promise((resolve, reject) => {
        const timer = setTimeout(() => {
          queue.splice(queue.indexOf(waiting), 1)
          reject(conflict())
        }, waitMs)
        const waiting: Waiting = { admit: resolve, timer }
        queue.push(waiting)
      })
    },
    leave(lane) {
      const next = busy.get(lane)?.shift()
      if (next === undefined) {
        busy.delete(lane)
        return
      }
      clearTimeout(next.timer)
      next.admit()
    },
  }
}
