// Audit events as RFC 5424 lines, and back (http-api 16, cluster 12.2); the JSON form of the audit file (12.4).
import type { AuditEvent, SdElement } from './event.ts'

/** `timestamp`: milliseconds. `procid`: the request id. */
export type Stamp = { readonly timestamp: number; readonly procid: string }

export function formatEvent(event: AuditEvent, stamp: Stamp): string {
  let sdata = ''
  for (const { id, params } of event.sdata) {
    sdata += `[${id}`
    for (const [name, value] of params) sdata += ` ${paramName(name)}="${paramValue(value)}"`
    sdata += ']'
  }
  const pri = event.facility * 8 + event.severity
  const time = instantText(stamp.timestamp)
  const header = `<${pri}>1 ${time} - conjur ${headerField(stamp.procid)} ${event.msgid}`
  return `${header} ${sdata || '-'} ${oneLine(event.message)}`
}

/** Many records are of one millisecond. */
let newest = { timestamp: Number.NaN, text: '' }

function instantText(timestamp: number): string {
  if (newest.timestamp !== timestamp) newest = { timestamp, text: new Date(timestamp).toISOString() }
  return newest.text
}

// A record is one line. Control characters in names that clients choose are written as \uXXXX, so that nobody
// can forge a second line; nothing is lost, because a backslash of the value itself is always doubled.
// Written out instead of \p{Cc}: without the flag u such a class is looked through twice as fast.
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what it looks for
const CONTROL = /[\0-\x1f\x7f-\x9f\u2028\u2029]/
const CONTROLS = new RegExp(CONTROL.source, 'g')
// Most values hold neither: one look is enough for them.
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what it looks for
const VALUE_ODD = /["\\\]\0-\x1f\x7f-\x9f\u2028\u2029]/
const VALUE_SPECIALS = /["\\\]]/g

const escapeControl = (character: string): string =>
  `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`

function paramValue(value: string): string {
  if (!VALUE_ODD.test(value)) return value
  return value.replace(VALUE_SPECIALS, '\\$&').replace(CONTROLS, escapeControl)
}

function oneLine(text: string): string {
  return CONTROL.test(text) ? text.replace(CONTROLS, escapeControl) : text
}

/** SD names hold no space, `=`, `]` or `"` and at most 32 characters (RFC 5424 6.3.2). */
function paramName(name: string): string {
  return /^[\x21\x23-\x3c\x3e-\x5c\x5e-\x7e]{1,32}$/.test(name)
    ? name
    : name.replace(/[^\w.-]/g, '_').slice(0, 32)
}

function headerField(text: string): string {
  return text === ''
    ? '-'
    : /^[\x21-\x7e]{1,128}$/.test(text)
      ? text
      : text.replace(/[^\x21-\x7e]/g, '_').slice(0, 128)
}

export type ParsedLine = {
  readonly facility: number
  readonly severity: number
  readonly timestamp: string
  readonly hostname: string | null
  readonly appname: string
  readonly procid: string | null
  readonly msgid: string
  /** SD-ID → parameter → value. */
  readonly sdata: Readonly<Record<string, Readonly<Record<string, string>>>>
  readonly message: string
}

const HEADER = /^<(\d{1,3})>1 (\S+) (\S+) (\S+) (\S+) (\S+) /

/** Undefined when the text is not a line of this form. */
export function parseLine(line: string): ParsedLine | undefined {
  const head = HEADER.exec(line)
  if (head === null) return undefined
  const [all, pri, timestamp, hostname, appname, procid, msgid] = head
  const parsed = parseSdata(line, all.length)
  if (parsed === undefined) return undefined
  return {
    facility: Number(pri) >> 3,
    severity: Number(pri) & 7,
    timestamp: timestamp!,
    hostname: nil(hostname!),
    appname: appname!,
    procid: nil(procid!),
    msgid: msgid!,
    sdata: Object.fromEntries(parsed.elements.map(({ id, params }) => [id, Object.fromEntries(params)])),
    message: line.slice(parsed.end + 1),
  }
}

const nil = (field: string): string | null => (field === '-' ? null : field)

const ELEMENT_ID = /\[([^\s=\]"]+)/y
const PARAM = / ([^\s=\]"]+)="((?:[^"\\\]]|\\.)*)"/y

function parseSdata(line: string, from: number): { elements: SdElement[]; end: number } | undefined {
  if (line[from] === '-') return { elements: [], end: from + 1 }
  const elements: SdElement[] = []
  let at = from
  while (line[at] === '[') {
    ELEMENT_ID.lastIndex = at
    const id = ELEMENT_ID.exec(line)
    if (id === null) return undefined
    at = ELEMENT_ID.lastIndex
    const params: [string, string][] = []
    for (;;) {
      PARAM.lastIndex = at
      const param = PARAM.exec(line)
      if (param === null) break
      at = PARAM.lastIndex
      params.push([param[1]!, unescapeValue(param[2]!)])
    }
    if (line[at] !== ']') return undefined
    at++
    elements.push({ id: id[1]!, params })
  }
  return elements.length === 0 ? undefined : { elements, end: at }
}

function unescapeValue(value: string): string {
  if (!value.includes('\\')) return value
  return value.replace(/\\(?:u([0-9a-f]{4})|(.))/g, (_, hex: string | undefined, plain: string) =>
    hex === undefined ? plain : String.fromCharCode(Number.parseInt(hex, 16)),
  )
}

const levels: Record<number, string> = { 4: 'warning', 5: 'notice', 6: 'info' }
const facilityNames: Record<number, string> = { 4: 'auth', 10: 'authpriv' }

/** One object of the JSON audit file (cluster 12.4). */
export function jsonRecord(
  parsed: ParsedLine,
  extra: { readonly NODE: string; readonly SEQ: number },
): object {
  return {
    ...parsed.sdata,
    PROGRAM: parsed.appname,
    PID: parsed.procid,
    MSGID: parsed.msgid,
    MESSAGE: parsed.message,
    LEVEL: levels[parsed.severity] ?? String(parsed.severity),
    ISODATE: parsed.timestamp,
    FACILITY: facilityNames[parsed.facility] ?? String(parsed.facility),
    ...extra,
  }
}
