import { expect, test } from 'vitest'
import { parseJsonStrictly } from '#shared/base/json.ts'

test.each([
  ['{"a":1,"b":{"a":2},"c":[{"a":3},{"a":4}]}'],
  ['{"a":"b","b":"a:{}","c\\"":"\\\\"}'],
  ['["a","a"]'],
  ['{"":"","A":1,"a":1}'],
  ['{}'],
  ['"a"'],
])('%s is what it says', (text) => {
  expect(parseJsonStrictly(text)).toEqual(JSON.parse(text))
})

test.each([
  ['{"a":1,"a":1}'],
  ['{"a":1,"\\u0061":2}'],
  ['{"x":{"b":1,"c":{"b":2},"b":3}}'],
  ['[{"a":1},{"a":1,"a":2}]'],
  ['{"__proto__":1,"__proto__":2}'],
  ['{"a":{},"a":[]}'],
  ['{"a":1'],
  [''],
])('%s says a name twice, or is no JSON', (text) => {
  expect(parseJsonStrictly(text)).toBeUndefined()
})
