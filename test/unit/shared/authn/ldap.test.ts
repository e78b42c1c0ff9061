// What is at stake: which directory is asked, by whose account, and that a login stays a value in its filter.
import { describe, expect, test } from 'vitest'
import type { Stored } from '#shared/authn/contract.ts'
import { ldapServer, type OwnDirectory } from '#shared/authn/directory.ts'
import { filterFor, searchOf } from '#shared/authn/ldap.ts'

const nothing: OwnDirectory = {
  uri: undefined,
  base: undefined,
  bindDn: undefined,
  bindPassword: undefined,
  filter: undefined,
}
const own: OwnDirectory = {
  uri: 'ldaps://own.example',
  base: 'dc=own',
  bindDn: 'cn=own',
  bindPassword: 'own password',
  filter: '(own=%s)',
}
const stored = (
  annotations: Record<string, string>,
  values: Record<string, string | undefined> = {},
): Stored => ({
  prefix: 'acme:variable:conjur/authn-ldap/corp/',
  values: new Map(Object.entries(values)),
  annotations: new Map(Object.entries(annotations).map(([name, value]) => [`ldap-authn/${name}`, value])),
})

test('an address', () => {
  expect(ldapServer('ldap://Host.example:1389/dc=x')).toMatchObject({ port: 1389, connect: 'plain' })
  expect(ldapServer('ldaps://[::1]')).toEqual({ host: '::1', port: undefined, connect: 'ssl' })
  for (const uri of ['', 'host', 'http://host', 'ldap://', 'ldap:host', 'ldap://u:p@host', 'ldap:///dc=x'])
    expect(ldapServer(uri)).toBeUndefined()
})

test('the operator’s directory where the webservice names none', () => {
  expect(searchOf(stored({}), own)).toEqual({
    server: { host: 'own.example', port: 636, connect: 'ssl', ca: undefined },
    base: 'dc=own',
    filter: '(own=%s)',
    account: { name: 'cn=own', password: 'own password' },
  })
})

test('annotations and variables before it', () => {
  const said = {
    host: 'corp.example',
    connect_type: 'tls',
    base_dn: 'dc=corp',
    bind_dn: 'cn=corp',
    filter_template: '(cn=%s)',
  }
  const held = { 'bind-password': 'corp password', 'tls-ca-cert': 'PEM', 'tls-cert': 'old PEM' }
  expect(searchOf(stored(said, held), nothing)).toEqual({
    server: { host: 'corp.example', port: 389, connect: 'tls', ca: 'PEM' },
    base: 'dc=corp',
    filter: '(cn=%s)',
    account: { name: 'cn=corp', password: 'corp password' },
  })
  const usual = searchOf(
    stored({ uri: 'ldap://corp.example:1389', base_dn: 'dc=x' }, { 'tls-cert': 'PEM' }),
    nothing,
  )
  expect(usual).toEqual({
    server: { host: 'corp.example', port: 1389, connect: 'plain', ca: 'PEM' },
    base: 'dc=x',
    filter: '(&(objectClass=posixAccount)(uid=%s))',
    account: undefined,
  })
  expect(searchOf(stored({ port: '1636' }, { 'bind-password': 'x' }), own).server.port).toBe(1636)
})

test('an authority that is no text is not replaced by the public ones', () => {
  for (const name of ['tls-ca-cert', 'tls-cert'])
    expect(() => searchOf(stored({}, { [name]: '' }), own)).toThrow(/^CONJ00037E .*tls-ca-cert/)
  expect(searchOf(stored({}, { 'tls-ca-cert': undefined }), own).server.ca).toBeUndefined()
})

describe('the operator’s account', () => {
  test.each([
    { host: 'evil.example' },
    { uri: 'ldap://evil.example' },
    { port: '1' },
    { connect_type: 'plain' },
  ])('is not for %o', (elsewhere) => {
    expect(searchOf(stored(elsewhere), own).account).toBeUndefined()
    expect(() => searchOf(stored({ ...elsewhere, bind_dn: 'cn=x' }), own)).toThrow(
      /CONJ00037E .*bind-password/,
    )
  })
})

test.each<[string, Record<string, string>, RegExp]>([
  ['no host', { base_dn: 'x' }, /CONJ00036E .*ldap-authn\/host/],
  ['no base', { host: 'a' }, /CONJ00036E .*ldap-authn\/base_dn/],
  ['an address that is none', { uri: 'http://a', base_dn: 'x' }, /CONJ00036E .*ldap-authn\/uri/],
  ['a port that is none', { host: 'a', base_dn: 'x', port: '0' }, /CONJ00036E .*ldap-authn\/port/],
  ['a way that is none', { host: 'a', base_dn: 'x', connect_type: 'none' }, /CONJ00036E .*connect_type/],
  ['a filter for everybody', { host: 'a', base_dn: 'x', filter_template: '(a=b)' }, /does not hold %s/],
  ['no password', { host: 'a', base_dn: 'x', bind_dn: 'cn=a' }, /CONJ00037E .*bind-password/],
])('%s', (_, annotations, words) => {
  expect(() => searchOf(stored(annotations), nothing)).toThrow(words)
})

test.each([
  ['alice', '(uid=alice)'],
  ['*', '(uid=\\2a)'],
  [')(uid=*', '(uid=\\29\\28uid=\\2a)'],
  ['\\2a', '(uid=\\5c2a)'],
  ['a\0', '(uid=a\\00)'],
  ['$&%s', '(uid=$&%s)'],
  ['björn', '(uid=björn)'],
])('the login %j', (login, filter) => {
  expect(filterFor('(uid=%s)', login)).toBe(filter)
})

test('a login twice', () => {
  expect(filterFor('(|(uid=%s)(mail=%s))', 'a*')).toBe('(|(uid=a\\2a)(mail=a\\2a))')
})
