// The reader of YAML: nodes and marks, and what no text may cost (policy 2.1, 2.4).
import { describe, expect, test } from 'vitest'
import { limits } from '#shared/base/limits.ts'
import { readYaml, type YamlNode } from '#shared/yaml/read-yaml.ts'

function nodesOf(text: string): YamlNode | undefined {
  const read = readYaml(text)
  if ('fault' in read) throw new Error(read.fault.message)
  return read.root
}

function faultOf(text: string) {
  const read = readYaml(text)
  if (!('fault' in read)) throw new Error(`no fault in ${text.slice(0, 60)}`)
  return read.fault
}

/** Tags, texts and structure, without marks. */
function shape(node: YamlNode | undefined): unknown {
  if (node === undefined) return undefined
  const tag = node.tag === undefined ? '' : `${node.tag} `
  if (node.kind === 'scalar') return tag + node.text
  if (node.kind === 'sequence') return node.items.map(shape)
  return Object.fromEntries(node.pairs.map(([key, value]) => [String(shape(key)), shape(value)]))
}

describe('nodes', () => {
  test.each([
    ['tagged scalars', '- !user alice\n- !layer\n', ['!user alice', '!layer ']],
    [
      'a tagged mapping',
      '- !host\n  id: x\n  annotations:\n    a: true\n',
      [{ id: 'x', annotations: { a: 'true' } }],
    ],
    ['a key without a value', '- !permit\n  resource:\n', [{ resource: '' }]],
    ['an alias', '- &a [ !user x ]\n- *a\n', [['!user x'], ['!user x']]],
    ['an alias as a key', '- &k id\n- !user\n  *k : x\n', ['id', { id: 'x' }]],
    ['merge keys are ordinary keys', '- &a { x: y }\n- { <<: *a }\n', [{ x: 'y' }, { '<<': { x: 'y' } }]],
    ['a block scalar', '- |\n  a\n  b\n', ['a\nb\n']],
  ])('%s', (_, text, expected) => {
    expect(shape(nodesOf(text))).toEqual(expected)
  })

  test.each(['', '# only a comment\n', '---\n', '---\n# nothing\n...\n'])('nothing in %j', (text) => {
    const root = nodesOf(text)
    expect(root === undefined || (root.kind === 'scalar' && root.text === '')).toBe(true)
  })

  test('an alias is the very node it names', () => {
    const root = nodesOf('- &a !user x\n- *a\n')
    if (root?.kind !== 'sequence') throw new Error('not a sequence')
    expect(root.items[1]).toBe(root.items[0])
  })

  test('only plain scalars are marked as such', () => {
    const root = nodesOf('[ a, "a", \'a\', !x a ]')
    if (root?.kind !== 'sequence') throw new Error('not a sequence')
    expect(root.items.map((item) => item.kind === 'scalar' && item.plain)).toEqual([true, false, false, true])
  })

  test('the marks of duplicate keys are kept: both pairs are there', () => {
    const root = nodesOf('a: 1\na: 2\n')
    expect(root?.kind === 'mapping' && root.pairs.length).toBe(2)
  })
})

describe('marks are where the scanner stands, counted from zero', () => {
  test.each([
    ['after a scalar that ends its line: the next line', '\n\n- !foobar x\n', 3, 0],
    ['a comment does not change that', '- x # why\n', 1, 0],
    ['in a flow list: behind the element', '[ 192.168.1.1, bad ]', 0, 18],
    ['at the very end of the text', '- x', 1, 0],
    ['with line ends of Windows', '- a\r\n- x\r\n', 2, 0],
  ])('%s', (_, text, line, column) => {
    const root = nodesOf(text)
    if (root?.kind !== 'sequence') throw new Error('not a sequence')
    expect(root.items.at(-1)?.mark).toEqual({ line, column })
  })
})

describe('faults', () => {
  test('one document only', () => {
    expect(faultOf('- a\n---\n- b\n')).toMatchObject({
      message: 'Multiple YAML documents encountered. Only a single document is permitted per policy.',
      syntax: false,
    })
  })

  test('an anchor has one meaning', () => {
    expect(faultOf('- &x a\n- &x b\n')).toEqual({
      message: 'Duplicate anchor x',
      mark: { line: 2, column: 0 },
      syntax: false,
    })
  })

  test('an alias needs its anchor before it, also around itself', () => {
    expect(faultOf('- *x\n').message).toBe('Unknown alias x')
    expect(faultOf('&x [ *x ]').message).toBe('Unknown alias x')
  })

  test.each(['- [ a\n', '- "a\n', '- a: b: c\n', '- !x !y a\n', '\t- a\n- b', '- a\n b: c\n'])(
    'the syntax of %j, with line and column from one',
    (text) => {
      const fault = faultOf(text)
      expect(fault.syntax).toBe(true)
      expect(fault.mark?.line).toBeGreaterThan(0)
    },
  )
})

describe('bounds', () => {
  const nested = (levels: number): string => `${'['.repeat(levels)}a${']'.repeat(levels)}`

  test('nesting up to the limit is read, one level more is not', () => {
    expect('root' in readYaml(nested(limits.yamlDepth))).toBe(true)
    const fault = faultOf(nested(limits.yamlDepth + 1))
    expect(fault.message).toBe(`The document is nested more than ${limits.yamlDepth} levels deep`)
    expect(fault.mark).toBeDefined()
  })

  test('pairs in flow lists count as levels though the text has one bracket for both', () => {
    const pairs = (levels: number) => `${'[ a: '.repeat(levels)}x${' ]'.repeat(levels)}`
    expect('root' in readYaml(pairs(limits.yamlDepth / 2))).toBe(true)
    expect(faultOf(pairs(limits.yamlDepth / 2 + 1)).message).toMatch(/^The document is nested more/)
  })

  test('aliases are counted as often as they are used', () => {
    const lines = Array.from({ length: 20 }, (_, i) => `- &a${i + 1} [ *a${i}, *a${i}, *a${i} ]\n`)
    expect(faultOf(`- &a0 [ x ]\n${lines.join('')}`).message).toBe(
      `The document has more than ${limits.yamlNodes} nodes`,
    )
  })

  test('a long chain of aliases is no deep recursion', () => {
    const lines = Array.from({ length: 1_300 }, (_, i) => `- &a${i + 1} [ *a${i} ]\n`)
    expect('root' in readYaml(`- &a0 x\n${lines.join('')}`)).toBe(true)
  })

  // What is refused here is refused while it is read: composed, each of these needs gigabytes.
  const size = limits.policyBytes
  test.each([
    ['[', /nested more/],
    ['{', /nested more/],
    ['- ', /nested more/],
    ['? ', /nested more/],
    ['[{', /nested more/],
    ['[ a: ', /nested more/],
    ['- !user a\n', /more than 2000000 tokens/],
    ['- @\n', /more than 2000000 tokens/],
  ])('ten megabytes of %j', (part, message) => {
    expect(faultOf(part.repeat(size / part.length)).message).toMatch(message)
  })

  test('after a fault, errors of others have their stacks again', () => {
    faultOf('[['.repeat(100))
    expect(new Error('x').stack).toMatch(/\n\s+at /)
  })
})
