// Commands about resources, roles and their credentials: one call of the API each.
import { buffer } from 'node:stream/consumers'
import type { Command } from 'commander'
import { answerTo, basic, send, sessionOf, textOf, wordsOf } from '../client.ts'
import type { DoorFlags } from '../operator.ts'
import { CommandError, exitCodes, print } from '../output.ts'
import { call, type Flags, withSession } from './api.ts'
import { showNodeRole } from './cluster.ts'

/** `host:app/web`, or with its account `acme:host:app/web`, as path segments below an account. */
function pathOf(id: string): { readonly kind: string; readonly path: string; readonly id: string } {
  const parts = id.split(':')
  const [kind, ...rest] = parts.length > 2 ? parts.slice(1) : parts
  const identifier = rest.join(':')
  if (!kind || identifier === '') {
    throw wrongUsage(`${id} is no id: give a kind and a name, such as host:app/web`)
  }
  return { kind, path: `${kind}/${encodeURIComponent(identifier)}`, id: `${kind}:${identifier}` }
}

const wrongUsage = (message: string): CommandError => new CommandError('usage', message, exitCodes.usage)

const queryOf = (pairs: Readonly<Record<string, string | boolean | undefined>>): string => {
  const given = Object.entries(pairs).filter(([, value]) => value !== undefined && value !== false)
  return given.length === 0
    ? ''
    : `?${new URLSearchParams(given.map(([name, value]) => [name, String(value)]))}`
}

const lines = (ids: readonly string[]): string => (ids.length === 0 ? '(none)' : ids.join('\n'))

export function addDirectoryCommands(program: Command): void {
  addResources(program)
  addRoles(program)
  addCredentials(program)
  addHostFactories(program)
}

function addResources(program: Command): void {
  type ListFlags = Flags &
    Readonly<Record<'kind' | 'search' | 'limit' | 'offset' | 'role', string | undefined>>
  withSession(program.command('list'))
    .description('resources that you see')
    .option('-k, --kind <kind>', 'of this kind only, such as variable')
    .option('-s, --search <words>', 'words in ids and annotations')
    .option('-l, --limit <n>', 'at most so many')
    .option('-o, --offset <n>', 'after so many')
    .option('-r, --role <id>', 'as this role sees them, one of yours')
    .option('--count', 'how many there are')
    .action(async (flags: ListFlags & { count?: boolean }) => {
      const { kind, search, limit, offset, role, count } = flags
      const { account } = await sessionOf(flags, process.env)
      const acting_as = role === undefined ? undefined : `${account}:${pathOf(role).id}`
      const query = queryOf({ kind, search, limit, offset, acting_as, count })
      const value = JSON.parse(await call(flags, 'GET', (a) => `/resources/${a}${query}`)) as
        | { count: number }
        | { id: string }[]
      print(
        flags.json ?? false,
        value,
        Array.isArray(value) ? lines(value.map(({ id }) => id)) : String(value.count),
      )
    })

  withSession(program.command('show'))
    .description('a resource with its owner, permissions and annotations')
    .argument('<id>', 'such as variable:db/password', pathOf)
    .action(async ({ path }: ReturnType<typeof pathOf>, flags: Flags) => {
      const value: unknown = JSON.parse(await call(flags, 'GET', (a) => `/resources/${a}/${path}`))
      print(flags.json ?? false, value, JSON.stringify(value, undefined, 2))
    })

  withSession(program.command('check'))
    .description('whether you, or another role, may do something; ends with 1 when not')
    .argument('<id>', 'resource, such as variable:db/password', pathOf)
    .argument('<privilege>', 'such as execute')
    .option('-r, --role <id>', 'this role instead of you')
    .action(async ({ path, id }, privilege: string, flags: Flags & { role?: string }) => {
      const session = await sessionOf(flags, process.env)
      const role = flags.role === undefined ? undefined : `${session.account}:${pathOf(flags.role).id}`
      const query = queryOf({ check: 'true', privilege, role })
      const answer = await answerTo(
        session,
        'GET',
        `/resources/${encodeURIComponent(session.account)}/${path}${query}`,
      )
      const allowed = answer.status === 204
      if (!allowed && answer.status !== 403 && answer.status !== 404) {
        throw new CommandError(`http_${answer.status}`, wordsOf(answer))
      }
      print(flags.json ?? false, { resource: id, privilege, allowed }, allowed ? 'yes' : 'no')
      if (!allowed) process.exitCode = 1
    })
}

function addRoles(program: Command): void {
  const role = program.command('role').description('roles, what they hold and who holds them')
  type Listed = readonly { readonly role: string; readonly member: string }[]
  const ways = {
    show: { doc: 'a role with its members', query: '', words: undefined },
    members: {
      doc: 'who holds a role',
      query: '?members',
      words: (found: Listed) => found.map(({ member }) => member),
    },
    memberships: {
      doc: 'roles that a role holds directly',
      query: '?memberships',
      words: (found: Listed) => found.map((row) => row.role),
    },
  }
  for (const [name, { doc, query, words }] of Object.entries(ways)) {
    const command = withSession(role.command(name)).description(doc)
    if (name === 'show')
      command.option('--data-dir <folder>', 'instead of a role: what the control node there is')
    command
      .argument(name === 'show' ? '[id]' : '<id>', 'such as group:app/readers', pathOf)
      .action(async (id: ReturnType<typeof pathOf> | undefined, flags: Flags & DoorFlags) => {
        if (id === undefined) return showNodeRole(flags)
        const { path } = id
        const value = JSON.parse(await call(flags, 'GET', (a) => `/roles/${a}/${path}${query}`)) as Listed
        print(flags.json ?? false, value, words ? lines(words(value)) : JSON.stringify(value, undefined, 2))
      })
  }
}

function addCredentials(program: Command): void {
  const user = program.command('user').description('credentials of users')
  const host = program.command('host').description('credentials of hosts')
  for (const [kind, command] of [
    ['user', user],
    ['host', host],
  ] as const) {
    withSession(command.command('rotate-api-key'))
      .description(`a new API key for yourself, or for another ${kind}; the old one ends at once`)
      .option('-i, --id <id>', `the ${kind}; default: yourself`)
      .action(async (flags: Flags & { id?: string }) => {
        const session = await sessionOf(flags, process.env)
        const path = `/authn/${encodeURIComponent(session.account)}/api_key`
        const key =
          flags.id === undefined
            ? textOf(
                await send(session.url + path, { method: 'PUT', headers: { Authorization: basic(session) } }),
              )
            : await call(flags, 'PUT', () => `${path}${queryOf({ role: `${kind}:${flags.id}` })}`)
        print(flags.json ?? false, { api_key: key }, key)
      })
  }
  withSession(user.command('change-password'))
    .description('set your password, read from standard input')
    .action(async (flags: Flags) => {
      const session = await sessionOf(flags, process.env)
      const password = (await buffer(process.stdin)).toString().replace(/\r?\n$/, '')
      const path = `/authn/${encodeURIComponent(session.account)}/password`
      const headers = { Authorization: basic(session) }
      textOf(await send(session.url + path, { method: 'PUT', headers, body: password }))
      print(flags.json ?? false, { changed: true }, 'the password is changed')
    })

  withSession(program.command('pubkeys'))
    .description('public keys of a user')
    .argument('<user>')
    .action(async (id: string, flags: Flags) => {
      const text = await call(flags, 'GET', (a) => `/public_keys/${a}/user/${encodeURIComponent(id)}`)
      const keys = text.split('\n').filter((line) => line !== '')
      print(flags.json ?? false, keys, lines(keys))
    })
}

function addHostFactories(program: Command): void {
  const factory = program.command('hostfactory').description('hosts that enrol themselves')
  const tokens = factory.command('tokens').description('tokens of host factories')
  type TokenFlags = Flags & { hostfactory: string; duration: string; count: string; cidr?: string[] }
  withSession(tokens.command('create'))
    .description('new tokens')
    .requiredOption('-i, --hostfactory <id>', 'host factory')
    .option('-d, --duration <minutes>', 'life of the tokens', '60')
    .option('-c, --count <n>', 'how many', '1')
    .option('--cidr <ranges...>', 'addresses from which they may be used')
    .action(async ({ hostfactory, duration, count, cidr = [], ...flags }: TokenFlags) => {
      const minutes = Number(duration)
      if (!(minutes > 0)) throw wrongUsage('--duration is a number of minutes above 0')
      const { account } = await sessionOf(flags, process.env)
      const form = new URLSearchParams([
        ['host_factory', `${account}:host_factory:${hostfactory}`],
        ['expiration', new Date(Date.now() + minutes * 60_000).toISOString()],
        ['count', count],
        ...cidr.map((range) => ['cidr[]', range]),
      ])
      const text = await call(flags, 'POST', () => '/host_factory_tokens', Buffer.from(String(form)))
      const made = JSON.parse(text) as { token: string }[]
      print(flags.json ?? false, made, lines(made.map(({ token }) => token)))
    })
  withSession(tokens.command('revoke'))
    .description('end a token, read from standard input')
    .action(async (flags: Flags) => {
      const token = (await buffer(process.stdin)).toString().trim()
      await call(flags, 'DELETE', () => `/host_factory_tokens/${encodeURIComponent(token)}`)
      print(flags.json ?? false, { revoked: true }, 'the token is revoked')
    })
  factory
    .command('hosts')
    .description('hosts of host factories')
    .command('create')
    .description('enrol a host with a token, read from standard input')
    .requiredOption('-i, --id <id>', 'name of the host')
    .option('--url <url>', 'node to ask (HOLDFAST_URL)')
    .option('--json', 'answer as JSON')
    .action(async (flags: { id: string; url?: string; json?: boolean }) => {
      const token = (await buffer(process.stdin)).toString().trim()
      const url = flags.url ?? process.env.HOLDFAST_URL ?? 'http://127.0.0.1:8080'
      const headers = { Authorization: `Token token="${token}"` }
      const body = new URLSearchParams({ id: flags.id })
      const text = textOf(await send(`${url}/host_factories/hosts`, { method: 'POST', headers, body }))
      const { id, api_key } = JSON.parse(text) as { id: string; api_key: string }
      print(flags.json ?? false, { id, api_key }, `${id}\n${api_key}`)
    })
}
