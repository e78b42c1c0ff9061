// The two images, built from the Dockerfiles that we ship; and what stands in for the official images that those begin with,
// where their registry cannot be reached.
import { spawn } from 'node:child_process'
import { copyFileSync, cpSync, existsSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { createGzip } from 'node:zlib'
import { attempt, done, type Engine } from './engine.ts'

export const root = new URL('../..', import.meta.url).pathname

const SYSTEM = 'docker.io/library/debian:trixie-slim'
const NODE = 'docker.io/library/node:26-trixie-slim'
const HAPROXY = 'docker.io/library/haproxy:3.0'
const ORDINARY_PATH = 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

export type Images = { readonly controlPlane: string; readonly follower: string }

export async function build(engine: Engine): Promise<Images> {
  const image = async (name: string, dockerfile: string): Promise<string> => {
    const tag = `localhost/${name}:test`
    const words = ['build', ...engine.buildFlags, '-f', join(root, dockerfile), '-t', tag, root]
    await done([engine.name, ...words], engine.env)
    return tag
  }
  return {
    follower: await image('holdfast-follower', 'edge-follower/deploy/Dockerfile'),
    controlPlane: await image('holdfast-control-plane', 'control-plane/deploy/Dockerfile'),
  }
}

/** Megabytes of an image as a registry would keep it. */
export async function compressedMb(engine: Engine, image: string): Promise<number> {
  const saving = spawn(engine.name, ['save', image], { env: engine.env, stdio: ['ignore', 'pipe', 'ignore'] })
  let bytes = 0
  await pipeline(saving.stdout, createGzip(), async (packed) => {
    for await (const chunk of packed) bytes += (chunk as Buffer).length
  })
  return bytes / 1e6
}

/** Sees to the images that ours begin with; resolves with what was done instead of fetching them, or why nothing could be. */
export async function haveBases(
  engine: Engine,
  folder: string,
): Promise<{ note?: string; missing?: string }> {
  const has = async (image: string): Promise<boolean> =>
    (await attempt([engine.name, 'image', 'inspect', image], engine.env)).code === 0
  const pull = async (image: string): Promise<boolean> =>
    (await has(image)) ||
    (await attempt(['timeout', '120', engine.name, 'pull', image], engine.env)).code === 0
  if ((await pull(SYSTEM)) && (await pull(NODE)) && (await pull(HAPROXY))) return {}
  if (engine.name !== 'podman' || (await attempt(['debootstrap', '--version'])).code !== 0)
    return { missing: 'the registry of images cannot be reached, and there is no podman with debootstrap' }
  await makeStandIns(engine, join(folder, 'bases'))
  return { note: 'the registry of images cannot be reached: bases were made with debootstrap' }
}

async function makeStandIns(engine: Engine, folder: string): Promise<void> {
  mkdirSync(folder, { recursive: true })
  const system = join(folder, 'system')
  await done(['debootstrap', '--variant=minbase', '--include=ca-certificates', 'trixie', system])
  for (const unneeded of [
    'var/cache/apt',
    'var/lib/apt/lists',
    'usr/share/doc',
    'usr/share/man',
    'usr/share/locale',
  ])
    rmSync(join(system, unneeded), { recursive: true, force: true })
  const suites = ['debian trixie', 'debian trixie-updates', 'debian-security trixie-security']
  const sources = suites.map((suite) => `deb http://deb.debian.org/${suite} main\n`).join('')
  writeFileSync(join(system, 'etc/apt/sources.list'), sources)
  await importImage(engine, system, SYSTEM)
  // Node, npm and what this machine trusts: of the stage that fetches packages alone.
  copyFileSync(process.execPath, join(system, 'usr/local/bin/node'))
  const npm = ['/usr/lib/node_modules/npm', '/usr/local/lib/node_modules/npm'].find((path) =>
    existsSync(path),
  )!
  cpSync(npm, join(system, 'usr/local/lib/node_modules/npm'), { recursive: true })
  symlinkSync('../lib/node_modules/npm/bin/npm-cli.js', join(system, 'usr/local/bin/npm'))
  const trusted = 'etc/ssl/certs/ca-certificates.crt'
  copyFileSync(join('/', trusted), join(system, trusted))
  writeFileSync(join(system, 'root/.npmrc'), `cafile=/${trusted}\n`)
  const library = '/usr/lib/x86_64-linux-gnu/libatomic.so.1'
  copyFileSync(library, join(system, library))
  await importImage(engine, system, NODE)
  const haproxy = join(folder, 'Dockerfile')
  const steps = ['apt-get update', 'apt-get install -y --no-install-recommends haproxy']
  writeFileSync(haproxy, `FROM ${SYSTEM}\nRUN ${steps.join(' && ')}\nUSER haproxy\n`)
  await done([engine.name, 'build', ...engine.buildFlags, '-f', haproxy, '-t', HAPROXY, folder], engine.env)
}

async function importImage(engine: Engine, tree: string, name: string): Promise<void> {
  const archive = `${tree}.tar`
  await done(['tar', '-C', tree, '-cf', archive, '.'])
  await done([engine.name, 'import', '-c', ORDINARY_PATH, archive, name], engine.env)
  rmSync(archive)
}
