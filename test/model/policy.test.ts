// Policy loads beside their naive twin: random texts in three modes, one after another into one account, and the
// rows and verdicts of both. HOLDFAST_ROUNDS: how many texts.
import { expect, test } from 'vitest'
import { Account, ADMIN } from '../support/loading.ts'
import { type Random, runSeed, seeded } from '../support/random.ts'
import * as model from './policy.model.ts'

const TEXTS = Number(process.env.HOLDFAST_ROUNDS ?? 10_000)
const TEXTS_PER_ACCOUNT = 8

type Load = { readonly mode: model.Mode; readonly policy: string; readonly text: readonly model.Statement[] }

const KINDS = ['policy', 'group', 'layer', 'user', 'host', 'variable', 'webservice', 'host_factory']
const GRANTED = ['group', 'layer', 'policy']
const NAMES = ['a', 'b', 'c', 'p', 'q', 'a/x', 'p/a']
const PRIVILEGES = ['read', 'execute', 'update', 'create']
const CIDRS = ['10.0.0.0/8', '192.168.1.7/32', '2001:db8::/32']

class Writer {
  readonly #random: Random
  /** Full ids that are in the account or in this text already. */
  readonly #known: string[]
  readonly #declared = new Set<string>()

  constructor(random: Random, known: readonly string[]) {
    this.#random = random
    this.#known = [...known]
  }

  body(namespace: string, mode: model.Mode, depth: number): model.Statement[] {
    const count = this.#random.int(depth === 0 ? 1 : 0, depth === 0 ? 9 : 5)
    return Array.from({ length: count }, () => this.#statement(namespace, mode, depth))
  }

  #statement(namespace: string, mode: model.Mode, depth: number): model.Statement {
    const roll = this.#random.next()
    const nothingHere = this.#below(namespace, GRANTED).length === 0
    if (roll < 0.55 || nothingHere) return this.#record(namespace, mode, depth)
    const roles = this.#some(1, 2, () => this.#own(namespace, GRANTED))
    if (roll < 0.7) {
      const members = this.#some(1, 3, () => ({
        ref: this.#any(namespace),
        admin: this.#random.next() < 0.3,
      }))
      return { type: 'grant', roles, members }
    }
    const permit = {
      roles: this.#some(1, 2, () => this.#any(namespace)),
      privileges: this.#some(1, 3, () => this.#random.pick(PRIVILEGES)),
      resources: this.#some(1, 2, () => this.#own(namespace, KINDS)),
    }
    const deletes = mode !== 'POST' || this.#random.next() < 0.05
    if (roll < 0.85 || !deletes) return { type: 'permit', ...permit }
    if (roll < 0.9) return { type: 'deny', ...permit }
    if (roll < 0.95) return { type: 'revoke', roles, members: this.#some(1, 2, () => this.#any(namespace)) }
    return { type: 'delete', record: this.#own(namespace, KINDS) }
  }

  #record(namespace: string, mode: model.Mode, depth: number): model.Statement {
    const random = this.#random
    const drawn = random.pick(random.next() < 0.3 ? ['policy'] : KINDS)
    const layers = this.#below(namespace, ['layer']).length > 0
    const kind = drawn === 'host_factory' && !layers && random.next() < 0.95 ? 'layer' : drawn
    let id: string
    let path: string
    do {
      id = namespace !== '' && random.next() < 0.1 ? '' : random.next() < 0.005 ? '/a' : random.pick(NAMES)
      path = id === '' ? namespace : namespace === '' ? id : `${namespace}/${id}`
      // Mostly not what this text declares already.
    } while (this.#declared.has(`${kind} ${path}`) && random.next() < 0.97)
    this.#declared.add(`${kind} ${path}`)
    const owner = random.next() < 0.25 ? this.#any(namespace) : undefined
    const body = kind === 'policy' && depth < 2 ? this.body(path, mode, depth + 1) : undefined
    if (kind !== 'user') this.#known.push(`acme:${kind}:${path}`)
    return {
      type: 'record',
      kind,
      id,
      ...(owner === undefined ? {} : { owner }),
      ...(random.next() < 0.4 ? { annotations: { [random.pick(['x', 'y'])]: random.pick(['1', '2']) } } : {}),
      ...(/user|host$/.test(kind) && random.next() < 0.5
        ? { restrictedTo: this.#some(0, 2, () => random.pick(CIDRS)) }
        : {}),
      ...(kind === 'host_factory'
        ? { layers: this.#some(random.next() < 0.05 ? 0 : 1, 3, () => this.#own(namespace, ['layer'])) }
        : {}),
      ...(body === undefined ? {} : { body }),
    }
  }

  /** For places where paths have no meaning: a record below the namespace, mostly one that is known. */
  #own(namespace: string, kinds: readonly string[]): model.Ref {
    const random = this.#random
    const below = this.#below(namespace, kinds)
    if (below.length > 0 && random.next() < 0.99) {
      const { kind, path } = random.pick(below)
      return { kind, id: namespace === '' ? path : path.slice(namespace.length + 1) }
    }
    return { kind: random.pick(kinds), id: random.pick([...NAMES, '', '../a', '/a']) }
  }

  #below(namespace: string, kinds: readonly string[]): { kind: string; path: string }[] {
    return this.#known
      .map((id) => ({ kind: id.split(':')[1]!, path: id.split(':')[2]! }))
      .filter(
        ({ kind, path }) =>
          kinds.includes(kind) && (namespace === '' || `${path}/`.startsWith(`${namespace}/`)),
      )
  }

  /** For places where a path may lead anywhere: any role. */
  #any(namespace: string): model.Ref {
    const random = this.#random
    const roles = this.#known.filter(model.hasRole)
    if (random.next() < 0.99) {
      const [, kind, path] = random.pick(roles).split(':') as [string, string, string]
      const up = namespace.split('/').map(() => '..')
      return { kind, id: namespace === '' || random.next() < 0.7 ? `/${path}` : [...up, path].join('/') }
    }
    return {
      kind: random.pick(['group', 'user', 'policy']),
      id: random.pick([...NAMES, '', '..', '../../../a']),
    }
  }

  #some<T>(from: number, below: number, draw: () => T): T[] {
    return Array.from({ length: this.#random.int(from, below + 1) }, draw)
  }
}

const tag = ({ kind, id }: model.Ref): string => `!${kind.replace('_', '-')} ${JSON.stringify(id)}`
const list = (items: readonly string[]): string => `[ ${items.join(', ')} ]`

function yaml(statements: readonly model.Statement[]): string {
  return list(statements.map(statementYaml))
}

function statementYaml(s: model.Statement): string {
  switch (s.type) {
    case 'record': {
      const fields = [
        `id: ${JSON.stringify(s.id)}`,
        s.owner && `owner: ${tag(s.owner)}`,
        s.annotations && `annotations: ${JSON.stringify(s.annotations).replaceAll(':', ': ')}`,
        s.restrictedTo && `restricted_to: ${list(s.restrictedTo.map((cidr) => JSON.stringify(cidr)))}`,
        s.layers && `layers: ${list(s.layers.map(tag))}`,
        s.body && `body: ${yaml(s.body)}`,
      ]
      return `!${s.kind.replace('_', '-')} { ${fields.filter((field) => field !== undefined).join(', ')} }`
    }
    case 'grant': {
      const members = s.members.map(({ ref, admin }) =>
        admin ? `!member { role: ${tag(ref)}, admin: true }` : tag(ref),
      )
      return `!grant { roles: ${list(s.roles.map(tag))}, members: ${list(members)} }`
    }
    case 'revoke':
      return `!revoke { roles: ${list(s.roles.map(tag))}, members: ${list(s.members.map(tag))} }`
    case 'delete':
      return `!delete { record: ${tag(s.record)} }`
    default: {
      const privileges = list(s.privileges)
      const of = `roles: ${list(s.roles.map(tag))}, privileges: ${privileges}, resources: ${list(s.resources.map(tag))}`
      return `!${s.type} { ${of} }`
    }
  }
}

/** The account's rows as the twin holds them. */
function stateOf(account: Account): model.State {
  return {
    roles: account.rows('roles').map(({ id, policy }) => ({ id, policy })),
    resources: account.rows('resources').map(({ id, owner, policy }) => ({ id, owner, policy })),
    memberships: account.rows('memberships').map((m) => ({
      role: m.role,
      member: m.member,
      ownership: m.ownership === 1,
      admin: m.admin_option === 1,
      policy: m.policy,
    })),
    permissions: account.rows('permissions').map((p) => ({ ...p })),
    annotations: account.rows('annotations').map((a) => ({ ...a })),
    restrictions: account
      .rows('credentials')
      .map(({ role, restricted_to }) => ({ role, cidrs: JSON.parse(restricted_to) as string[] })),
  }
}

/** Rows as texts, so that a difference reads as lines. */
function linesOf(state: model.State): string[] {
  const lines = [
    ...state.roles.map((r) => `role ${r.id} of ${r.policy}`),
    ...state.resources.map((r) => `resource ${r.id} owned by ${r.owner} of ${r.policy}`),
    ...state.memberships.map(
      (m) =>
        `member ${m.member} in ${m.role}${m.ownership ? ' owns' : ''}${m.admin ? ' admin' : ''} of ${m.policy}`,
    ),
    ...state.permissions.map((p) => `permit ${p.role} ${p.privilege} ${p.resource} of ${p.policy}`),
    ...state.annotations.map((a) => `annotation ${a.resource} ${a.name}=${a.value} of ${a.policy}`),
    ...state.restrictions.map((r) => `restriction ${r.role} ${[...r.cidrs].sort().join(' ')}`),
  ]
  return lines.sort()
}

function verdictOf(state: model.State, { mode, policy, text }: Load): { status: number; state: model.State } {
  const id = `acme:policy:${policy}`
  const may = (privilege: string, resource = id): boolean => model.allowed(state, ADMIN, privilege, resource)
  const seen =
    state.permissions.map(({ privilege }) => privilege).some((privilege) => may(privilege)) || may('')
  if (!state.resources.some((r) => r.id === id) || !seen) return { status: 404, state }
  const below = state.resources.filter((r) => r.id.split(':')[2]!.startsWith(`${policy}/`))
  if (!may(mode === 'POST' ? 'create' : 'update')) return { status: 403, state }
  if (mode === 'PUT' && !below.every((r) => may('update', r.id))) return { status: 403, state }
  try {
    return { status: 201, state: model.load(state, mode, policy, text) }
  } catch (error) {
    if (error instanceof model.Refused) return { status: 422, state }
    throw error
  }
}

/** The two side by side, load after load. */
class Comparison {
  readonly account = new Account()
  readonly statuses: Record<number, number> = {}
  #state = stateOf(this.account)

  /** What they say differently of one more load; undefined when they agree. */
  load(load: Load): string | undefined {
    const { account } = this
    const expected = verdictOf(this.#state, load)
    const rehearsed = rehearsal(account, load, this.#state, expected)
    if (rehearsed !== undefined) return `tried: ${rehearsed}`
    const answer = account.load(load.mode, yaml(load.text), { policy: load.policy })
    this.statuses[answer.status] = (this.statuses[answer.status] ?? 0) + 1
    if (answer.status !== expected.status) {
      return `${answer.status} ${JSON.stringify(answer.body)}, the twin says ${expected.status}`
    }
    const [ours, theirs] = [linesOf(stateOf(account)), linesOf(expected.state)]
    const only = (a: string[], b: string[]): string[] => a.filter((line) => !b.includes(line))
    if (ours.join('\n') !== theirs.join('\n')) {
      return [...only(ours, theirs).map((l) => `+ ${l}`), ...only(theirs, ours).map((l) => `- ${l}`)].join(
        '\n',
      )
    }
    const faults = account.faults()
    this.#state = expected.state
    return faults.length > 0 ? faults.join('; ') : undefined
  }

  [Symbol.dispose](): void {
    this.account[Symbol.dispose]()
  }
}

/** The same of a list of loads, and of what the account amounts to at its end. */
function difference(loads: readonly Load[]): string | undefined {
  using both = new Comparison()
  for (const [i, load] of loads.entries()) {
    const found = both.load(load)
    if (found !== undefined) return `load ${i + 1}: ${found}`
  }
  return saidAgain(both.account)
}

/** A dry run names the records that come and go, and leaves the account as it was. */
function rehearsal(
  account: Account,
  { mode, policy, text }: Load,
  before: model.State,
  expected: { status: number; state: model.State },
): string | undefined {
  const { status, body } = account.dryRun(mode, yaml(text), { policy })
  if (linesOf(stateOf(account)).join() !== linesOf(before).join()) return 'rows were changed'
  const wanted = expected.status === 201 ? 200 : expected.status
  if (status !== wanted) return `${status} ${JSON.stringify(body)} instead of ${wanted}`
  if (status !== 200) return undefined
  const report = body as unknown as Record<'created' | 'deleted', { items: { identifier: string }[] }>
  const ids = (of: model.State): string[] =>
    linesOf(of)
      .filter((line) => line.startsWith('resource '))
      .map((line) => line.split(' ')[1]!)
      .filter((id) => !id.includes(':host_factory:'))
  const [was, is] = [ids(before), ids(expected.state)]
  const differs = (part: 'created' | 'deleted', wanted: string[]): string | undefined => {
    const named = report[part].items.map(({ identifier }) => identifier)
    // Of what admin has lost sight of only the kind is told.
    const hidden = wanted
      .filter((id) => !named.includes(id))
      .map((id) => `acme:${id.split(':')[1]}:[REDACTED]`)
    const expected = [...wanted.filter((id) => named.includes(id)), ...hidden]
    return expected.sort().join() === named.sort().join() ? undefined : `${part} ${named}, not ${wanted}`
  }
  const only = (a: string[], b: string[]): string[] => a.filter((id) => !b.includes(id))
  return differs('created', only(is, was)) ?? differs('deleted', only(was, is))
}

function adminSeesAll(account: Account): boolean {
  const held = new Set([ADMIN])
  for (const role of held) {
    for (const m of account.rows('memberships')) if (m.member === role) held.add(m.role)
  }
  const permitted = new Set(
    account.rows('permissions').flatMap(({ role, resource }) => (held.has(role) ? [resource] : [])),
  )
  return account.rows('resources').every(({ id, owner }) => held.has(owner) || permitted.has(id))
}

/** The effective policy of the account loads into a new one, and says the same of it. */
function saidAgain(account: Account): string | undefined {
  if (!adminSeesAll(account)) return undefined
  const { text } = account.effective()
  using again = new Account()
  const { status, body } = again.load('POST', text)
  // A factory whose layers are deleted is still there, and so are owners in a circle: no text can say them.
  const unsayable = /does not include any layers|Dependency cycle/
  if (text === '[]\n' || unsayable.test(JSON.stringify(body))) return undefined
  if (status !== 201) return `the effective policy does not load: ${JSON.stringify(body)}\n${text}`
  // Owners of variables are not said (policy 10): they become the policy's, which may own itself and show them to nobody.
  if (!adminSeesAll(again)) return undefined
  const second = again.effective().text
  return second === text ? undefined : `the effective policy says\n${text}\nand then\n${second}`
}

/** The fewest loads and statements that still differ. */
function shrunk(loads: readonly Load[]): readonly Load[] {
  for (const [i, load] of loads.entries()) {
    const fewer = [...loads.slice(0, i), ...loads.slice(i + 1)]
    if (difference(fewer) !== undefined) return shrunk(fewer)
    for (const text of smaller(load.text)) {
      const less = loads.map((l, k) => (k === i ? { ...l, text } : l))
      if (difference(less) !== undefined) return shrunk(less)
    }
  }
  return loads
}

function* smaller(text: readonly model.Statement[]): Generator<readonly model.Statement[]> {
  for (const [k, s] of text.entries()) {
    const rest = (more: readonly model.Statement[]) => [...text.slice(0, k), ...more, ...text.slice(k + 1)]
    yield rest([])
    if (s.type === 'record') {
      const { owner, annotations, restrictedTo, ...plain } = s
      if (owner ?? annotations ?? restrictedTo) yield rest([plain])
      for (const body of smaller(s.body ?? [])) yield rest([{ ...s, body }])
    }
  }
}

/** Names what the ones before it made; undefined for a text that another rule is about. */
function randomLoad(random: Random, account: Account): Load | undefined {
  const known = account.rows('resources').map(({ id }) => id)
  const mode = random.pick(['POST', 'PATCH', 'PUT'] as const)
  const policy =
    random.next() < 0.5 ? 'root' : random.next() < 0.05 ? 'nowhere' : random.pick(policiesOf(known))
  const references = known.filter((id) => id !== 'acme:policy:root')
  const text = new Writer(random, references).body(policy === 'root' ? '' : policy, mode, 0)
  // Root and admin are never deleted, and a text that names them is another rule's (policy 7).
  const deletesAdmin = JSON.stringify(text).includes('"delete","record":{"kind":"user","id":"admin"}')
  return deletesAdmin ? undefined : { mode, policy, text }
}

/** Random loads into one account; they are kept in `loads`. */
function wander(random: Random, loads: Load[], statuses: Record<number, number>): string | undefined {
  using both = new Comparison()
  for (let i = 0; i < TEXTS_PER_ACCOUNT; i++) {
    const load = randomLoad(random, both.account)
    if (load === undefined) continue
    loads.push(load)
    const found = both.load(load)
    if (found !== undefined) return found
  }
  for (const [status, count] of Object.entries(both.statuses))
    statuses[Number(status)] = (statuses[Number(status)] ?? 0) + count
  return saidAgain(both.account)
}

const policiesOf = (ids: readonly string[]): string[] =>
  ids.filter((id) => id.startsWith('acme:policy:')).map((id) => id.split(':')[2]!)

const timeout = 60_000 + TEXTS * 50

test('random loads leave the same rows and get the same answers as in the naive twin', { timeout }, () => {
  const seed = runSeed('policy')
  const statuses: Record<number, number> = {}
  for (let round = 0; round * TEXTS_PER_ACCOUNT < TEXTS; round++) {
    const loads: Load[] = []
    const found = wander(seeded(seed + round), loads, statuses)
    if (found !== undefined) {
      const least = shrunk(loads)
      const told = least.map(({ mode, policy, text }) => `${mode} ${policy}: ${yaml(text)}`).join('\n')
      expect.fail(`HOLDFAST_SEED=${seed + round}\n${told}\n${difference(least) ?? found}`)
    }
  }
  process.stdout.write(`policy: ${JSON.stringify(statuses)}\n`)
  // A generator that writes nothing but refused texts would prove nothing.
  expect(statuses[201]).toBeGreaterThan(TEXTS / 4)
})

test('a branch that goes leaves the rows that the naive twin leaves', { timeout }, () => {
  const seed = runSeed('branch')
  const statuses: Record<number, number> = {}
  for (let round = 0; round * TEXTS_PER_ACCOUNT < TEXTS; round++) {
    const random = seeded(seed + round)
    using account = new Account()
    for (let i = 0; i < TEXTS_PER_ACCOUNT; i++) {
      const load = randomLoad(random, account)
      if (load !== undefined) account.load(load.mode, yaml(load.text), { policy: load.policy })
    }
    for (let state = stateOf(account), n = 0; n < 4; n++) {
      const branch =
        random.next() < 0.05 ? 'nowhere' : random.pick(policiesOf(state.resources.map(({ id }) => id)))
      const [status, expected] = branchVerdict(state, branch)
      statuses[status] = (statuses[status] ?? 0) + 1
      const told = `HOLDFAST_SEED=${seed + round}, ${branch}`
      expect(account.deleteBranch(branch), told).toBe(status)
      expect(linesOf(stateOf(account)), told).toEqual(linesOf(expected))
      expect(account.faults(), told).toEqual([])
      state = expected
    }
  }
  process.stdout.write(`branch: ${JSON.stringify(statuses)}\n`)
  expect(statuses[204]).toBeGreaterThan(TEXTS / 8)
})

function branchVerdict(state: model.State, branch: string): readonly [status: number, state: model.State] {
  const above = branch.split('/').slice(0, -1).join('/')
  const is = (path: string): boolean => state.resources.some(({ id }) => id === `acme:policy:${path}`)
  const there = branch !== 'root' && is(branch) && (above === '' || is(above))
  const inside = state.resources.filter(({ id }) => id.split(':')[2]!.startsWith(`${branch}/`))
  const may = [{ id: `acme:policy:${branch}` }, ...inside].every(({ id }) =>
    model.allowed(state, ADMIN, 'update', id),
  )
  return there && may ? [204, model.withoutBranch(state, branch)] : [404, state]
}
