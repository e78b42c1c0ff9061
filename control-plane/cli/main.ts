#!/usr/bin/env node
// The one program: every command of Holdfast.
import { enableCompileCache } from 'node:module'

const NODE_MAJOR = 26
if (Number(process.versions.node.split('.')[0]) < NODE_MAJOR) {
  // Before anything native is loaded: an older Node ends without a word there.
  process.stderr.write(
    `holdfast: this is Node ${process.versions.node}; Node ${NODE_MAJOR} or newer is needed. Start it with "npx holdfast" or "npm run holdfast --", which use the one that npm ci installed.\n`,
  )
  process.exit(2)
}

// Types are erased once and the result is kept beside the packages: a start takes half the time, and no thread holds
// the eraser in memory (30 MB). Where the folder cannot be written, everything works without it. It is not a shared
// temporary folder, where others could leave code for us.
const cache = new URL('../../node_modules/.cache/holdfast', import.meta.url).pathname
enableCompileCache(cache)
process.env.NODE_COMPILE_CACHE = cache

const { Command } = await import('commander')
const { addApiCommands } = await import('./commands/api.ts')
const { addDirectoryCommands } = await import('./commands/directory.ts')
const { addNodeCommands } = await import('./commands/nodes.ts')
const { addQuickstart } = await import('./commands/quickstart.ts')
const { reportError } = await import('./output.ts')

const program = new Command('holdfast')
  .description('A secrets service that never stops serving.')
  .showHelpAfterError()
  .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : 2))
addQuickstart(program)
addNodeCommands(program)
addApiCommands(program)
addDirectoryCommands(program)

try {
  await program.parseAsync()
  process.exit()
} catch (error) {
  process.exit(reportError(error, process.argv.includes('--json')))
}
