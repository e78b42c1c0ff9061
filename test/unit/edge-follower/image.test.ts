// What the Follower's image leaves out is not needed by it: its Dockerfile held against what the program imports.
import { existsSync, readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'

const root = new URL('../../..', import.meta.url)
const dockerfile = readFileSync(new URL('edge-follower/deploy/Dockerfile', root), 'utf8')

/** Files of ours and packages that are reached from a file; what a control node loads when it is one is not asked for. */
function reachedFrom(entry: string): { files: Set<string>; packages: Set<string> } {
  const [files, packages] = [new Set<string>(), new Set<string>()]
  const visit = (file: string): void => {
    if (files.has(file)) return
    files.add(file)
    const text = readFileSync(new URL(file, root), 'utf8').replace(/(import|export) type [^']*'[^']+'/g, '')
    const named = text.matchAll(/(?:^import|^export .*from|from|new URL\(|await import\() ?'([^'\n]+)'/gm)
    for (const [, name] of named) {
      if (name!.startsWith('#')) {
        if (!startsControlNode.has(name!)) visit(name!.slice(1))
      } else if (/^\.{1,2}\/.*\.[jt]s$/.test(name!))
        visit(new URL(name!, new URL(file, root)).pathname.slice(root.pathname.length))
      else if (/^(@[\w.-]+\/)?[\w.-]+$/.test(name!)) packages.add(name!)
    }
  }
  visit(entry)
  return { files, packages }
}

/** Loaded by the commands `leader`, `node` and `ca init` alone. */
const startsControlNode = new Set([
  '#control-plane/managed/node.ts',
  '#control-plane/standalone.ts',
  '#control-plane/supervisor.ts',
  '#control-plane/enrolment/authority.ts',
])

const copied = [...dockerfile.matchAll(/^COPY (?!--from)(.+)$/gm)].flatMap(([, words]) =>
  words!.split(' ').slice(0, -1),
)
const removed = /npm uninstall (.+?) \\$/m
  .exec(dockerfile)![1]!
  .split(' ')
  .filter((word) => !word.startsWith('-'))

describe('the image of a Follower', () => {
  const { files, packages } = reachedFrom('control-plane/cli/holdfast.js')

  test('has every file that the program imports', () => {
    expect(files.size).toBeGreaterThan(100)
    const has = (file: string): boolean => copied.some((path) => file === path || file.startsWith(`${path}/`))
    expect([...files].filter((file) => !has(file))).toEqual([])
  })

  test('has every package that the program imports', () => {
    const { dependencies } = JSON.parse(readFileSync(new URL('package.json', root), 'utf8')) as {
      dependencies: Record<string, string>
    }
    expect([...packages].filter((name) => removed.includes(name))).toEqual([])
    expect(removed.filter((name) => !(name in dependencies))).toEqual([])
    const unused = Object.keys(dependencies).filter((name) => !packages.has(name) && !removed.includes(name))
    expect(unused).toEqual([])
  })

  test('is made of files that are there', () => {
    expect(copied.filter((path) => !existsSync(new URL(path, root)))).toEqual([])
  })
})
