// The Worker as `wrangler deploy` would send it, made once per run of the tests that need it.
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const root = new URL('../..', import.meta.url).pathname

/** `NAME.js` into this folder, and beside it what nobody is sent. Returns what wrangler said. `entry`: another Worker than ours. */
export function bundleEdge(folder: string, entry?: string): string {
  const made = spawnSync(
    process.execPath,
    [
      join(root, 'node_modules/wrangler/bin/wrangler.js'),
      'deploy',
      ...(entry === undefined ? [] : [entry]),
      '--dry-run',
      '--outdir',
      folder,
    ],
    {
      cwd: root,
      encoding: 'utf8',
      env: { ...process.env, CI: '1', WRANGLER_SEND_METRICS: 'false', NO_COLOR: '1' },
    },
  )
  if (made.status !== 0) throw new Error(`wrangler deploy --dry-run: ${made.stdout}${made.stderr}`)
  return made.stdout
}

export default function make(): () => void {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-edge-'))
  bundleEdge(folder)
  process.env.HOLDFAST_EDGE_BUNDLE = join(folder, 'index.js')
  return () => rmSync(folder, { recursive: true, force: true })
}
