// Proof by a directory (http-api 8.3): an account of ours finds the entry of a login, and the password has to open it. The
// API key, which a login tells, is taken as well and asks nobody.
import { fromUtf8 } from '../base/bytes.ts'
import { loginOfRole } from '../id/login.ts'
import { keyFault } from './api-key.ts'
import { type Prover, Refused, type Stored } from './contract.ts'
import { type Directory, type DirectoryServer, ldapServer, type OwnDirectory } from './directory.ts'
import { OutgoingFailure } from './outgoing.ts'
import { mustNotBeAdmin } from './request.ts'

/** Where entries are, and who may look for them. */
export type Search = {
  readonly server: DirectoryServer
  readonly base: string
  /** RFC 4515; `%s` is the login. */
  readonly filter: string
  /** Undefined: anybody may search. */
  readonly account: { readonly name: string; readonly password: string } | undefined
}

const USUAL_FILTER = '(&(objectClass=posixAccount)(uid=%s))'
const WHERE = ['host', 'port', 'uri', 'connect_type']

/** From annotations and variables of the webservice before the operator's settings. Throws `Refused`. */
export function searchOf({ annotations, values, prefix }: Stored, own: OwnDirectory): Search {
  const said = (name: string): string | undefined =>
    annotations.get(`ldap-authn/${name}`)?.trim() || undefined
  const held = (name: string): string | undefined => values.get(name) || undefined
  const ca = values.get('tls-ca-cert') ?? values.get('tls-cert')
  // Of nothing the runtime would make its own authorities.
  if (ca === '')
    throw new Refused(`CONJ00037E Missing value for resource: ${prefix}tls-ca-cert: it is no text`)
  const server = serverOf(said, ca, own.uri)
  const base = said('base_dn') ?? own.base
  if (base === undefined) throw missing('ldap-authn/base_dn')
  const filter = said('filter_template') ?? own.filter ?? USUAL_FILTER
  // Without the login every entry would be everybody's.
  if (!filter.includes('%s')) throw invalid('ldap-authn/filter_template', 'it does not hold %s')
  // The operator's account is for the operator's directory: whoever may annotate a webservice gets it sent nowhere else.
  const elsewhere = WHERE.some((part) => said(part) !== undefined)
  const name = said('bind_dn') ?? (elsewhere ? undefined : own.bindDn)
  if (name === undefined) return { server, base, filter, account: undefined }
  const password = held('bind-password') ?? (elsewhere ? undefined : own.bindPassword)
  if (password === undefined)
    throw new Refused(`CONJ00037E Missing value for resource: ${prefix}bind-password`)
  return { server, base, filter, account: { name, password } }
}

function serverOf(
  said: (name: string) => string | undefined,
  ca: string | undefined,
  ownUri: string | undefined,
): DirectoryServer {
  const uri = said('uri') ?? ownUri
  const named = uri === undefined ? undefined : ldapServer(uri)
  if (uri !== undefined && named === undefined)
    throw invalid('ldap-authn/uri', 'it must be ldap://host or ldaps://host')
  const host = said('host') ?? named?.host
  if (host === undefined) throw missing('ldap-authn/host')
  const connect = said('connect_type') ?? named?.connect ?? 'plain'
  if (connect !== 'plain' && connect !== 'tls' && connect !== 'ssl')
    throw invalid('ldap-authn/connect_type', 'it must be plain, tls or ssl')
  const port = Number(said('port') ?? named?.port ?? (connect === 'ssl' ? 636 : 389))
  if (!Number.isInteger(port) || port < 1 || port > 65_535) throw invalid('ldap-authn/port', 'it is no port')
  return { host, port, connect, ca }
}

const missing = (name: string): Refused => new Refused(`CONJ00036E Missing required annotation: ${name}`)
const invalid = (name: string, what: string): Refused =>
  new Refused(`CONJ00036E Annotation ${name} cannot be used: ${what}`)

/** A template with a login in it, which stays a value whatever characters it has (RFC 4515 3). */
export const filterFor = (template: string, login: string): string =>
  template.replaceAll('%s', () => escaped(login))

const escaped = (value: string): string =>
  // biome-ignore lint/suspicious/noControlCharactersInRegex: NUL is one of the five that must be escaped
  value.replace(/[*()\\\u0000]/g, (one) => `\\${one.charCodeAt(0).toString(16).padStart(2, '0')}`)

/** Why the password is not that of the login, or undefined. Rejects with `OutgoingFailure`. */
async function bindFault(
  directory: Directory,
  { account, base, filter }: Search,
  login: string,
  password: string,
): Promise<string | undefined> {
  const refused = account === undefined ? undefined : await directory.bind(account.name, account.password)
  if (refused !== undefined) return `the directory refuses the account that searches (${refused})`
  const found = await directory.find(base, filterFor(filter, login))
  if (found.length > 1) return 'more than one entry of the directory has this login'
  const [entry] = found
  if (entry === undefined || entry === '') return 'no entry of the directory has this login'
  const wrong = await directory.bind(entry, password)
  return wrong === undefined ? undefined : `the directory refuses the password (${wrong})`
}

/** Undefined for what no directory may be asked with: empty ones are anonymous there, and NUL ends a text in some. */
function passwordOf(body: Uint8Array): string | undefined {
  const text = fromUtf8(body)
  return text === undefined || text.trim() === '' || text.includes('\0') ? undefined : text
}

export const ldapProver: Prover = {
  variables: ['bind-password', 'tls-ca-cert', 'tls-cert'],
  logsIn: true,
  async prove({ role }, { held }, { account, body }, stored, { io, now }) {
    const login = loginOfRole(role)
    mustNotBeAdmin(account, role)
    if (keyFault(role, held.credentials, body, io.keyring, now) === undefined) return {}
    const password = passwordOf(body)
    if (password === undefined) throw new Refused('CONJ00002E Invalid credentials: the password is empty')
    const { directories } = io
    if (directories === undefined)
      throw new Refused('CONJ00002E a Worker reaches no directory: here authn-ldap takes API keys only')
    const search = searchOf(stored, directories.own)
    let fault: string | undefined
    try {
      fault = await directories.talk(search.server, (directory) =>
        bindFault(directory, search, login, password),
      )
    } catch (error) {
      if (!(error instanceof OutgoingFailure)) throw error
      fault = `the directory cannot be asked: ${error.message}`
    }
    if (fault !== undefined) throw new Refused(`CONJ00002E Invalid credentials: ${fault}`)
    return {}
  },
}
