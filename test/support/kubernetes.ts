// Charts as Kubernetes would take them: rendered by helm, and held against the schemas of a Kubernetes by kubeconform.
import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { isObject } from '#shared/base/json.ts'

/** Of the schemas, and told to charts. */
export const KUBERNETES = '1.34.2'

export type Chart = {
  readonly folder: string
  /** YAML: the least that must be given, and as much as can be. */
  readonly values: readonly [string, string]
}

const root = new URL('../../', import.meta.url).pathname

export const charts: Readonly<Record<'control plane' | 'follower', Chart>> = {
  'control plane': {
    folder: join(root, 'control-plane/deploy/helm'),
    values: [
      'account: acme\nsecrets: { existing: keys }',
      `account: acme
secrets: { existing: keys, tls: tls, directory: ldap }
podNetwork: 10.244.0.0/16
settings: { failover_mode: available, authn_private_networks: '10.0.0.0/8,192.168.7.4', ldap_uri: 'ldaps://ldap' }
storage: { size: 1Gi, className: fast }
imagePullSecrets: [{ name: pull }]
networkPolicy: { clients: [{ namespaceSelector: {} }] }
nodeSelector: { disk: ssd }
tolerations: [{ key: control, operator: Exists }]`,
    ],
  },
  follower: {
    folder: join(root, 'edge-follower/deploy/helm'),
    values: [
      'account: acme\nleader: { url: "http://hold:443", login: host/seeds }\nsecrets: { existing: keys }',
      `account: acme
leader: { url: "https://hold", login: host/seeds }
secrets: { existing: keys, tls: tls, authorities: ca, directory: ldap }
autoscaling: { enabled: true }
settings: { server_threads: 2, authn_private_networks: '10.0.0.0/8,192.168.7.4', client_certificates: true }
storage: { size: 1Gi, className: fast }
imagePullSecrets: [{ name: pull }]
service: { annotations: { of: team } }
networkPolicy: { from: [{ namespaceSelector: {} }], leader: [{ podSelector: {} }], egress: [{ ports: [{ port: 636 }] }] }
podAnnotations: { of: team }
nodeSelector: { disk: ssd }
tolerations: [{ key: edge, operator: Exists }]`,
    ],
  },
}

/** All that a chart makes, as YAML. Throws with helm's words. */
export const render = (helm: string, chart: Chart, values: string): string =>
  execFileSync(helm, ['template', 'hold', chart.folder, '--kube-version', KUBERNETES, '-f', '-'], {
    input: values,
    encoding: 'utf8',
    stdio: ['pipe', 'pipe', 'pipe'],
  })

type Schema = { readonly [key: string]: unknown }

/** One file per kind, complete in itself, as kubeconform reads them. */
export function writeSchemas(openapi: string, folder: string): void {
  mkdirSync(folder, { recursive: true })
  const { definitions } = JSON.parse(readFileSync(openapi, 'utf8')) as { definitions: Record<string, Schema> }
  for (const [name, schema] of Object.entries(definitions)) {
    const kinds = schema['x-kubernetes-group-version-kind']
    // Schemas of schemas have no end.
    if (!Array.isArray(kinds) || kinds.length !== 1 || name.includes('apiextensions')) continue
    const [{ group, version, kind }] = kinds as [{ group: string; version: string; kind: string }]
    const file = [kind, ...(group === '' ? [] : [group.split('.')[0]]), version].join('-').toLowerCase()
    writeFileSync(join(folder, `${file}.json`), JSON.stringify(strict(schema, definitions)))
  }
}

const wordOrNumber = { oneOf: [{ type: 'string' }, { type: 'number' }] }

/** With what it refers to in its place; a field that nobody knows is an error. */
function strict(value: unknown, definitions: Record<string, Schema>): unknown {
  if (Array.isArray(value)) return value.map((each) => strict(each, definitions))
  if (!isObject(value)) return value
  const { $ref } = value
  if (typeof $ref === 'string') {
    const name = $ref.replace('#/definitions/', '')
    if (/\.(IntOrString|Quantity)$/.test(name)) return wordOrNumber
    return strict(definitions[name], definitions)
  }
  const entries = Object.entries(value).filter(([key]) => !key.startsWith('x-kubernetes'))
  const inner = Object.fromEntries(entries.map(([key, each]) => [key, strict(each, definitions)]))
  return isObject(value.properties) ? { additionalProperties: false, ...inner } : inner
}

/** Throws with every fault. */
export function mustConform(kubeconform: string, schemas: string, manifests: string): void {
  const location = join(schemas, '{{ .ResourceKind }}{{ .KindSuffix }}.json')
  const flags = ['-strict', '-summary', '-schema-location', location, '-']
  try {
    execFileSync(kubeconform, flags, { input: manifests, encoding: 'utf8', stdio: ['pipe', 'pipe', 'pipe'] })
  } catch (error) {
    throw new Error(String((error as { stdout?: string }).stdout ?? error))
  }
}
