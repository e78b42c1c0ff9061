// What we ship for containers, read without an engine: compose.yaml and the charts name settings that there are, and files of
// the images. Charts are rendered where there is a helm (on the path, or HOLDFAST_HELM); `npm run test:containers` fetches one.
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { parse, parseAllDocuments } from 'yaml'
import { nodeTable } from '#control-plane/settings.ts'
import { followerTable } from '#edge-follower/settings.ts'
import { readSettings, type SettingTable } from '#shared/node/settings.ts'
import { type Chart, charts, render } from '../support/kubernetes.ts'
import { findProgram } from '../support/programs.ts'

const root = new URL('../../', import.meta.url)
const textOf = (file: string): string => readFileSync(new URL(file, root), 'utf8')

/** Of the command line and of scripts in the images, not of a node. */
const notSettings = new Set(['url', 'login', 'api_key_file'])

/** Throws what a node would say of these variables. */
function mustBeSettings(table: SettingTable, env: Readonly<Record<string, string>>): void {
  const names = Object.keys(env).filter((name) => name.startsWith('HOLDFAST_'))
  const unknown = names.filter((name) => {
    const setting = name.slice('HOLDFAST_'.length).toLowerCase()
    return !(setting in table) && !notSettings.has(setting)
  })
  expect(unknown).toEqual([])
  readSettings(table, {
    flags: {},
    env: { HOLDFAST_DATA_KEY_FILE: '/run/secrets/data_key', ...env },
    file: undefined,
  })
}

const inImage = /^\/app\/(\S+)$/

describe('compose.yaml', () => {
  type Service = {
    readonly image: string
    readonly environment?: Record<string, string>
    readonly command?: string[]
    readonly read_only?: boolean
    readonly volumes?: string[]
  }
  // What stands in ${NAME:-word} is the word.
  const text = textOf('control-plane/deploy/compose.yaml').replace(/\$\{\w+:-([^}]*)\}/g, '$1')
  const { services } = parse(text, { merge: true }) as { services: Record<string, Service> }

  test('has three control nodes, etcd beside each, a balancer and two Followers', () => {
    const kinds = Object.keys(services).map((name) => name.replace(/-\d$/, ''))
    const count = (kind: string): number => kinds.filter((each) => each === kind).length
    expect(['node', 'etcd', 'balancer', 'edge'].map(count)).toEqual([3, 3, 1, 2])
  })

  test('gives every node settings that it knows and accepts', () => {
    for (const [name, { environment }] of Object.entries(services)) {
      if (name.startsWith('node')) mustBeSettings(nodeTable, environment!)
      if (name.startsWith('edge')) mustBeSettings(followerTable, environment!)
    }
    expect(() => mustBeSettings(followerTable, { HOLDFAST_NAEM: 'x' })).toThrow()
  })

  test('writes to no root, and starts programs that are in the image', () => {
    for (const [name, { read_only, command = [] }] of Object.entries(services)) {
      expect(read_only, name).toBe(true)
      const missing = command
        .flatMap((word) => inImage.exec(word)?.[1] ?? [])
        .filter((file) => !existsSync(new URL(file, root)))
      expect(missing, name).toEqual([])
    }
  })
})

test('programs of the deployment can be started', () => {
  const folder = new URL('control-plane/deploy/', root)
  const scripts = readdirSync(folder).filter((name) => name.endsWith('.sh'))
  expect(scripts.filter((name) => (statSync(new URL(name, folder)).mode & 0o111) === 0)).toEqual([])
  expect(scripts).toContain('node.sh')
})

const helm = findProgram('helm', process.env.HOLDFAST_HELM)

describe.skipIf(helm === undefined)('charts (left out where there is no helm)', () => {
  type Container = {
    readonly name: string
    readonly command?: string[]
    readonly env?: { readonly name: string; readonly value?: string }[]
    readonly securityContext: object
    readonly livenessProbe?: { readonly httpGet?: object }
  }
  type Pod = {
    readonly securityContext: object
    readonly containers: Container[]
    readonly initContainers?: Container[]
  }
  type Made = { readonly kind: string; readonly spec: { readonly template?: { readonly spec: Pod } } }

  const made = (chart: Chart, values: string): Made[] =>
    parseAllDocuments(render(helm!, chart, values)).map((document) => document.toJS() as Made)
  const pods = (all: readonly Made[]): Pod[] => all.flatMap(({ spec }) => spec?.template?.spec ?? [])
  const tables = { 'control plane': nodeTable, follower: followerTable }

  test.each(Object.entries(charts))('%s: nobody is root, and settings are known', (name, chart) => {
    for (const values of chart.values)
      for (const { securityContext, containers, initContainers = [] } of pods(made(chart, values))) {
        expect(securityContext).toMatchObject({ runAsNonRoot: true })
        for (const container of [...containers, ...initContainers]) {
          expect(container.securityContext).toMatchObject({ readOnlyRootFilesystem: true })
          // A Standby, and a Follower without a copy, answer 502 and are alive.
          expect(container.livenessProbe?.httpGet).toBeUndefined()
          const env = Object.fromEntries(
            (container.env ?? []).map((each) => [each.name, each.value ?? 'hold-0']),
          )
          if (/^(node|join)$/.test(container.name)) mustBeSettings(tables[name as keyof typeof tables], env)
        }
      }
  })

  test.each(Object.entries(charts))('%s: what must be given is asked for', (_name, chart) => {
    expect(() => render(helm!, chart, '{}')).toThrow(/must be (given|named)/)
  })

  test('the balancer of the chart runs the configuration that is shipped', () => {
    const [, withNetwork] = charts['control plane'].values
    const shipped = textOf('control-plane/deploy/haproxy.cfg')
    const maps = made(charts['control plane'], withNetwork!).filter(({ kind }) => kind === 'ConfigMap')
    expect(maps).toMatchObject([{ data: { 'haproxy.cfg': shipped } }])
  })
})
