// What a start leaves behind.
import { flushCompileCache } from 'node:module'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

/** Compiled code is otherwise written at a clean end only: a node that is killed would erase types again. */
export const keepCompiled = flushCompileCache

/** Loading modules filled 18 MB that V8 would not give back to the system for as long as little happens. Takes 60 ms. */
export function giveBackMemory(): void {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as (options: object) => void
  setFlagsFromString('--no-expose-gc')
  collect({ type: 'major', execution: 'sync', flavor: 'last-resort' })
}
