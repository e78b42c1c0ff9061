// What is asked for an issuer: each thing that can be wrong with it has its own words (http-api 14).
import { describe, expect, test } from 'vitest'
import { issuerUpdateOf, issuerValues, newIssuerOf } from '#shared/api/issuer-input.ts'
import { parseQuery } from '#shared/api/request.ts'
import { utf8 } from '#shared/base/bytes.ts'

const data = { access_key_id: 'AKIAIOSFODNN7EXAMPLE', secret_access_key: 'k'.repeat(40) }
const whole = { id: 'aws-1', max_ttl: 3600, type: 'aws', data }
const required = (name: string) => `${name} is a required parameter and must be specified`
const wrongType = (name: string, type: string) => `the '${name}' parameter must be a ${type}`
const CHARACTERS =
  "invalid 'id' parameter. Only the following characters are supported: A-Z, a-z, 0-9, +, -, and _"
const NO_OBJECT =
  "'data' is not a valid JSON object; ensure that 'data' is properly formatted as a JSON object."
const MORE_DATA = 'invalid parameter received in data. Only access_key_id and secret_access_key are allowed'
const errorOf = (checked: ReturnType<typeof newIssuerOf> | ReturnType<typeof issuerUpdateOf>) =>
  'fault' in checked ? [checked.fault.outcome.status, checked.fault.error] : undefined

describe('a new issuer', () => {
  test('is what was asked for', () => {
    expect(newIssuerOf(whole)).toEqual({ value: { id: 'aws-1', type: 'aws', maxTtl: 3600, data } })
    for (const id of ['a', 'A+b_c-9', 'x'.repeat(60)])
      expect(newIssuerOf({ ...whole, id })).toHaveProperty('value')
    for (const max_ttl of [900, 43_200]) expect(newIssuerOf({ ...whole, max_ttl })).toHaveProperty('value')
  })

  test.each<[number, string, Record<string, unknown>]>([
    [400, required('id'), { id: undefined }],
    [400, required('id'), { id: null }],
    [400, required('id'), { id: '' }],
    [400, wrongType('id', 'string'), { id: 7 }],
    [400, CHARACTERS, { id: 'a/b' }],
    [400, CHARACTERS, { id: 'a.b' }],
    [400, CHARACTERS, { id: 'a\0' }],
    [400, CHARACTERS, { id: '\ud800' }],
    [400, CHARACTERS, { id: 'a\n' }],
    [400, "'id' parameter length exceeded. Limit the length to 60 characters", { id: 'x'.repeat(61) }],
    [400, required('max_ttl'), { max_ttl: undefined }],
    [400, wrongType('max_ttl', 'positive integer'), { max_ttl: '3600' }],
    [400, wrongType('max_ttl', 'positive integer'), { max_ttl: 3600.5 }],
    [400, wrongType('max_ttl', 'positive integer'), { max_ttl: -1 }],
    [400, wrongType('max_ttl', 'positive integer'), { max_ttl: [] }],
    [400, wrongType('max_ttl', 'between 900 and 43200'), { max_ttl: 899 }],
    [400, wrongType('max_ttl', 'between 900 and 43200'), { max_ttl: 43_201 }],
    [400, required('type'), { type: undefined }],
    [400, required('type'), { type: '' }],
    [400, wrongType('type', 'string'), { type: {} }],
    [400, 'issuer type is unsupported', { type: 'gcp' }],
    [400, required('data'), { data: undefined }],
    [
      400,
      'invalid parameter received in the request body. Only id, type, max_ttl and data are allowed',
      { more: 1 },
    ],
    [422, NO_OBJECT, { data: 'x' }],
    [422, NO_OBJECT, { data: [] }],
    [422, required('access_key_id'), { data: {} }],
    [422, required('secret_access_key'), { data: { access_key_id: data.access_key_id } }],
    [422, required('secret_access_key'), { data: { ...data, secret_access_key: '' } }],
    [422, wrongType('access_key_id', 'string'), { data: { ...data, access_key_id: 7 } }],
    [422, MORE_DATA, { data: { ...data, session: 'x' } }],
    [
      422,
      "invalid 'access_key_id' parameter format. The access key ID must be a valid AWS access key ID.",
      { data: { ...data, access_key_id: 'AKIA' } },
    ],
    [
      422,
      "invalid 'secret_access_key' parameter format. The secret access key must be a valid AWS secret access key.",
      { data: { ...data, secret_access_key: 'short' } },
    ],
  ])('is refused with %i %s', (status, message, change) => {
    expect(errorOf(newIssuerOf({ ...whole, ...change }))).toEqual([status, message])
  })
})

describe('an update', () => {
  test('may leave out what stays', () => {
    expect(issuerUpdateOf({})).toEqual({ value: { maxTtl: undefined, data: undefined } })
    expect(issuerUpdateOf({ max_ttl: 900 })).toEqual({ value: { maxTtl: 900, data: undefined } })
    expect(issuerUpdateOf({ data, max_ttl: null })).toEqual({ value: { maxTtl: undefined, data } })
  })

  test.each<[number, string, Record<string, unknown>]>([
    [400, 'invalid parameter received in the request body. Only max_ttl and data are allowed', { id: 'x' }],
    [400, wrongType('max_ttl', 'between 900 and 43200'), { max_ttl: 1 }],
    [422, required('secret_access_key'), { data: { access_key_id: data.access_key_id } }],
  ])('is refused with %i %s', (status, message, values) => {
    expect(errorOf(issuerUpdateOf(values))).toEqual([status, message])
  })
})

describe('the values of a request', () => {
  const valuesOf = (body: string, type: string, query = '') =>
    issuerValues({
      params: {},
      query: parseQuery(query),
      header: (name) => (name === 'content-type' ? type : undefined),
      body: utf8(body),
    })

  test('are those of its JSON or its form, with the query', () => {
    expect(valuesOf(JSON.stringify(whole), 'application/json; charset=utf-8')).toEqual(whole)
    expect(valuesOf('{"max_ttl":"3600"}', 'application/json', 'type=aws')).toEqual({
      max_ttl: '3600',
      type: 'aws',
    })
    const form = `id=aws-1&max_ttl=3600&data[access_key_id]=${data.access_key_id}`
    const read = { id: 'aws-1', max_ttl: 3600, data: { access_key_id: data.access_key_id } }
    expect(valuesOf(form, '')).toEqual(read)
    expect(valuesOf(form, 'application/x-www-form-urlencoded', 'type=aws')).toEqual({ ...read, type: 'aws' })
    expect(valuesOf(form, 'text/plain')).toEqual({})
  })

  test.each(['', '[]', 'null', '{'])('are refused when the JSON is %j', (body) => {
    if (body === '') expect(valuesOf(body, 'application/json')).toEqual({})
    else expect(() => valuesOf(body, 'application/json')).toThrow()
  })
})
