// Conjur's command lines, and summon: programs of their own, each command a process.
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { adminOf, type Client, execute, nodesOf, prepared, type Run, settled } from './run.ts'

type Expected = {
  /** Of what it prints, to either stream. */
  readonly prints?: RegExp
  readonly fails?: boolean
}

/** Runs one command; resolves with what it printed. */
type Command = (name: string, args: readonly string[], expected?: Expected) => Promise<string>

function commandsOf(program: string, { directory: cwd, env, note }: Run): Command {
  return async (name, args, { prints, fails = false } = {}) => {
    const { code, out, err } = await execute([program, ...args], { cwd, env })
    const said = `${out}\n${err}`
    const well = (code !== 0) === fails && (prints === undefined || prints.test(said))
    note(well ? `ok ${name}` : `fail ${name}: ended with ${code}: ${said.replaceAll('\n', ' ').slice(-400)}`)
    return out
  }
}

/** A home of its own, so that what it keeps of its user is neither ours nor another node's. */
function homeOf({ directory, env }: Run, where: string): NodeJS.ProcessEnv {
  const home = join(directory, `home-${where}`)
  mkdirSync(home)
  return { ...env, HOME: home, CONJURRC: join(home, '.conjurrc'), DBUS_SESSION_BUS_ADDRESS: '/dev/null' }
}

const policyOf = (id: string): string => `
- !policy
  id: ${id}
  body:
  - !user
    id: ann
    public_keys: [ ssh-ed25519 AAAAC3Nz laptop ]
  - !host web
  - !group readers
  - !layer
  - !host-factory { id: hf, layers: [ !layer ] }
  - &secrets
    - !variable db/user
    - !variable db/pw
  - !permit { role: !group readers, privileges: [ read, execute ], resources: *secrets }
  - !grant { role: !group readers, members: [ !host web, !user ann ] }
- !policy
  id: conjur/authn-jwt/${id}
  body:
  - !webservice
`

/** Files with the policy, and with one that replaces another. */
function policyFiles({ directory }: Run, id: string): { whole: string; other: string; only: string } {
  const file = (name: string, text: string): string => {
    const path = join(directory, `${name}.yml`)
    writeFileSync(path, text)
    return path
  }
  return {
    whole: file('whole', policyOf(id)),
    other: file('other', `- !policy ${id}-other\n`),
    only: file('only', '- !variable only\n'),
  }
}

const firstToken = (printed: string): string => /"token": "([0-9a-z]+)"/.exec(printed)?.[1] ?? ''
const apiKey = (printed: string): string => /\b[0-9a-z]{45,60}\b/.exec(printed)?.[0] ?? ''
const PASSWORD = 'My-Secret-Pa55!'

/** The command line in Python, version 7; the one in Go followed it and takes most of its commands. */
export const pythonCommandLine: Client = {
  name: 'conjur-cli-python',
  needs: [['python3', '-m', 'venv', '--help']],
  async run(run) {
    const { directory: cwd, env } = run
    await prepared(['python3', '-m', 'venv', 'venv'], { cwd, env })
    const bin = join(cwd, 'venv', 'bin')
    // It uses async-timeout without asking for it: its HTTP library did when it was made.
    await prepared([join(bin, 'pip'), 'install', '--quiet', 'conjur', 'async-timeout'], { cwd, env })
    for (const [where, url] of nodesOf(env)) {
      const conjur = commandsOf(join(bin, 'conjur'), { ...run, env: homeOf(run, where) })
      const named: Command = (name, args, expected) => conjur(`${where} ${name}`, args, expected)
      await named('init', ['init', '-u', url, '-c', env.CONJUR_CERT_FILE!], { prints: /initialized/ })
      await named('login', ['login', '-i', 'admin', '-p', env.CONJUR_ADMIN_KEY!], { prints: /logged in/ })
      if (where === 'Leader') await pythonWrites(named, run)
      await settled(env)
      await pythonReads(named)
      if (where === 'Follower') {
        const third = ['variable', 'set', '-i', 'cli/db/user', '-v', 'third']
        await named('variable set is refused', third, { fails: true, prints: /405/ })
      }
      await named('logout', ['logout'], { prints: /logged out/ })
    }
    const shown = await prepared([join(bin, 'conjur'), '--version'], { cwd, env: { ...env, HOME: cwd } })
    return /version ([\d.]+)/.exec(shown.out)?.[1] ?? ''
  },
}

async function pythonWrites(conjur: Command, run: Run): Promise<void> {
  const { whole, other, only } = policyFiles(run, 'cli')
  const load = (name: string, branch: string, file: string) =>
    conjur(`policy ${name}`, ['policy', name, '-b', branch, '-f', file], { prints: /"version": \d/ })
  await load('load', 'root', whole)
  await load('update', 'root', other)
  await load('replace', 'cli-other', only)
  for (const [id, value] of [
    ['db/user', 'first'],
    ['db/user', 'second'],
    ['db/pw', 'word'],
  ] as const) {
    const args = ['variable', 'set', '-i', `cli/${id}`, '-v', value]
    await conjur(`variable set ${id}`, args, { prints: /Successfully set/ })
  }
  const create = ['hostfactory', 'create']
  const factory = ['-i', 'cli/hf', '-dh', '1', '--cidr', '127.0.0.0/8']
  const token = firstToken(await conjur('hostfactory create token', [...create, 'token', ...factory]))
  const host = [...create, 'host', '-i', 'cli/made', '-t', token]
  await conjur('hostfactory create host', host, { prints: /"api_key": "[0-9a-z]{40}/ })
  await conjur('hostfactory revoke token', ['hostfactory', 'revoke', 'token', '-t', token], {
    prints: /has been revoked/,
  })
  await conjur('hostfactory create host with a revoked token', host, { fails: true, prints: /401/ })
  const rotated = { prints: /New API key is: [0-9a-z]{40}/ }
  await conjur('host rotate-api-key', ['host', 'rotate-api-key', '-i', 'cli/web'], rotated)
  const key = apiKey(
    await conjur('user rotate-api-key', ['user', 'rotate-api-key', '-i', 'ann@cli'], rotated),
  )
  const login = (name: string, login: string, password: string) =>
    conjur(name, ['login', '-i', login, '-p', password], { prints: /logged in/ })
  await login('login of another', 'ann@cli', key)
  await conjur('user rotate-api-key of one’s own', ['user', 'rotate-api-key'], rotated)
  await conjur('user change-password', ['user', 'change-password', '-p', PASSWORD], {
    prints: /Successfully changed password/,
  })
  await conjur('user change-password to a weak one', ['user', 'change-password', '-p', 'weak'], {
    fails: true,
    prints: /Invalid password/,
  })
  await login('login with the password', 'ann@cli', PASSWORD)
  await login('login again', 'admin', run.env.CONJUR_ADMIN_KEY!)
  await conjur('login with a wrong password', ['login', '-i', 'admin', '-p', 'wrong'], {
    fails: true,
    prints: /401/,
  })
  // It has forgotten the one before.
  await login('login after it', 'admin', run.env.CONJUR_ADMIN_KEY!)
}

async function pythonReads(conjur: Command): Promise<void> {
  const get = (...ids: string[]) => ['variable', 'get', '-i', ...ids]
  await conjur('whoami', ['whoami'], { prints: /"username": "admin"/ })
  await conjur('variable get', get('cli/db/user'), { prints: /^second$/m })
  await conjur('variable get of a version', [...get('cli/db/user'), '--version', '1'], { prints: /^first$/m })
  await conjur('variable get of two', get('cli/db/user', 'cli/db/pw'), { prints: /"cli\/db\/pw": "word"/ })
  await conjur('variable get of none', get('cli/none'), { fails: true, prints: /404/ })
  const web = /"acme:host:cli\/web"/
  await conjur('list', ['list'], { prints: web })
  await conjur('list of a kind', ['list', '-k', 'host', '-s', 'web', '-l', '5', '-o', '0'], { prints: web })
  await conjur('list with what is in it', ['list', '-k', 'host', '-i'], { prints: /"restricted_to": / })
  const readers = ['-k', 'variable', '-r', 'acme:group:cli/readers']
  await conjur('list of a role', ['list', ...readers], { prints: /^\[\s*"acme:variable:[^,]*,[^,]*\]/ })
  await conjur('list of members', ['list', '-m', 'group:cli/readers'], { prints: web })
  await conjur('list of members by a bare name', ['list', '-m', 'cli/readers'], { prints: web })
  const permitted = ['list', '-pr', 'variable:cli/db/user', '-p', 'execute']
  await conjur('list of permitted roles', permitted, { prints: web })
}

/** Builds the newest version of a program of a Go module into `bin`. */
async function goBuilt({ directory, env }: Run, name: string, module: string, program: string) {
  const cwd = join(directory, name)
  mkdirSync(cwd)
  const source = `${module}/${program}`
  for (const line of [
    ['go', 'mod', 'init', 'holdfast.test/fetch'],
    ['go', 'get', `${module}@latest`],
    ['go', 'build', '-mod=mod', '-o', join(directory, 'bin', name), source],
  ]) {
    const { code, err } = await execute(line, { cwd, env })
    if (code !== 0) return err.trim().replace(/\s+/g, ' ').slice(-400)
  }
  return undefined
}

async function goVersion({ directory, env }: Run, name: string, module: string): Promise<string> {
  const listed = ['go', 'list', '-m', '-f', '{{.Version}}', module]
  return (await prepared(listed, { cwd: join(directory, name), env })).out.trim()
}

const GO_COMMAND_LINE = 'github.com/cyberark/conjur-cli-go'

export const goCommandLine: Client = {
  name: 'conjur-cli-go',
  needs: [['go', 'version']],
  fetch: (run) => goBuilt(run, 'conjur', GO_COMMAND_LINE, 'cmd/conjur'),
  async run(run) {
    const { directory, env } = run
    for (const [where, url] of nodesOf(env)) {
      const conjur = commandsOf(join(directory, 'bin', 'conjur'), { ...run, env: homeOf(run, where) })
      const named: Command = (name, args, expected) => conjur(`${where} ${name}`, args, expected)
      const server = ['-u', url, '-a', env.CONJUR_ACCOUNT!, '-c', env.CONJUR_CERT_FILE!]
      await named('init', ['init', 'oss', ...server, '--force-netrc', '--force'], {
        prints: /Wrote configuration/,
      })
      await named('login', ['login', '-i', 'admin', '-p', env.CONJUR_ADMIN_KEY!], { prints: /Logged in/ })
      if (where === 'Leader') await goWrites(named, run)
      await settled(env)
      await goReads(named)
      if (where === 'Follower') {
        const third = ['variable', 'set', '-i', 'gocli/db/user', '-v', 'third']
        await named('variable set is refused', third, { fails: true, prints: /405/ })
      }
      await named('logout', ['logout'], { prints: /Logged out/ })
      await named('whoami after it', ['whoami'], { fails: true })
    }
    return goVersion(run, 'conjur', GO_COMMAND_LINE)
  },
}

async function goWrites(conjur: Command, run: Run): Promise<void> {
  const { whole, other, only } = policyFiles(run, 'gocli')
  const load = (name: string, branch: string, file: string) =>
    conjur(`policy ${name}`, ['policy', name, '-b', branch, '-f', file], { prints: /"version": \d/ })
  await conjur('policy load, dry run', ['policy', 'load', '--dry-run', '-b', 'root', '-f', whole], {
    prints: /Valid YAML/,
  })
  await load('load', 'root', whole)
  await load('update', 'root', other)
  await load('replace', 'gocli-other', only)
  for (const value of ['first', 'second'])
    await conjur('variable set', ['variable', 'set', '-i', 'gocli/db/user', '-v', value], {
      prints: /Value added/,
    })
  await conjur('variable set of another', ['variable', 'set', '-i', 'gocli/db/pw', '-v', 'word'])
  const create = ['hostfactory', 'tokens', 'create', '--hostfactory-id', 'gocli/hf', '--duration', '5m']
  const token = firstToken(await conjur('hostfactory tokens create', create))
  const host = ['hostfactory', 'hosts', 'create', '--id', 'gocli/made', '--token', token]
  await conjur('hostfactory hosts create', host, { prints: /"api_key": "[0-9a-z]{40}/ })
  await conjur('hostfactory tokens revoke', ['hostfactory', 'tokens', 'revoke', '--token', token])
  await conjur('hostfactory hosts create with a revoked token', host, { fails: true, prints: /401/ })
  const switched = (to: string) => ['authenticator', to, '-i', 'authn-jwt/gocli']
  await conjur('authenticator enable', switched('enable'), { prints: /is enabled/ })
  await conjur('authenticator disable', switched('disable'), { prints: /is disabled/ })
  const rotated = { prints: /^[0-9a-z]{45,60}$/m }
  await conjur('host rotate-api-key', ['host', 'rotate-api-key', '-i', 'gocli/web'], rotated)
  const key = apiKey(
    await conjur('user rotate-api-key', ['user', 'rotate-api-key', '-i', 'ann@gocli'], rotated),
  )
  const login = (name: string, login: string, password: string) =>
    conjur(name, ['login', '-i', login, '-p', password], { prints: /Logged in/ })
  await login('login of another', 'ann@gocli', key)
  await conjur('user change-password', ['user', 'change-password', '-p', PASSWORD], {
    prints: /Password changed/,
  })
  await conjur('user rotate-api-key of one’s own', ['user', 'rotate-api-key'], rotated)
  await login('login with the password', 'ann@gocli', PASSWORD)
  await login('login again', 'admin', run.env.CONJUR_ADMIN_KEY!)
}

async function goReads(conjur: Command): Promise<void> {
  await conjur('whoami', ['whoami'], { prints: /"username": "admin"/ })
  await conjur('authenticate', ['authenticate'], { prints: /"?protected"?/ })
  const get = (ids: string) => ['variable', 'get', '-i', ids]
  await conjur('variable get', get('gocli/db/user'), { prints: /^second$/m })
  await conjur('variable get of a version', [...get('gocli/db/user'), '-v', '1'], { prints: /^first$/m })
  await conjur('variable get of two', get('gocli/db/user,gocli/db/pw'), { prints: /word/ })
  await conjur('variable get of none', get('gocli/none'), { fails: true, prints: /404/ })
  const web = /"acme:host:gocli\/web"/
  await conjur('list', ['list'], { prints: web })
  await conjur('list of a kind', ['list', '-k', 'host', '-s', 'web', '-l', '5'], { prints: web })
  await conjur('list with what is in it', ['list', '-k', 'host', '--inspect'], { prints: /"restricted_to"/ })
  await conjur('policy fetch', ['policy', 'fetch', '-b', 'gocli'], { prints: /!variable/ })
  const [group, variable] = ['acme:group:gocli/readers', 'acme:variable:gocli/db/user']
  await conjur('role show', ['role', 'show', group], { prints: web })
  await conjur('role exists', ['role', 'exists', group], { prints: /^true$/m })
  await conjur('role exists not', ['role', 'exists', 'acme:group:gocli/none'], { prints: /^false$/m })
  await conjur('role members', ['role', 'members', group], { prints: web })
  const memberships = ['role', 'memberships', 'acme:host:gocli/web']
  await conjur('role memberships', memberships, { prints: /"acme:group:gocli\/readers"/ })
  await conjur('resource show', ['resource', 'show', variable], { prints: /"acme:policy:gocli"/ })
  await conjur('resource exists', ['resource', 'exists', variable], { prints: /^true$/m })
  const permitted = ['resource', 'permitted-roles', variable, 'execute']
  await conjur('resource permitted-roles', permitted, { prints: web })
  await conjur('check', ['check', variable, 'execute'], { prints: /^true$/m })
  const update = ['check', '-r', 'acme:host:gocli/web', variable, 'update']
  await conjur('check of another', update, { prints: /^false$/m })
  await conjur('pubkeys', ['pubkeys', 'ann@gocli'], { prints: /laptop/ })
}

const SUMMON = 'github.com/cyberark/summon'

/** With its provider for Conjur, which reads as a host does. */
export const summon: Client = {
  name: 'summon',
  needs: [['go', 'version']],
  async fetch(run) {
    return (
      (await goBuilt(run, 'summon', SUMMON, 'cmd')) ??
      (await goBuilt(run, 'summon-conjur', 'github.com/cyberark/summon-conjur', 'cmd'))
    )
  },
  async run(run) {
    const { directory, env } = run
    const provider = join(directory, 'bin', 'summon-conjur')
    const admin = await adminOf(env)
    const loaded = (await (await admin.loadPolicy('root', policyOf('summon'))).json()) as {
      created_roles: Record<string, { api_key: string }>
    }
    await admin.setSecret('summon/db/user', 'second')
    await settled(env)
    const file = join(directory, 'secrets.yml')
    writeFileSync(file, 'USER_NAME: !var summon/db/user\nUSER_FILE: !var:file summon/db/user\n')
    for (const [where, url] of nodesOf(env)) {
      const host = {
        CONJUR_APPLIANCE_URL: url,
        CONJUR_AUTHN_LOGIN: 'host/summon/web',
        CONJUR_AUTHN_API_KEY: loaded.created_roles['acme:host:summon/web']!.api_key,
      }
      const own = { ...run, env: { ...homeOf(run, where), ...host } }
      const alone = commandsOf(provider, own)
      const wrapped = commandsOf(join(directory, 'bin', 'summon'), own)
      const second = { prints: /^second$/m }
      await alone(`${where} summon-conjur`, ['summon/db/user'], second)
      await alone(`${where} summon-conjur of none`, ['summon/none'], { fails: true, prints: /CONJ00076E/ })
      const from = ['--provider', provider, '-f', file]
      await wrapped(`${where} summon of a variable`, [...from, 'printenv', 'USER_NAME'], second)
      await wrapped(`${where} summon of a file`, [...from, 'sh', '-c', 'cat "$USER_FILE"'], second)
      const text = ['--provider', provider, '--yaml', 'NAME: !var summon/db/user', 'printenv', 'NAME']
      await wrapped(`${where} summon of a text`, text, second)
    }
    return goVersion(run, 'summon', SUMMON)
  },
}
