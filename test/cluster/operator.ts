// An operator at a control node: the command line as he uses it.
import { execFile } from 'node:child_process'
import type { ControlNode } from './cluster.ts'

const main = new URL('../../control-plane/cli/holdfast.js', import.meta.url).pathname

export type Told = {
  readonly exit: number
  // biome-ignore lint/suspicious/noExplicitAny: the answer of a program, whatever it is; the cases say what they expect
  readonly value: any
  readonly error: { readonly code: string; readonly message: string } | undefined
}

/** `holdfast …words` at the door of a node. */
export function operate(node: ControlNode, ...words: readonly string[]): Promise<Told> {
  const line = [main, ...words, '--data-dir', node.directory, '--json']
  return new Promise((resolve) => {
    execFile(process.execPath, line, (error, stdout, stderr) => {
      const said = stderr.split('\n').find((text) => text.startsWith('{'))
      resolve({
        exit: error === null ? 0 : Number(error.code),
        value: stdout === '' ? undefined : JSON.parse(stdout),
        error: said === undefined ? undefined : JSON.parse(said).error,
      })
    })
  })
}
