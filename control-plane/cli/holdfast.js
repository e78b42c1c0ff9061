#!/usr/bin/env node
// The entry, and the one file in plain JavaScript: it says on an older Node what is wrong, and finds erased types
// kept beside the packages before the first of them is read. A start takes half the time, and no thread holds the
// eraser in memory (30 MB). Where the folder cannot be written, everything works without it. It is not a shared
// temporary folder, where others could leave code for us.
import module from 'node:module'

const NODE_MAJOR = 26
if (Number(process.versions.node.split('.')[0]) < NODE_MAJOR) {
  process.stderr.write(
    `holdfast: this is Node ${process.versions.node}; Node ${NODE_MAJOR} or newer is needed. Start it with "npx holdfast" or "npm run holdfast --", which use the one that npm ci installed.\n`,
  )
  process.exit(2)
}

const cache = new URL('../../node_modules/.cache/holdfast', import.meta.url).pathname
module.enableCompileCache(cache)
process.env.NODE_COMPILE_CACHE = cache

await import('./main.ts')
