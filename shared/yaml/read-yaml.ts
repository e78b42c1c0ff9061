// YAML text → nodes with marks, on the `yaml` package. Bounded: depth, and nodes counted as often as aliases use them.
import { isAlias, isMap, isScalar, isSeq, LineCounter, type Node, type ParsedNode, parseDocument } from 'yaml'
import { limits } from '../base/limits.ts'

/** Zero-based, as the reference's scanner reports it: where the scanner stands when the node is complete (policy 2.4). */
export type Mark = { readonly line: number; readonly column: number }

type Common = { readonly tag: string | undefined; readonly mark: Mark }
export type ScalarNode = Common & { readonly kind: 'scalar'; readonly text: string; readonly plain: boolean }
export type SequenceNode = Common & { readonly kind: 'sequence'; readonly items: readonly YamlNode[] }
export type MappingNode = Common & {
  readonly kind: 'mapping'
  readonly pairs: readonly (readonly [key: YamlNode, value: YamlNode])[]
}
/** An alias is the very node it names. */
export type YamlNode = ScalarNode | SequenceNode | MappingNode

export type YamlFault = {
  readonly message: string
  readonly mark: Mark | undefined
  /** A fault of the syntax, found by the library, as opposed to one of ours. */
  readonly syntax: boolean
}

export type YamlRead = { readonly root: YamlNode | undefined } | { readonly fault: YamlFault }

class Fault extends Error {
  readonly mark: Mark | undefined
  constructor(message: string, mark?: Mark) {
    super(message)
    this.mark = mark
  }
}

export function readYaml(text: string): YamlRead {
  const lines = new LineCounter()
  try {
    const document = parseDocument(text, {
      lineCounter: lines,
      schema: 'failsafe',
      uniqueKeys: false,
      merge: false,
      strict: true,
      logLevel: 'error',
      prettyErrors: false,
    })
    const error = document.errors[0]
    if (error?.code === 'MULTIPLE_DOCS') return faultOf(MANY_DOCUMENTS)
    if (error !== undefined) {
      const at = lines.linePos(error.pos[0])
      return { fault: { message: error.message, mark: { line: at.line, column: at.col }, syntax: true } }
    }
    if (document.contents === null) return { root: undefined }
    const root = new Reader(text, lines).read(document.contents, 0)
    if (weigh(root, new Map()) > limits.yamlNodes)
      return faultOf(`The document has more than ${limits.yamlNodes} nodes`)
    return { root }
  } catch (error) {
    if (error instanceof Fault) return faultOf(error.message, error.mark)
    // The library recurses once per level: what overflows its stack is nested far deeper than we allow.
    if (error instanceof RangeError) return faultOf(TOO_DEEP)
    throw error
  }
}

const MANY_DOCUMENTS = 'Multiple YAML documents encountered. Only a single document is permitted per policy.'
const TOO_DEEP = `The document is nested more than ${limits.yamlDepth} levels deep`

const faultOf = (message: string, mark?: Mark): YamlRead => ({ fault: { message, mark, syntax: false } })

class Reader {
  readonly #text: string
  readonly #lines: LineCounter
  readonly #anchors = new Map<string, YamlNode>()

  constructor(text: string, lines: LineCounter) {
    this.#text = text
    this.#lines = lines
  }

  read(node: ParsedNode | Node, depth: number): YamlNode {
    const mark = this.#mark(node)
    if (depth > limits.yamlDepth) throw new Fault(TOO_DEEP, mark)
    if (isAlias(node)) {
      const target = this.#anchors.get(node.source)
      if (target === undefined) throw new Fault(`Unknown alias ${node.source}`, mark)
      return target
    }
    const tag = node.tag?.startsWith('tag:') ? undefined : node.tag
    const result = this.#content(node, tag, mark, depth)
    const anchor = (node as { anchor?: string }).anchor
    if (anchor !== undefined) {
      if (this.#anchors.has(anchor)) throw new Fault(`Duplicate anchor ${anchor}`, mark)
      this.#anchors.set(anchor, result)
    }
    return result
  }

  #content(node: ParsedNode | Node, tag: string | undefined, mark: Mark, depth: number): YamlNode {
    if (isSeq(node)) {
      return {
        kind: 'sequence',
        tag,
        mark,
        items: node.items.map((item) => this.read(item as Node, depth + 1)),
      }
    }
    if (isMap(node)) {
      const pairs = node.items.map(
        ({ key, value }) =>
          [
            this.read(key as Node, depth + 1),
            value === null ? blank(mark) : this.read(value as Node, depth + 1),
          ] as const,
      )
      return { kind: 'mapping', tag, mark, pairs }
    }
    if (!isScalar(node)) throw new Fault('Unexpected node', mark)
    const plain = node.type === 'PLAIN' || node.type === undefined
    return { kind: 'scalar', tag, mark, text: String(node.value ?? ''), plain }
  }

  /** Of a scalar its end: after one that ends its line the scanner is already at the start of the next. */
  #mark(node: ParsedNode | Node): Mark {
    if (!isScalar(node) && !isAlias(node)) {
      const start = this.#lines.linePos(node.range?.[0] ?? 0)
      return { line: start.line - 1, column: start.col - 1 }
    }
    const end = node.range?.[1] ?? 0
    const rest = /[ \t]*(#[^\n]*)?(\r?\n|$)/y
    rest.lastIndex = end
    const at = this.#lines.linePos(end)
    if (rest.test(this.#text)) return { line: at.line, column: 0 }
    return { line: at.line - 1, column: at.col - 1 }
  }
}

const blank = (mark: Mark): ScalarNode => ({ kind: 'scalar', tag: undefined, mark, text: '', plain: true })

/** Nodes below, with aliases counted wherever they are used; each node is weighed once. */
function weigh(node: YamlNode, known: Map<YamlNode, number>): number {
  const before = known.get(node)
  if (before !== undefined) return before
  const below = node.kind === 'scalar' ? [] : node.kind === 'sequence' ? node.items : node.pairs.flat()
  const weight = below.reduce((sum, item) => sum + weigh(item, known), 1)
  known.set(node, weight)
  return weight
}
