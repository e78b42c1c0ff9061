// A page of the documentation as its reader uses it. Of a how-to page files that it shows are saved under the names that stand
// on their first line, and what is to be typed goes into one terminal, from the first block to the last. Nothing in a block is
// changed.
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'

export const DOCS = new URL('../../control-plane/docs/', import.meta.url).pathname
export const AUTHENTICATORS = join(DOCS, 'authenticators.md')

/** `language`: `yaml`; `file`: its name, where the block is a file and no command. */
type Block = { readonly language: string; readonly text: string; readonly file: string | undefined }
export type Section = { readonly title: string; readonly blocks: readonly Block[] }

const FENCED = /^```(\w+)\n(.*?)^```$/gms
const FILE_NAME = /^(?:#|\/\/) ([\w./-]+\.\w+)\n/

/** Sections with blocks, in the order of the page. */
export function sectionsOf(page: string): readonly Section[] {
  return readFileSync(page, 'utf8')
    .split(/^## /m)
    .map((text) => ({
      title: text.split('\n')[0]!,
      blocks: [...text.matchAll(FENCED)].map(([, language, block]) => ({
        language: language!,
        text: block!,
        file: FILE_NAME.exec(block!)?.[1],
      })),
    }))
    .filter(({ blocks }) => blocks.length > 0)
}

/** The first block of this language in a section. Throws when there is none. */
export function blockOf(page: string, section: string, language: 'yaml' | 'sh'): string {
  const blocks = sectionsOf(page).find(({ title }) => title === section)?.blocks
  const block = blocks?.find((one) => one.language === language)
  if (block === undefined) throw new Error(`the section ${section} has no block of ${language}`)
  return block.text
}

export type Env = Readonly<Record<string, string>>
export type Ran = { readonly code: number | null; readonly out: string; readonly err: string }

const textsOf = (child: ChildProcess): { out: string; err: string } => {
  const texts = { out: '', err: '' }
  child.stdout!.setEncoding('utf8').on('data', (text: string) => {
    texts.out += text
  })
  child.stderr!.setEncoding('utf8').on('data', (text: string) => {
    texts.err += text
  })
  return texts
}

/** A program with this environment and no other. */
export function run(command: readonly string[], directory: string, env: Env): Promise<Ran> {
  const child = spawn(command[0]!, command.slice(1), {
    cwd: directory,
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const texts = textsOf(child)
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code) => resolve({ code, ...texts }))
  })
}

/** A block by itself, with this environment beside ours. Resolves with what it prints; rejects when a command fails. */
export const runBlock = async (block: string, env: Env): Promise<string> =>
  (await promisify(execFile)('sh', ['-euc', block], { env: { ...process.env, ...env } })).stdout

/** One shell: what a block sets is there in the next. It ends with the first command that fails. */
export class Terminal {
  readonly directory: string
  readonly #shell: ChildProcess
  readonly #texts: { out: string; err: string }
  #blocks = 0

  constructor(directory: string, env: Env) {
    this.directory = directory
    this.#shell = spawn('sh', ['-e'], { cwd: directory, env, stdio: ['pipe', 'pipe', 'pipe'] })
    this.#texts = textsOf(this.#shell)
  }

  /** Saves the files of a section and types its commands. Resolves with what they print; rejects when one fails. */
  async follow({ title, blocks }: Section): Promise<string> {
    let printed = ''
    for (const { text, file } of blocks) {
      if (file === undefined) printed += await this.#type(title, text)
      else this.#save(file, text)
    }
    return printed
  }

  close(): void {
    this.#shell.stdin!.end()
  }

  #save(file: string, text: string): void {
    const path = join(this.directory, file)
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, text)
  }

  #type(title: string, text: string): Promise<string> {
    const name = `block-${++this.#blocks}`
    this.#save(name, text)
    const { promise, resolve, reject } = Promise.withResolvers<string>()
    const from = this.#texts.out.length
    const done = `--- ${name} is done`
    const shell = this.#shell
    const look = (): void => {
      const at = this.#texts.out.indexOf(done, from)
      if (at >= 0) resolve(this.#texts.out.slice(from, at))
    }
    const fail = (): void =>
      reject(new Error(`«${title}» failed:\n${this.#texts.out.slice(from)}\n${this.#texts.err}`))
    shell.stdout!.on('data', look)
    shell.once('close', fail)
    // Commands that read their input would read what is typed next.
    shell.stdin!.write(`. ./${name} </dev/null\necho "${done}"\n`)
    return promise.finally(() => {
      shell.stdout!.off('data', look)
      shell.off('close', fail)
    })
  }
}
