// Where a URL in a variable may lead (SSRF): public addresses, and what the operator has allowed, however it is spelled.
import { expect, test } from 'vitest'
import { destinationOf, mayBeAsked } from '#shared/authn/networks.ts'
import { parseRanges } from '#shared/authz/address.ts'

test.each([['8.8.8.8'], ['2606:4700::1111'], ['::ffff:8.8.8.8']])('%s is public', (address) => {
  expect(mayBeAsked(address, [])).toBe(true)
})

test.each([
  ['127.0.0.1'],
  ['127.255.255.254'],
  ['0.0.0.0'],
  ['0.1.2.3'],
  ['10.1.2.3'],
  ['172.16.0.1'],
  ['192.168.1.1'],
  ['169.254.169.254'],
  ['168.63.129.16'],
  ['100.64.0.1'],
  ['192.0.0.8'],
  ['192.0.2.1'],
  ['192.88.99.1'],
  ['198.18.0.1'],
  ['198.51.100.1'],
  ['203.0.113.1'],
  ['224.0.0.1'],
  ['240.0.0.1'],
  ['255.255.255.255'],
  ['::'],
  ['::1'],
  ['::127.0.0.1'],
  ['::7f00:1'],
  ['::ffff:127.0.0.1'],
  ['::ffff:169.254.169.254'],
  ['::ffff:0:10.0.0.1'],
  ['64:ff9b::10.0.0.1'],
  ['64:ff9b:1::1'],
  ['2002:7f00:1::'],
  ['2001::1'],
  ['2001:db8::1'],
  ['100::1'],
  ['fc00::1'],
  ['fd00:ec2::254'],
  ['fe80::1'],
  ['fec0::1'],
  ['ff02::1'],
  ['4000::1'],
  ['example.com'],
  [''],
])('%s is not', (address) => {
  expect(mayBeAsked(address, [])).toBe(false)
})

test('what the operator allows, in any form of the address, and nothing beside it', () => {
  const allowed = parseRanges(['10.0.0.0/8', '::1'], 'test')
  for (const address of ['10.9.8.7', '::ffff:10.9.8.7', '::1'])
    expect(mayBeAsked(address, allowed)).toBe(true)
  for (const address of ['11.0.0.1', '127.0.0.1', '192.168.0.1', '2002:0a09:0807::', '64:ff9b::10.9.8.7'])
    expect(mayBeAsked(address, allowed)).toBe(address === '11.0.0.1')
})

test.each([
  ['http://2130706433/'],
  ['http://0x7f000001/'],
  ['http://0x7f.1/'],
  ['http://0177.0.0.1/'],
  ['http://127.1/'],
  ['http://127.0.0.1./'],
  ['http://①②⑦.0.0.1/'],
  ['http://%31%32%37.0.0.1/'],
  ['http://[::1]/'],
  ['http://[::ffff:127.0.0.1]/'],
  ['http://[0:0:0:0:0:ffff:7f00:0001]/'],
  ['https://169.254.169.254/latest/meta-data/'],
])('%s leads to no public address', (url) => {
  expect(() => destinationOf(url, [])).toThrow(/no public one/)
})

test.each([
  ['https://8.8.8.8@127.0.0.1/', /holds a user/],
  ['https://user:password@idp.example/', /holds a user/],
  ['file:///etc/passwd', /no http or https URL/],
  ['gopher://idp.example/', /no http or https URL/],
  ['//idp.example/', /no http or https URL/],
  ['idp.example', /no http or https URL/],
])('%s is refused', (url, why) => {
  expect(() => destinationOf(url, [])).toThrow(why)
})

test('a name is judged when it is looked up', () => {
  expect(destinationOf('https://idp.example:8443/keys', []).host).toBe('idp.example')
})
