// Settings as Postgres reads them; who comes in is shown on a real one (test/conformance/postgres-hands.test.ts).
import { expect, test } from 'vitest'
import {
  alone,
  asFile,
  nodeMap,
  nodeRules,
  nodeSettings,
  sourceOf,
} from '#control-plane/postgres/settings.ts'

const tls = { ca: '/x/ca.crt', cert: "/x/it's.crt", key: '/x/node.key' }
const runAs = { prefix: [], owner: undefined }

test('quotes within quotes, for the source and for the file', () => {
  const source = sourceOf({ host: 'b', port: 5433 }, tls, 'a#12345678')
  expect(source).toContain("sslcert='/x/it\\'s.crt'")
  expect(source).toContain("application_name='a#12345678'")
  expect(source).toContain("sslmode='verify-full'")
  expect(asFile({ primary_conninfo: "a='b\\'c'" })).toBe("primary_conninfo = 'a=''b\\\\''c'''\n")
})

test('a node begins in recovery that follows nobody, and would let no commit go', () => {
  expect(nodeSettings(alone, { host: 'a', port: 5433 }, tls)).toMatchObject({
    primary_conninfo: '',
    synchronous_standby_names: 'FIRST 1 ("(nobody yet)")',
    recovery_target_timeline: 'latest',
    restart_after_crash: 'off',
    ssl_min_protocol_version: 'TLSv1.3',
  })
})

test('nobody comes from elsewhere but for the log, and with a certificate', () => {
  expect(nodeRules(runAs, tls)).toBe(
    'local all all trust\nhostssl replication replicator all cert clientname=DN map=control\n',
  )
})

const subjects = new RegExp(/"\/(.*)"/.exec(nodeMap(runAs))![1]!)

test.each(['CN=a,O=control', 'O=control,CN=cp-1.example_org', 'O=dr,CN=d'])('%s comes in', (subject) => {
  expect(subjects.test(subject)).toBe(true)
})

test.each([
  'CN=a',
  'O=control',
  'CN=a,O=follower',
  'CN=x\\,O=control,O=follower',
  'CN=a,O=control,OU=b',
  'CN=,O=control',
])('%s does not', (subject) => {
  expect(subjects.test(subject)).toBe(false)
})
