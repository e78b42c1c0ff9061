// YAML text → nodes with marks, on the `yaml` package. Bounded: tokens and nesting while the text is read, before
// anything is built from it, and nodes counted as often as aliases use them.
import {
  Composer,
  type CST,
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  Lexer,
  LineCounter,
  type Node,
  type ParsedNode,
  Parser,
} from 'yaml'
import { limits } from '../base/limits.ts'
import { syntaxWords } from './faults.ts'

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
    const { document, more } = withoutStacks(() => compose(text, lines))
    const error = document.errors[0]
    if (error !== undefined) {
      const at = lines.linePos(error.pos[0])
      const mark = { line: at.line, column: at.col }
      return { fault: { message: syntaxWords(error.message), mark, syntax: true } }
    }
    if (more) return faultOf(MANY_DOCUMENTS)
    if (document.contents === null) return { root: undefined }
    const root = new Reader(text, lines).read(document.contents, 0)
    if (weigh(root, new Map()) > limits.yamlNodes)
      return faultOf(`The document has more than ${limits.yamlNodes} nodes`)
    return { root }
  } catch (error) {
    if (error instanceof Fault) return faultOf(error.message, error.mark)
    throw error
  }
}

/** The first document, and whether others follow. Throws `Fault` at a bound. */
function compose(text: string, lines: LineCounter): { document: Document.Parsed; more: boolean } {
  const composer = new Composer<ParsedNode>({
    schema: 'failsafe',
    uniqueKeys: false,
    merge: false,
    strict: true,
    logLevel: 'error',
    prettyErrors: false,
  })
  let document: Document.Parsed | undefined
  for (const next of composer.compose(boundedTokens(text, lines), true, text.length)) {
    if (document !== undefined) return { document, more: true }
    document = next
  }
  // `forceDoc` above makes one even of nothing.
  return { document: document!, more: false }
}

/**
 * The library keeps about 300 bytes per lexeme and recurses once per level when it composes: ten megabytes of
 * `[a,` or `[[[` would take the process down, and a text is read before its sender's privilege is known.
 */
function* boundedTokens(text: string, lines: LineCounter): Generator<CST.Token, void> {
  const parser = new Parser(lines.addNewLine)
  lines.addNewLine(0)
  let lexemes = 0
  for (const lexeme of new Lexer().lex(text)) {
    yield* parser.next(lexeme)
    // On the stack besides the collections: the document, and a scalar.
    const tooDeep = parser.stack.length > limits.yamlDepth + 2
    if (!tooDeep && ++lexemes <= limits.yamlTokens) continue
    const { line, col } = lines.linePos(parser.offset)
    const mark = { line: line - 1, column: col - 1 }
    throw new Fault(tooDeep ? TOO_DEEP : `The document has more than ${limits.yamlTokens} tokens`, mark)
  }
  yield* parser.end()
}

/**
 * The library makes an Error for every tag it does not know and for every fault, and goes on; nobody reads their
 * stacks. Taking them was 0.4 s of 2.8 s for the tags of 10 000 hosts, and nine tenths of 200 000 faults.
 */
function withoutStacks<T>(body: () => T): T {
  const errors = Error as { stackTraceLimit?: number | undefined }
  const before = errors.stackTraceLimit
  errors.stackTraceLimit = 0
  try {
    return body()
  } finally {
    errors.stackTraceLimit = before
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
