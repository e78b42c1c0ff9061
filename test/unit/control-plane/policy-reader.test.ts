// Large texts are read on another thread, with the same outcome, and never without an answer.
import { afterEach, expect, test } from 'vitest'
import { createPolicyReader, type PolicyReading } from '#control-plane/policy-reader.ts'
import { utf8 } from '#shared/base/bytes.ts'
import { limits } from '#shared/base/limits.ts'
import { readLoad } from '#shared/policy/load.ts'

let reading: PolicyReading | undefined
afterEach(() => reading?.close())

const open = (): PolicyReading => {
  reading = createPolicyReader()
  return reading
}
const large = (head: string): Uint8Array =>
  utf8(head + Array.from({ length: 2_000 }, (_, i) => `- !variable v${i}\n`).join(''))

test.each([
  ['is fine', '- !host h\n- !grant { role: !group g, member: !host h }\n- !group g\n'],
  ['has a tag that is none', '- !hots h\n'],
  ['is no YAML', '- !host [\n'],
  ['says a thing twice', '- !host h\n- !host h\n'],
  ['deletes', '- !delete { record: !host h }\n'],
])('a large text that %s is read as a small one would be', async (_, head) => {
  const { read } = open()
  const body = large(head)
  expect(body.length).toBeGreaterThan(limits.policyInlineBytes)
  for (const mode of ['POST', 'PATCH'] as const) {
    const there = read(body, 'acme', 'root', mode)
    expect(there).toBeInstanceOf(Promise)
    expect(await there).toEqual(readLoad(body, 'acme', 'root', mode))
  }
})

test('bytes that are no text, and spaces only, too', async () => {
  const { read } = open()
  for (const fill of [0xff, 0x20]) {
    const body = new Uint8Array(limits.policyInlineBytes + 1).fill(fill)
    expect(await read(body, 'acme', 'root', 'POST')).toEqual(readLoad(body, 'acme', 'root', 'POST'))
  }
})

test('a small text is read at once', () => {
  expect(open().read(utf8('- !host h'), 'acme', 'root', 'POST')).not.toBeInstanceOf(Promise)
})

test('too many at once are refused; who waits when it is closed is told', async () => {
  const { read, close } = open()
  const waiting = Array.from({ length: limits.policiesRead }, () => read(large(''), 'acme', 'root', 'POST'))
  const settled = Promise.allSettled(waiting)
  await expect(read(large(''), 'acme', 'root', 'POST')).rejects.toMatchObject({ code: 'unavailable' })
  await close()
  for (const outcome of await settled) {
    expect(outcome).toMatchObject({ status: 'rejected', reason: { code: 'unavailable' } })
  }
  // A new thread takes the next one.
  expect(await read(large('- !host h\n'), 'acme', 'root', 'POST')).toHaveProperty('resolved')
})
