// What an image leaves out is not needed by it: its Dockerfile held against what the program imports.
import { existsSync, readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'

const root = new URL('../../..', import.meta.url)

/** Files of ours and packages that are reached from a file; `apart`: of those commands that the image is not for. */
function reachedFrom(
  entry: string,
  apart: ReadonlySet<string>,
): { files: Set<string>; packages: Set<string> } {
  const [files, packages] = [new Set<string>(), new Set<string>()]
  const visit = (file: string): void => {
    if (files.has(file)) return
    files.add(file)
    const text = readFileSync(new URL(file, root), 'utf8').replace(/(import|export) type [^']*'[^']+'/g, '')
    const named = text.matchAll(/(?:^import|^export .*from|from|new URL\(|await import\() ?'([^'\n]+)'/gm)
    for (const [, name] of named) {
      if (name!.startsWith('#')) {
        if (!apart.has(name!)) visit(name!.slice(1))
      } else if (/^\.{1,2}\/.*\.[jt]s$/.test(name!))
        visit(new URL(name!, new URL(file, root)).pathname.slice(root.pathname.length))
      else if (/^(@[\w.-]+\/)?[\w.-]+$/.test(name!)) packages.add(name!)
    }
  }
  visit(entry)
  return { files, packages }
}

const program = 'control-plane/cli/holdfast.js'

const images = [
  {
    name: 'a Follower',
    dockerfile: 'edge-follower/deploy/Dockerfile',
    // Of the commands `leader`, `node` and `ca init`.
    apart: new Set([
      '#control-plane/managed/node.ts',
      '#control-plane/standalone.ts',
      '#control-plane/supervisor.ts',
      '#control-plane/enrolment/authority.ts',
    ]),
  },
  {
    name: 'a control node',
    dockerfile: 'control-plane/deploy/Dockerfile',
    // Of the command `follower`.
    apart: new Set(['#edge-follower/node/main.ts']),
  },
]

const { dependencies } = JSON.parse(readFileSync(new URL('package.json', root), 'utf8')) as {
  dependencies: Record<string, string>
}

describe.each(images)('the image of $name', ({ dockerfile, apart }) => {
  const text = readFileSync(new URL(dockerfile, root), 'utf8')
  const copied = [...text.matchAll(/^COPY (?!--from)(.+)$/gm)].flatMap(([, words]) =>
    words!.split(' ').slice(0, -1),
  )
  const uninstalled = /npm uninstall (.+?) \\$/m.exec(text)?.[1] ?? ''
  const removed = uninstalled.split(' ').filter((word) => word !== '' && !word.startsWith('-'))
  const { files, packages } = reachedFrom(program, apart)

  test('has every file that the program imports', () => {
    expect(files.size).toBeGreaterThan(100)
    const has = (file: string): boolean => copied.some((path) => file === path || file.startsWith(`${path}/`))
    expect([...files].filter((file) => !has(file))).toEqual([])
  })

  test('has every package that the program imports', () => {
    expect([...packages].filter((one) => removed.includes(one))).toEqual([])
    expect(removed.filter((one) => !(one in dependencies))).toEqual([])
  })

  test('has no package that it does not import', () => {
    const unused = Object.keys(dependencies).filter((one) => !packages.has(one) && !removed.includes(one))
    expect(unused).toEqual([])
  })

  test('is made of files that are there', () => {
    expect(copied.filter((path) => !existsSync(new URL(path, root)))).toEqual([])
  })
})
