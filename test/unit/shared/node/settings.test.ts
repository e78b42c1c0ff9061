// Flags before variables before the file before defaults; what is wrong is named, with its source.
import { writeFileSync } from 'node:fs'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { leaderTable } from '#control-plane/settings.ts'
import { followerTable } from '#edge-follower/settings.ts'
import {
  apiSettingsOf,
  apiTable,
  forms,
  originsOf,
  readSettings,
  type Sources,
  showSettings,
} from '#shared/node/settings.ts'
import { temporaryFolder } from '../../../support/copy.ts'

const table = {
  name: { doc: 'A name', form: forms.text },
  size: { doc: 'A number', form: forms.count.max(10).default(3) },
  tags: { doc: 'A list', form: forms.list.default([]), env: ['OLD_TAGS'] },
  on: { doc: 'A flag', form: forms.flag.default(false) },
} as const

let folder: ReturnType<typeof temporaryFolder>
beforeEach(() => {
  folder = temporaryFolder()
})
afterEach(() => folder.remove())

const fileOf = (text: string): string => {
  const file = `${folder.path}/holdfast.yml`
  writeFileSync(file, text)
  return file
}
const from = (sources: Partial<Sources>) =>
  readSettings(table, { flags: {}, env: {}, file: undefined, ...sources })

describe('a setting', () => {
  test('comes from the first source that has it', () => {
    const file = fileOf('name: of-file\nsize: 1\ntags: [ a, 2 ]\non: true\n')
    const env = { HOLDFAST_NAME: 'of-env', HOLDFAST_SIZE: '2', OLD_TAGS: 'x, y,' }
    expect(from({ file })).toEqual({ name: 'of-file', size: 1, tags: ['a', '2'], on: true })
    expect(from({ file, env })).toEqual({ name: 'of-env', size: 2, tags: ['x', 'y'], on: true })
    expect(from({ file, env, flags: { name: 'of-flag' } }).name).toBe('of-flag')
    expect(from({ env: { HOLDFAST_NAME: 'n' } })).toEqual({ name: 'n', size: 3, tags: [], on: false })
    expect(from({ env: { HOLDFAST_NAME: 'n', HOLDFAST_TAGS: 'z', OLD_TAGS: 'x' } }).tags).toEqual(['z'])
  })

  test('is shown with where it came from', () => {
    const shown = showSettings(table, {
      flags: { on: 'true' },
      env: { HOLDFAST_NAME: 'n' },
      file: fileOf('size: 7\n'),
    })
    expect(shown).toEqual([
      { name: 'name', value: 'n', from: 'HOLDFAST_NAME' },
      { name: 'size', value: 7, from: `${folder.path}/holdfast.yml` },
      { name: 'tags', value: [], from: 'default' },
      { name: 'on', value: true, from: '--on' },
    ])
  })

  test('says where it came from without the name of a file', () => {
    const sources = { flags: { on: 'true' }, env: { HOLDFAST_NAME: 'n' }, file: fileOf('size: 7\n') }
    expect(originsOf(table, sources)).toEqual({
      name: 'HOLDFAST_NAME',
      size: 'file',
      tags: 'default',
      on: '--on',
    })
  })

  test('names other nodes and where they are', () => {
    const read = (value: string) =>
      readSettings(apiTable, { flags: { remote_health: value }, env: {}, file: undefined }).remote_health
    expect(read('a=http://10.0.0.1:444, b.example=https://b.example/')).toEqual([
      { name: 'a', url: 'http://10.0.0.1:444' },
      { name: 'b.example', url: 'https://b.example' },
    ])
    for (const wrong of [
      'a',
      '=http://b',
      'a=b:444',
      'a=http://b/path',
      'a=http://u:p@b',
      'a=ftp://b',
      '-=http://b',
    ])
      expect(() => read(wrong), wrong).toThrow(/remote_health \(--remote-health\): .* not of the form/)
  })

  test('says who signs for workloads of Google Cloud, with or without a slash at the end', () => {
    const read = (flags: Record<string, string>) =>
      apiSettingsOf(readSettings(apiTable, { flags, env: {}, file: undefined })).authn.gcpProvider
    expect(read({})).toBe('https://accounts.google.com')
    expect(read({ authn_gcp_provider: 'https://idp.example/' })).toBe('https://idp.example')
    expect(() => read({ authn_gcp_provider: 'accounts.google.com' })).toThrow('authn_gcp_provider')
  })

  test('of YAML may look like a number', () => {
    expect(from({ file: fileOf('name: 123\n') }).name).toBe('123')
  })

  test.each<[string, Partial<Sources>, string]>([
    ['missing', {}, 'name (not given): it must be given'],
    ['empty', { flags: { name: '' } }, 'name (--name): '],
    ['too large', { flags: { name: 'n' }, env: { HOLDFAST_SIZE: '11' } }, 'size (HOLDFAST_SIZE): '],
    ['no number', { flags: { name: 'n', size: 'x' } }, 'size (--size): '],
    ['no flag', { flags: { name: 'n', on: 'yes' } }, 'on (--on): '],
  ])('that is %s is named', (_, sources, message) => {
    expect(() => from(sources)).toThrow(message)
    expect(() => from(sources)).toThrow(expect.objectContaining({ code: 'settings_invalid' }))
  })

  test.each([
    ['-5', 0],
    ['0', 0],
    ['60', 60],
    ['86400', 18_000],
  ])('of the life of a token is brought into its bounds: %s', (given, seconds) => {
    const env = { CONJUR_USER_AUTHORIZATION_TOKEN_TTL: given, CONJUR_HOST_AUTHORIZATION_TOKEN_TTL: given }
    const { user_authorization_token_ttl: user, host_authorization_token_ttl: host } = readSettings(
      apiTable,
      {
        flags: {},
        env,
        file: undefined,
      },
    )
    expect([user, host]).toEqual([seconds, seconds])
  })

  test('that nobody knows, and a file that is none, stop the start', () => {
    expect(() => from({ file: fileOf('nmae: x\n') })).toThrow(/^nmae \(.*holdfast.yml\): there is no such/)
    expect(() => from({ file: fileOf('- a\n') })).toThrow('is not a mapping of settings')
    expect(() => from({ file: fileOf('a: [\n') })).toThrow('cannot be read')
    expect(() => from({ file: `${folder.path}/none.yml` })).toThrow('cannot be read')
  })

  test.each([
    ['leader', leaderTable, 'data_key_file'],
    ['follower', followerTable, 'data_key_file'],
  ] as const)('a %s cannot do without is asked for', (_, nodeTable, name) => {
    expect(() => readSettings(nodeTable, { flags: {}, env: {}, file: undefined })).toThrow(
      `${name} (not given): it must be given`,
    )
  })

  test.each(['engine:8080', 'ftp://engine', 'http://', 'https://user:key@engine'])(
    'a secret engine is not at %s, and what was given is not shown',
    (url) => {
      const read = (value: string) =>
        readSettings(apiTable, { flags: {}, env: { HOLDFAST_SECRET_ENGINE_URL: value }, file: undefined })
      expect(() => read(url)).toThrow(
        'secret_engine_url (HOLDFAST_SECRET_ENGINE_URL): it must be an http or https URL without a user',
      )
      expect(read('https://engine:8080/base').secret_engine_url).toBe('https://engine:8080/base')
    },
  )
})
