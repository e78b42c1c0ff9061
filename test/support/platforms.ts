// Where workloads run, for the how-to pages: a runner of GitHub, one of GitLab, a cluster with its kubelet, an EC2 instance
// and Lambda. Each runs what stands in a reader's files, and gives it what the real one would.
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { parse, parseAllDocuments } from 'yaml'
import { IdentityProvider } from './identity-provider.ts'
import { type Env, type Ran, run } from './page.ts'
import type { Keys, Sts } from './sts.ts'

/** What came of a workload. `got`: the secret as it found it. */
export type Outcome = Ran & { readonly got: string | undefined }
type Claims = Readonly<Record<string, unknown>>

const path = process.env.PATH!

export function program(file: string, text: string): void {
  mkdirSync(dirname(file), { recursive: true })
  writeFileSync(file, text)
  chmodSync(file, 0o700)
}

/** A checkout with the reader's own program in it, which keeps what it was given. */
async function jobIn(directory: string, env: Env, scripts: readonly string[]): Promise<Outcome> {
  const checkout = mkdtempSync(join(directory, 'job-'))
  program(join(checkout, 'deploy.sh'), '#!/bin/sh\nprintf %s "$DB_PASSWORD" > deployed\n')
  const ran = await run(['sh', '-ec', scripts.join('\n')], checkout, { PATH: path, ...env })
  return { ...ran, got: fileText(join(checkout, 'deployed')) }
}

const fileText = (file: string): string | undefined =>
  existsSync(file) ? readFileSync(file, 'utf8') : undefined

type Workflow = {
  readonly permissions?: Readonly<Record<string, string>>
  readonly jobs: {
    readonly deploy: {
      readonly env: Env
      readonly steps: readonly { readonly uses?: string; readonly run?: string }[]
    }
  }
}

/** `vars`: variables of the repository; `claims`: of its token, as GitHub makes them. */
export async function githubJob(
  github: IdentityProvider,
  directory: string,
  vars: Env,
  claims: Claims,
): Promise<Outcome> {
  const { permissions, jobs } = parse(
    readFileSync(join(directory, '.github/workflows/deploy.yml'), 'utf8'),
  ) as Workflow
  const bearer = 'Bearer of-the-runner'
  github.answer('/id-token', async ({ headers, url }) =>
    headers.authorization === bearer
      ? { body: { count: 1, value: await github.sign({ ...claims, aud: url.searchParams.get('audience') }) } }
      : { status: 401 },
  )
  const mayAsk = permissions?.['id-token'] === 'write'
  const env = Object.fromEntries(
    Object.entries(jobs.deploy.env).map(([name, value]) => [
      name,
      value.replace(/\$\{\{ vars\.(\w+) \}\}/g, (_, variable: string) => vars[variable] ?? ''),
    ]),
  )
  return jobIn(
    directory,
    {
      ...env,
      ...(mayAsk && {
        ACTIONS_ID_TOKEN_REQUEST_URL: `${github.url}/id-token?api-version=2.0`,
        ACTIONS_ID_TOKEN_REQUEST_TOKEN: 'of-the-runner',
      }),
    },
    jobs.deploy.steps.flatMap((step) => step.run ?? []),
  )
}

type Pipeline = {
  readonly deploy: {
    readonly id_tokens?: Readonly<Record<string, { readonly aud: string }>>
    readonly script: readonly string[]
  }
}

/** `vars`: CI/CD variables of the project. */
export async function gitlabJob(
  gitlab: IdentityProvider,
  directory: string,
  vars: Env,
  claims: Claims,
): Promise<Outcome> {
  const { deploy } = parse(readFileSync(join(directory, '.gitlab-ci.yml'), 'utf8')) as Pipeline
  const tokens: Record<string, string> = {}
  for (const [name, { aud }] of Object.entries(deploy.id_tokens ?? {}))
    tokens[name] = await gitlab.sign({ ...claims, aud })
  return jobIn(directory, { ...vars, ...tokens }, deploy.script)
}

type Mount = { readonly name: string; readonly mountPath: string }
type Container = {
  readonly command: readonly string[]
  readonly args: readonly string[]
  readonly env: readonly { readonly name: string; readonly value: string }[]
  readonly envFrom: readonly { readonly configMapRef: { readonly name: string } }[]
  readonly volumeMounts: readonly Mount[]
}
type Deployment = {
  readonly kind: string
  readonly metadata: { readonly namespace: string }
  readonly spec: {
    readonly template: {
      readonly spec: {
        readonly serviceAccountName: string
        readonly initContainers: readonly [Container]
        readonly containers: readonly [{ readonly volumeMounts: readonly Mount[] }]
        readonly volumes: readonly {
          readonly name: string
          readonly projected?: { readonly sources: readonly [{ readonly serviceAccountToken: Projection }] }
        }[]
      }
    }
  }
}
type Projection = { readonly path: string; readonly audience: string; readonly expirationSeconds: number }

/** `kubectl` of a cluster that answers at an address; what it is told is in the file `told`, a word a line. */
export const kubectl = (cluster: string, told: string): string => `#!/bin/sh
if [ "$1 $2" = 'get --raw' ]; then exec curl -sSf "${cluster}$3"; fi
printf '%s\\n' "$@" '' >> '${told}'
`

/** What `kubectl` was told, command by command. */
const toldIn = (file: string): string[][] =>
  readFileSync(file, 'utf8')
    .split('\n\n')
    .map((command) => command.split('\n'))

function configMap(told: readonly string[][], name: string): Env {
  const made = told.find((words) => words.includes('configmap') && words.includes(name)) ?? []
  return Object.fromEntries(
    made.flatMap((word) => {
      const [, key, value] = /^--from-literal=(\w+)=(.*)$/.exec(word) ?? []
      return key === undefined ? [] : [[key, value!]]
    }),
  )
}

/** Starts a pod of the Deployment that was applied, as far as the program that is the reader's own. */
export async function pod(
  cluster: IdentityProvider,
  directory: string,
  told: string,
  more: Env,
  serviceAccount?: string,
): Promise<Outcome> {
  const commands = toldIn(told)
  const file = commands.find(([verb]) => verb === 'apply')![2]!
  const { metadata, spec } = parseAllDocuments(readFileSync(join(directory, file), 'utf8'))
    .map((document) => document.toJS() as Deployment)
    .find(({ kind }) => kind === 'Deployment')!
  const { initContainers, containers, volumes, serviceAccountName } = spec.template.spec
  const root = mkdtempSync(join(directory, 'pod-'))
  for (const { name, projected } of volumes) {
    mkdirSync(join(root, name))
    const projection = projected?.sources[0].serviceAccountToken
    if (projection === undefined) continue
    const claims = podClaims(metadata.namespace, serviceAccount ?? serviceAccountName, projection)
    writeFileSync(join(root, name, projection.path), await cluster.sign(claims))
  }
  const [{ command, args, env, envFrom, volumeMounts }] = initContainers
  // A test cannot mount: paths in the environment of the container lead to where its volumes are.
  const placed = ({ name, value }: { name: string; value: string }): [string, string] => {
    const mount = volumeMounts.find(({ mountPath }) => `${value}/`.startsWith(`${mountPath}/`))
    return [name, mount === undefined ? value : join(root, mount.name, value.slice(mount.mountPath.length))]
  }
  const configured = envFrom.map(({ configMapRef }) => configMap(commands, configMapRef.name))
  const ran = await run([...command, ...args], root, {
    PATH: path,
    ...Object.assign({}, ...configured),
    ...Object.fromEntries(env.map(placed)),
    ...more,
  })
  const seen = containers[0].volumeMounts.find(({ mountPath }) => mountPath === '/secrets')!
  return { ...ran, got: fileText(join(root, seen.name, 'db-password')) }
}

const podClaims = (
  namespace: string,
  account: string,
  { audience, expirationSeconds }: Projection,
): Claims => ({
  sub: `system:serviceaccount:${namespace}:${account}`,
  aud: [audience],
  exp: Math.floor(Date.now() / 1000) + expirationSeconds,
  'kubernetes.io': {
    namespace,
    node: { name: 'node-1', uid: '5c1d0b3e-0000-4000-8000-000000000001' },
    pod: { name: `${account}-7d9c`, uid: '5c1d0b3e-0000-4000-8000-000000000002' },
    serviceaccount: { name: account, uid: '5c1d0b3e-0000-4000-8000-000000000003' },
  },
})

const REGION = 'eu-central-1'

/** The metadata service of an EC2 instance (IMDSv2) whose profile has a role with these keys. */
async function metadataOf(role: string, keys: Keys): Promise<IdentityProvider> {
  const service = await IdentityProvider.start()
  service.answer('/latest/api/token', ({ method, headers }) =>
    method === 'PUT' && headers['x-aws-ec2-metadata-token-ttl-seconds'] !== undefined
      ? { body: 'session' }
      : { status: 400 },
  )
  const says = (name: string, body: string): void =>
    service.answer(`/latest/meta-data/${name}`, ({ headers }) =>
      headers['x-aws-ec2-metadata-token'] === 'session' ? { body } : { status: 401 },
    )
  says('placement/region', REGION)
  says('iam/security-credentials/', role)
  const credentials = {
    Code: 'Success',
    LastUpdated: '2026-01-05T10:20:30Z',
    Type: 'AWS-HMAC',
    AccessKeyId: keys.accessKeyId,
    SecretAccessKey: keys.secretAccessKey,
    Token: keys.sessionToken,
    Expiration: '2026-01-05T16:20:30Z',
  }
  says(`iam/security-credentials/${role}`, JSON.stringify(credentials, undefined, 2))
  return service
}

const keysOf = (sts: Sts, role: string): Keys =>
  sts.keysOf(`arn:aws:sts::123456789012:assumed-role/${role}/i-0123456789abcdef0`)

/** `command`: as the page says it. */
export async function instance(
  sts: Sts,
  directory: string,
  command: string,
  url: string,
  role: string,
): Promise<Outcome> {
  const metadata = await metadataOf(role, keysOf(sts, role))
  const ran = await run(['sh', '-ec', command], directory, {
    PATH: path,
    HOLDFAST_URL: url,
    AWS_EC2_METADATA_SERVICE_ENDPOINT: metadata.url,
    STS_HOST: sts.host,
  })
  await metadata.goAway()
  return { ...ran, got: ran.out === '' ? undefined : ran.out }
}

/** `got`: what the handler returns, as JSON. */
export async function lambda(sts: Sts, directory: string, url: string, role: string): Promise<Outcome> {
  const { accessKeyId, secretAccessKey, sessionToken } = keysOf(sts, role)
  const runtime = `const { handler } = await import(${JSON.stringify(join(directory, 'index.mjs'))})
    console.log(JSON.stringify(await handler({}, {})))`
  const ran = await run([process.execPath, '--input-type=module', '-e', runtime], directory, {
    PATH: path,
    HOLDFAST_URL: url,
    AWS_REGION: REGION,
    AWS_ACCESS_KEY_ID: accessKeyId,
    AWS_SECRET_ACCESS_KEY: secretAccessKey,
    AWS_SESSION_TOKEN: sessionToken ?? '',
    STS_HOST: sts.host,
  })
  return { ...ran, got: ran.out === '' ? undefined : ran.out.trim() }
}
