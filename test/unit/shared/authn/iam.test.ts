// What is at stake: a request that a host has signed is sent to AWS and to nobody else, and proves its role and no other.
import { expect, test } from 'vitest'
import { apiTable, readSettings } from '#shared/api/setting-tables.ts'
import { assumedRoleOf, isHostOf, signedRequestOf, stsUrls, windowFault } from '#shared/authn/iam.ts'
import { utf8 } from '#shared/base/bytes.ts'
import { wall } from '#shared/base/time.ts'

const QUESTION = '/?Action=GetCallerIdentity&Version=2011-06-15'
const read = (headers: Record<string, unknown>, more = '', ownUrl?: string) =>
  signedRequestOf(utf8(JSON.stringify({ ...given(), ...headers })), more, ownUrl)
const given = (signed = 'host;x-amz-date', region = 'us-east-1') => ({
  authorization: `AWS4-HMAC-SHA256 Credential=AKIA/20260105/${region}/sts/aws4_request, SignedHeaders=${signed}, Signature=${'a'.repeat(64)}`,
  'x-amz-date': '20260105T102030Z',
})

test('STS is asked where the host header says, or the credential', () => {
  expect(read({ host: 'sts.amazonaws.com' }).region).toBe('global')
  expect(read({ host: 'sts.eu-west-1.amazonaws.com' }).region).toBe('eu-west-1')
  expect(read({}).region).toBe('us-east-1')
  expect(read(given('host;x-amz-date', 'us-gov-west-1')).region).toBe('us-gov-west-1')
  expect(stsUrls('global', undefined)).toEqual([`https://sts.amazonaws.com${QUESTION}`])
  expect(stsUrls('eu-west-1', undefined)).toEqual([`https://sts.eu-west-1.amazonaws.com${QUESTION}`])
  expect(stsUrls('us-east-1', undefined)).toEqual([
    `https://sts.us-east-1.amazonaws.com${QUESTION}`,
    `https://sts.amazonaws.com${QUESTION}`,
  ])
  expect(stsUrls('us-east-1', 'https://own.example:8443')).toEqual([`https://own.example:8443${QUESTION}`])
})

test.each([
  'attacker.example',
  'sts.amazonaws.com.attacker.example',
  'sts.eu-west-1.amazonaws.com.attacker.example',
  'sts.attacker.example/.amazonaws.com',
  'sts.x@attacker.amazonaws.com',
  'stsXamazonaws.com',
  'sts.eu-west-1.amazonaws.com:444',
  'sts.cn-north-1.amazonaws.com.cn',
  's3.amazonaws.com',
  '169.254.169.254',
])('not at the host %s', (host) => {
  expect(() => read({ host })).toThrow(/CONJ00018E/)
})

test.each([
  '',
  'us-east',
  'us-east-1.evil.example',
  'us-east-1#',
  'us-east-1\n',
  'x/../y',
  'US-EAST-1',
  'us-iso-east-1',
])('not in the region %j', (region) => {
  expect(() => read(given('host;x-amz-date', region))).toThrow(/CONJ00018E/)
})

test('a private endpoint is asked whatever the region, as itself', () => {
  const own = 'https://vpce-1.sts.eu-west-1.vpce.amazonaws.com'
  expect(read({ host: 'vpce-1.sts.eu-west-1.vpce.amazonaws.com' }, '', own).region).toBe('us-east-1')
  expect(() => read({ host: 'sts.amazonaws.com' }, '', own)).toThrow(/another host/)
})

test('a private endpoint is an address and nothing more', () => {
  const read = (url: string) =>
    readSettings(apiTable, { flags: {}, env: { HOLDFAST_AUTHN_IAM_STS_URL: url }, file: undefined })
  expect(read('http://127.0.0.1:4566').authn_iam_sts_url).toBe('http://127.0.0.1:4566')
  for (const url of ['x', 'ftp://a', 'https://u:p@a', 'https://a/path', 'https://a/?x', 'https://a/#x'])
    expect(() => read(url)).toThrow(/authn_iam_sts_url/)
})

test('only what is signed is sent, and never the host', () => {
  const { headers } = read({ host: 'sts.amazonaws.com', 'x-odd': '1', 'x-amz-content-sha256': 'e3' }, 'x-odd')
  expect(Object.keys(headers).sort()).toEqual(['authorization', 'x-amz-date'])
  const kept = read({ ...given('host;x-amz-date;x-odd'), 'X-Odd': '1' }, ' Host ; X-ODD ')
  expect(kept.headers).toMatchObject({ 'x-odd': '1' })
  expect(kept.headers).not.toHaveProperty('host')
  const token = read({ 'x-amz-security-token': 't' }).headers
  expect(token).toMatchObject({ 'x-amz-security-token': 't' })
})

test.each(['content-length', 'transfer-encoding', 'connection', 'expect', 'proxy-authorization'])(
  '%s is not sent, whoever allows it',
  (name) => {
    expect(() => read({ ...given(`host;x-amz-date;${name}`), [name]: '1' }, name)).toThrow(
      /may not be signed/,
    )
  },
)

test.each([
  ['no signature', { authorization: 'Bearer x' }],
  ['another algorithm', { authorization: given().authorization.replace('HMAC-SHA256', 'ECDSA-P256-SHA256') }],
  ['two signatures', { authorization: `${given().authorization}, Signature=${'b'.repeat(64)}` }],
  ['another service', { authorization: given().authorization.replace('/sts/', '/s3/') }],
  ['no host in it', given('x-amz-date')],
  ['no date in it', { ...given('host;date'), date: 'x' }],
  ['no such day', { 'x-amz-date': '20261305T102030Z' }],
  ['no date', { 'x-amz-date': 'yesterday' }],
])('refused: %s', (_, headers) => {
  expect(() => read(headers, 'date')).toThrow(/CONJ00018E/)
})

test('good for a quarter of an hour', () => {
  const { signedAt } = read({})
  expect(new Date(signedAt).toISOString()).toBe('2026-01-05T10:20:30.000Z')
  const minutes = (count: number) => windowFault(signedAt, wall(signedAt + count * 60_000))
  expect([minutes(0), minutes(15), minutes(-5)]).toEqual([undefined, undefined, undefined])
  expect(windowFault(signedAt, wall(signedAt + 15 * 60_000 + 1))).toMatch('too long ago')
  expect(windowFault(signedAt, wall(signedAt - 5 * 60_000 - 1))).toMatch('for later')
})

const ARN = 'arn:aws:sts::123456789012:assumed-role/my-role/i-1'
test('the role that AWS names', () => {
  const answer = `<?xml version="1.0"?>\n<a xmlns="b"><r><Arn>${ARN}</Arn></r></a>`
  const assumed = assumedRoleOf(answer)!
  expect(assumed).toEqual({ account: '123456789012', role: 'my-role' })
  for (const id of ['acme:host:123456789012/my-role', 'acme:host:a/b/123456789012/my-role'])
    expect(isHostOf(id, assumed)).toBe(true)
  for (const id of [
    'acme:host:my-role',
    'acme:host:a/123456789012/my-role/b',
    'acme:host:123456789012/my-Role',
    'acme:host:x123456789012/my-role',
    'acme:user:123456789012/my-role',
    'acme:layer:123456789012/my-role',
  ])
    expect(isHostOf(id, assumed)).toBe(false)
})

test.each([
  `<Arn>${ARN}</Arn><Arn>${ARN}</Arn>`,
  `<Arn x="1">${ARN}</Arn>`,
  `<!--<Arn>${ARN}</Arn>-->`,
  `<![CDATA[<Arn>${ARN}</Arn>]]>`,
  `<!DOCTYPE a><Arn>${ARN}</Arn>`,
  `<?pi?><Arn>${ARN}</Arn>`,
  `<Arn>${ARN}</Arn>&amp;`,
  '<Arn>arn:aws:iam::123456789012:user/my-role</Arn>',
  // A path may say what a role would.
  '<Arn>arn:aws:iam::123456789012:user/my-role/me</Arn>',
  '<Arn>arn:aws:sts::12345678901:assumed-role/my-role/i</Arn>',
  '<Arn>arn:aws:sts::123456789012:assumed-role/a/b/c</Arn>',
  '<Arn>arn:aws:sts::123456789012:assumed-role/my-role/i\narn:aws</Arn>',
  '',
])('nobody is named by %j', (answer) => {
  expect(assumedRoleOf(answer)).toBeUndefined()
})
