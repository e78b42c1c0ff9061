// The rules of the house. Each message says what to do instead.
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { type Border, borders, forbiddenWords, layers } from './borders.ts'

const root = new URL('../..', import.meta.url).pathname
const listed = spawnSync('git', ['ls-files', '--cached', '--others', '--exclude-standard', '*.ts'], {
  cwd: root,
  encoding: 'utf8',
})
const files = listed.stdout.split('\n').filter((file) => file !== '' && !file.endsWith('.d.ts'))
const shipped = files.filter((file) => !file.startsWith('test/'))
const textOf = (file: string): string => readFileSync(root + file, 'utf8')

const importsOf = (text: string): string[] =>
  [...text.matchAll(/(?:from|import)\s*\(?\s*'([^']+)'/g)].map((match) => match[1]!)

const covers = (border: Border, file: string): boolean =>
  file.startsWith(border.from) && !border.except?.some((exception) => file.startsWith(exception))

const isOrIsBelow = (name: string, forbidden: string): boolean =>
  forbidden.endsWith('/') || forbidden.endsWith(':') ? name.startsWith(forbidden) : name === forbidden

function brokenImports(file: string, text: string): string[] {
  return borders
    .filter((border) => covers(border, file))
    .flatMap(({ never, instead }) =>
      importsOf(text)
        .filter((name) => never.some((forbidden) => isOrIsBelow(name, forbidden)))
        .map((name) => `${file} imports ${name}: ${instead}`),
    )
}

function brokenLayers(file: string, text: string): string[] {
  const own = layers.findIndex((layer) => file.startsWith(`shared/${layer}/`))
  if (own < 0) return []
  return importsOf(text).flatMap((name) => {
    const other = layers.findIndex((layer) => new RegExp(`^(\\.\\./)+${layer}/`).test(name))
    return other > own
      ? [`${file} imports ${name}: ${layers[other]} stands above ${layers[own]} (shared/README.md)`]
      : []
  })
}

function brokenWords(file: string, text: string): string[] {
  return forbiddenWords
    .filter((border) => covers(border, file))
    .flatMap(({ never, instead }) =>
      never.filter((word) => text.includes(word)).map((word) => `${file} uses ${word}: ${instead}`),
    )
}

/** How many conformance notes each document of the specification ends with. */
const notes = { 'http-api': 32, policy: 30 } as const

/** Those that stand in titles: a comment about a note checks nothing. */
const notesIn = (text: string): string[] =>
  text
    .split('\n')
    .filter((line) => !line.trimStart().startsWith('//'))
    .flatMap((line) => [...line.matchAll(/\(((?:http-api|policy) note \d+)\)/g)].map(([, note]) => note!))

describe('the house', () => {
  test('imports stay within the borders', () => {
    expect(shipped.flatMap((file) => brokenImports(file, textOf(file)))).toEqual([])
  })

  test('the folders of shared/ use only what stands below them', () => {
    expect(shipped.flatMap((file) => brokenLayers(file, textOf(file)))).toEqual([])
  })

  test('the rules know neither clock nor chance', () => {
    expect(shipped.flatMap((file) => brokenWords(file, textOf(file)))).toEqual([])
  })

  test('no file is longer than 500 lines: a noun is missing', () => {
    const long = shipped.filter((file) => textOf(file).split('\n').length > 500)
    expect(long).toEqual([])
  })

  test('there are no imports in a circle', () => {
    expect(circles()).toEqual([])
  })

  test.each(Object.entries(notes))(
    'every conformance note of %s is named in the title of a case',
    (of, count) => {
      const named = new Set(
        files.filter((file) => file.startsWith('test/')).flatMap((file) => notesIn(textOf(file))),
      )
      const all = Array.from({ length: count }, (_, i) => `${of} note ${i + 1}`)
      expect(all.filter((note) => !named.has(note))).toEqual([])
    },
  )

  test('the rules themselves can fail', () => {
    expect(brokenImports('shared/policy/x.ts', "import { x } from 'node:fs'")).toHaveLength(1)
    expect(brokenImports('edge-follower/store/x.ts', "import X from 'better-sqlite3'")).toHaveLength(2)
    expect(
      brokenImports('edge-follower/worker/x.ts', "import { x } from '#shared/node/log.ts'"),
    ).toHaveLength(1)
    expect(brokenLayers('shared/id/x.ts', "import { x } from '../api/x.ts'")).toHaveLength(1)
    expect(brokenWords('shared/api/x.ts', 'const now = Date.now()')).toHaveLength(1)
    expect(notesIn("test('a (policy note 70) (policy note 71)'\n  // (policy note 72)")).toEqual([
      'policy note 70',
      'policy note 71',
    ])
  })
})

/** Imports that lead back to where they began; types do not count, they are gone when the code runs. */
function circles(): string[] {
  const edges = new Map(shipped.map((file) => [file, valueImports(file)]))
  const done = new Set<string>()
  const found: string[] = []
  const visit = (file: string, path: readonly string[]): void => {
    if (path.includes(file)) {
      found.push([...path.slice(path.indexOf(file)), file].join(' → '))
      return
    }
    if (done.has(file)) return
    for (const next of edges.get(file) ?? []) visit(next, [...path, file])
    done.add(file)
  }
  for (const file of shipped) visit(file, [])
  return found
}

function valueImports(file: string): string[] {
  const text = textOf(file).replace(/import type [^']*'[^']+'/g, '')
  return importsOf(text)
    .filter((name) => name.startsWith('.') || name.startsWith('#'))
    .map((name) =>
      name.startsWith('#') ? name.slice(1) : new URL(name, `file:///${file}`).pathname.slice(1),
    )
}
