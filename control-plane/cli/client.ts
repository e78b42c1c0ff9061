// The HTTP API as the command line uses it.
import { readFile } from 'node:fs/promises'
import { CommandError, exitCodes } from './output.ts'

export type Session = {
  readonly url: string
  readonly account: string
  readonly login: string
  readonly key: string
}

/** `bytes`: the body; `text`: the same as UTF-8. */
export type Answered = { readonly status: number; readonly bytes: Uint8Array; readonly text: string }

/** Flags, then HOLDFAST_*: where the node is and who asks. */
export type SessionFlags = {
  readonly url?: string
  readonly account?: string
  readonly login?: string
  readonly apiKeyFile?: string
}

export async function sessionOf(flags: SessionFlags, env: NodeJS.ProcessEnv): Promise<Session> {
  const file = flags.apiKeyFile ?? env.HOLDFAST_API_KEY_FILE
  const key = file === undefined ? env.HOLDFAST_API_KEY : (await readFile(file, 'utf8')).trim()
  if (key === undefined || key === '') {
    throw new CommandError(
      'no_credentials',
      'no API key: give --api-key-file or set HOLDFAST_API_KEY',
      exitCodes.usage,
    )
  }
  return {
    url: flags.url ?? env.HOLDFAST_URL ?? 'http://127.0.0.1:8080',
    account: flags.account ?? env.HOLDFAST_ACCOUNT ?? 'default',
    login: flags.login ?? env.HOLDFAST_LOGIN ?? 'admin',
    key,
  }
}

export async function send(url: string, init: RequestInit = {}): Promise<Answered> {
  try {
    const response = await fetch(url, init)
    const bytes = new Uint8Array(await response.arrayBuffer())
    return { status: response.status, bytes, text: new TextDecoder().decode(bytes) }
  } catch (cause) {
    const why = cause instanceof Error && cause.cause instanceof Error ? cause.cause.message : String(cause)
    throw new CommandError(
      'unreachable',
      `${new URL(url).origin} does not answer: ${why}`,
      exitCodes.unreachable,
    )
  }
}

/** The value of an Authorization header. */
export async function authenticate(session: Session): Promise<string> {
  const { url, account, login, key } = session
  const answered = await send(
    `${url}/authn/${encodeURIComponent(account)}/${encodeURIComponent(login)}/authenticate`,
    {
      method: 'POST',
      body: key,
      headers: { 'Accept-Encoding': 'base64' },
    },
  )
  if (answered.status !== 200) {
    throw new CommandError(
      'unauthorized',
      `${login} could not authenticate at ${url}: check login and API key`,
    )
  }
  return `Token token="${answered.text}"`
}

/** Login and API key, or password, for the few calls that want them instead of a token. */
export const basic = ({ login, key }: Session): string =>
  `Basic ${Buffer.from(`${login}:${key}`).toString('base64')}`

/** Asks as the session's role. */
export async function answerTo(
  session: Session,
  method: string,
  path: string,
  body?: string | Uint8Array,
): Promise<Answered> {
  const authorization = await authenticate(session)
  return send(session.url + path, {
    method,
    headers: { Authorization: authorization },
    ...(body === undefined ? {} : { body: body as BodyInit }),
  })
}

/** An answer that is no success becomes an error with the server's own words. */
export function successOf(answered: Answered): Answered {
  if (answered.status < 300) return answered
  throw new CommandError(codeOf(answered), wordsOf(answered))
}

export const textOf = (answered: Answered): string => successOf(answered).text

export async function ask(...asked: Parameters<typeof answerTo>): Promise<string> {
  return textOf(await answerTo(...asked))
}

const plain: Record<number, string> = {
  401: 'not authenticated',
  403: 'forbidden',
  404: 'not found',
  405: 'not allowed here',
}

function errorOf({ text }: Answered): { code?: unknown; message?: unknown } {
  try {
    return (JSON.parse(text) as { error?: { code?: unknown; message?: unknown } }).error ?? {}
  } catch {
    // Many errors have no body.
    return {}
  }
}

const codeOf = (answered: Answered): string => String(errorOf(answered).code ?? `http_${answered.status}`)

export function wordsOf(answered: Answered): string {
  const { message } = errorOf(answered)
  return typeof message === 'string'
    ? message
    : (plain[answered.status] ?? `the server answered ${answered.status}`)
}
