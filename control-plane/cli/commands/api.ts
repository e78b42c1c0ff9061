// Commands about policies and values, and what commands of one call share.
import { readFile } from 'node:fs/promises'
import { buffer } from 'node:stream/consumers'
import type { Command } from 'commander'
import { answerTo, type SessionFlags, sessionOf, successOf } from '../client.ts'
import { print } from '../output.ts'

export type Flags = SessionFlags & { readonly json?: boolean }

/** Where the node is and who asks: the same flags for every command of this kind. */
export function withSession(command: Command): Command {
  return command
    .option('--url <url>', 'node to ask (HOLDFAST_URL)')
    .option('--account <account>', 'account (HOLDFAST_ACCOUNT)')
    .option('--login <login>', 'who asks (HOLDFAST_LOGIN)')
    .option('--api-key-file <file>', 'file with the API key (HOLDFAST_API_KEY_FILE, HOLDFAST_API_KEY)')
    .option('--json', 'answer as JSON')
}

const input = (file: string | undefined): Promise<Buffer> =>
  file === undefined || file === '-' ? buffer(process.stdin) : readFile(file)

async function bytesOf(
  flags: Flags,
  method: string,
  path: (account: string) => string,
  body?: Uint8Array,
): Promise<Uint8Array> {
  const session = await sessionOf(flags, process.env)
  const answer = await answerTo(session, method, path(encodeURIComponent(session.account)), body)
  return successOf(answer).bytes
}

/** `path` is given the account, ready for a URL. */
export async function call(...asked: Parameters<typeof bytesOf>): Promise<string> {
  return new TextDecoder().decode(await bytesOf(...asked))
}

const modes = { load: 'POST', update: 'PATCH', replace: 'PUT' } as const

export function addApiCommands(program: Command): void {
  const policy = program.command('policy').description('load policies')
  for (const [name, method] of Object.entries(modes)) {
    withSession(policy.command(name))
      .description(`${name} a branch with ${method}`)
      .requiredOption('-b, --branch <id>', 'policy branch')
      .option('-f, --file <file>', 'policy text; default: standard input')
      .action(async (flags: Flags & { branch: string; file?: string }) => {
        const body = await input(flags.file)
        const text = await call(
          flags,
          method,
          (account) => `/policies/${account}/policy/${encodeURIComponent(flags.branch)}`,
          body,
        )
        print(flags.json ?? false, JSON.parse(text), text)
      })
  }

  const variable = program.command('variable').description('read and write values')
  withSession(variable.command('get'))
    .description('write a value to standard output, byte for byte')
    .requiredOption('-i, --id <id>', 'variable')
    .action(async (flags: Flags & { id: string }) => {
      const value = await bytesOf(
        flags,
        'GET',
        (account) => `/secrets/${account}/variable/${encodeURIComponent(flags.id)}`,
      )
      if (flags.json) print(true, { id: flags.id, value: new TextDecoder().decode(value) }, '')
      else process.stdout.write(value)
    })
  withSession(variable.command('set'))
    .description('set a value from a file or standard input')
    .requiredOption('-i, --id <id>', 'variable')
    .option('-f, --file <file>', 'file with the value; default: standard input')
    .action(async (flags: Flags & { id: string; file?: string }) => {
      const body = await input(flags.file)
      await call(
        flags,
        'POST',
        (account) => `/secrets/${account}/variable/${encodeURIComponent(flags.id)}`,
        body,
      )
      print(flags.json ?? false, { id: flags.id, stored: true }, `stored a value of ${flags.id}`)
    })

  withSession(program.command('whoami'))
    .description('who the node takes you for')
    .action(async (flags: Flags) => {
      const text = await call(flags, 'GET', () => '/whoami')
      print(flags.json ?? false, JSON.parse(text), text)
    })
}
