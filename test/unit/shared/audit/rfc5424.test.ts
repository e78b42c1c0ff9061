// A record is one line, whatever clients have put into names; and nothing of it is lost.
import { describe, expect, test } from 'vitest'
import { type AuditEvent, fetchEvent } from '#shared/audit/event.ts'
import { formatEvent, jsonRecord, parseLine } from '#shared/audit/rfc5424.ts'
import { type Random, runSeed, seeded } from '../../../support/random.ts'

const at = { timestamp: Date.UTC(2026, 0, 5, 10, 20, 30, 7), procid: '0b8e3f6e' }
const actor = { user: 'acme:host:app', clientIp: '10.0.0.7' }

function eventWith(value: string, name = 'resource', message = 'done'): AuditEvent {
  const sdata = [{ id: 'subject@43868', params: [[name, value]] as const }]
  return { facility: 10, severity: 6, msgid: 'fetch', sdata, message }
}

describe('a line', () => {
  test('has the form that existing parsers read', () => {
    const event = fetchEvent(actor, { resource: 'acme:variable:db/pw', version: '2' })
    expect(formatEvent(event, at)).toBe(
      '<86>1 2026-01-05T10:20:30.007Z - conjur 0b8e3f6e fetch ' +
        '[auth@43868 user="acme:host:app"][subject@43868 resource="acme:variable:db/pw" version="2"]' +
        '[client@43868 ip="10.0.0.7"][action@43868 result="success" operation="fetch"] ' +
        'acme:host:app fetched version 2 of acme:variable:db/pw',
    )
  })

  test('escapes quotes, backslashes and brackets of values, and controls as \\uXXXX', () => {
    const line = formatEvent(eventWith('a"b\\c]d\ne\u0000\u0085\u2028'), at)
    expect(line).toContain('resource="a\\"b\\\\c\\]d\\u000ae\\u0000\\u0085\\u2028"')
  })

  test('a value cannot forge a second line, a second element or an end', () => {
    const forged = 'x"] done\n<86>1 2026-01-01T00:00:00.000Z - conjur 1 fetch [auth@43868 user="root"] y'
    const line = formatEvent(eventWith(forged, 'resource', forged), { ...at, procid: 'a b\nc' })
    expect(line).not.toMatch(/[\n\r\u0085\u2028\u2029]/)
    const parsed = parseLine(line)!
    expect(parsed.sdata).toEqual({ 'subject@43868': { resource: forged } })
    expect(parsed.procid).toBe('a_b_c')
  })

  test('without elements and without a request id has dashes in their place', () => {
    const line = formatEvent({ ...eventWith(''), sdata: [] }, { ...at, procid: '' })
    expect(line).toBe('<86>1 2026-01-05T10:20:30.007Z - conjur - fetch - done')
    expect(parseLine(line)).toMatchObject({ procid: null, sdata: {}, message: 'done' })
  })

  test('names of parameters, which clients may choose too, stay within the rules', () => {
    const names = (line: string) => Object.keys(parseLine(line)!.sdata['subject@43868']!)
    expect(names(formatEvent(eventWith('v', 'a b="]ü'), at))).toEqual(['a_b____'])
    expect(names(formatEvent(eventWith('v', 'x'.repeat(100)), at))).toEqual(['x'.repeat(32)])
  })
})

describe('parsing', () => {
  test('gives back what was formatted, whatever it holds', () => {
    const seed = runSeed('rfc5424')
    const random = seeded(seed)
    for (let i = 0; i < 3_000; i++) {
      const event = randomEvent(random)
      const parsed = parseLine(formatEvent(event, at))
      expect(parsed, `seed ${seed}, case ${i}`).toEqual({
        facility: event.facility,
        severity: event.severity,
        timestamp: '2026-01-05T10:20:30.007Z',
        hostname: null,
        appname: 'conjur',
        procid: at.procid,
        msgid: event.msgid,
        sdata: Object.fromEntries(event.sdata.map(({ id, params }) => [id, Object.fromEntries(params)])),
        message: event.message,
      })
    }
  })

  test.each([
    '',
    'hello',
    '<86>2 2026-01-05T10:20:30.007Z - conjur 1 fetch - x',
    '<86>1 2026-01-05T10:20:30.007Z - conjur 1 fetch',
    '<86>1 2026-01-05T10:20:30.007Z - conjur 1 fetch [auth@43868 user="x" done',
    '<86>1 2026-01-05T10:20:30.007Z - conjur 1 fetch [auth@43868 user="x\\"] done',
    '<86>1 2026-01-05T10:20:30.007Z - conjur 1 fetch done',
  ])('%j is not a line', (text) => {
    expect(parseLine(text)).toBeUndefined()
  })

  test('a long line of odd characters takes no longer than it is long', () => {
    const value = '\\'.repeat(200_000)
    const line = formatEvent(eventWith(value), at)
    expect(parseLine(line)!.sdata['subject@43868']!.resource).toBe(value)
    expect(parseLine(line.slice(0, -10))).toBeUndefined()
  })
})

test('an object of the JSON file has the elements under their full ids, and names for level and facility', () => {
  const event = fetchEvent(actor, { resource: 'acme:variable:db/pw', error: 'Forbidden' })
  const record = jsonRecord(parseLine(formatEvent(event, at))!, { NODE: 'edge-1', SEQ: 7 })
  expect(record).toEqual({
    'auth@43868': { user: 'acme:host:app' },
    'subject@43868': { resource: 'acme:variable:db/pw' },
    'client@43868': { ip: '10.0.0.7' },
    'action@43868': { result: 'failure', operation: 'fetch' },
    PROGRAM: 'conjur',
    PID: '0b8e3f6e',
    MSGID: 'fetch',
    MESSAGE: 'acme:host:app tried to fetch acme:variable:db/pw: Forbidden',
    LEVEL: 'warning',
    ISODATE: '2026-01-05T10:20:30.007Z',
    FACILITY: 'authpriv',
    NODE: 'edge-1',
    SEQ: 7,
  })
})

const pieces = [
  'a',
  'é',
  '😀',
  '"',
  '\\',
  ']',
  '[',
  ' ',
  '=',
  'u0041',
  '\\u000a',
  '\n',
  '\r',
  '\u0000',
  '\u0085',
  '\u2028',
  '-',
]

function randomText(random: Random, from: readonly string[]): string {
  return Array.from({ length: random.int(0, 12) }, () => random.pick(from)).join('')
}

function randomEvent(random: Random): AuditEvent {
  const ids = ['auth@43868', 'subject@43868', 'policy@43868', 'x']
  const sdata = ids.slice(0, random.int(0, 5)).map((id) => ({
    id,
    params: Array.from(
      { length: random.int(0, 4) },
      (_, i) => [`p${i}`, randomText(random, pieces)] as const,
    ),
  }))
  return {
    facility: random.pick([4, 10]),
    severity: random.pick([4, 5, 6]),
    msgid: random.pick(['fetch', 'identity-check']),
    sdata,
    // Controls of the text are written as \uXXXX and stay so: it is for people.
    message: randomText(random, pieces.slice(0, 11)),
  }
}
