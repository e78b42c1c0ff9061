// The how-to pages, followed as their readers follow them: every block is run as it is written, in its order, against a Leader
// and a Follower. What is not Holdfast (GitHub, GitLab, a cluster, AWS) stands at the addresses that the pages take from
// variables.
import { mkdtempSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { IdentityProvider } from '../support/identity-provider.ts'
import { DOCS, type Env, sectionsOf, Terminal } from '../support/page.ts'
import {
  githubJob,
  gitlabJob,
  instance,
  kubectl,
  lambda,
  type Outcome,
  pod,
  program,
} from '../support/platforms.ts'
import { type Sts, startSts } from '../support/sts.ts'
import { settled, startWorld, type World } from './api/world.ts'

const pages = join(DOCS, 'how-to/')
const main = new URL('../../control-plane/cli/holdfast.js', import.meta.url).pathname

const rules = new URL('../../shared/authn/', import.meta.url).pathname
const written = readdirSync(rules, { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.ts'))
  .map((file) => readFileSync(join(rules, file), 'utf8'))
  .join()

let world: World
let sts: Sts
beforeAll(async () => {
  sts = await startSts()
  world = await startWorld({
    env: { HOLDFAST_AUTHN_PRIVATE_NETWORKS: '127.0.0.1/32', HOLDFAST_AUTHN_IAM_STS_URL: sts.url },
  })
})
afterAll(async () => {
  await world.machine.stop()
  await sts.close()
})

/** What a page is about: a provider that is not there yet, and workloads. */
type Story = {
  readonly page: string
  readonly service: string
  /** Keys of the provider are at this path too; undefined: it has none. */
  readonly keys?: string
  readonly env?: (provider: IdentityProvider, directory: string) => Env
  /** What the page has its reader see when the authenticator is on. */
  readonly isOn: string
  /** `stranger`: a workload like it, of whom the page has not told Holdfast. */
  readonly workloads: Readonly<
    Record<string, (at: Place, url: string, stranger: boolean) => Promise<Outcome>>
  >
  /** Why a stranger is refused. */
  readonly refused: RegExp
  /** What a workload shows of the password; default: itself. */
  readonly shows?: Readonly<Record<string, (password: string) => string>>
}
type Place = { readonly provider: IdentityProvider; readonly directory: string }

const github = {
  sub: 'repo:octo@583231/shop@1296269:ref:refs/heads/main',
  repository: 'octo/shop',
  repository_id: '1296269',
  repository_owner: 'octo',
  ref: 'refs/heads/main',
  ref_type: 'branch',
  event_name: 'push',
}
const gitlab = {
  sub: 'project_path:octo/shop:ref_type:branch:ref:main',
  project_path: 'octo/shop',
  project_id: '20',
  ref: 'main',
  ref_type: 'branch',
  ref_protected: 'true',
  runner_id: 1,
}

const stories: readonly Story[] = [
  {
    page: 'github-actions.md',
    service: 'authn-jwt/github',
    keys: '/.well-known/jwks',
    env: ({ url }) => ({ ISSUER: url }),
    isOn: '{"status":"ok"}',
    workloads: {
      job: ({ provider, directory }, HOLDFAST_URL, stranger) =>
        githubJob(
          provider,
          directory,
          { HOLDFAST_URL },
          { ...github, ...(stranger && { ref: 'refs/heads/try' }) },
        ),
    },
    refused: /host:github\/octo\/shop failed .*CONJ00049E .*'ref'/,
  },
  {
    page: 'gitlab-ci.md',
    service: 'authn-jwt/gitlab',
    keys: '/oauth/discovery/keys',
    env: ({ url }) => ({ ISSUER: url }),
    isOn: '{"status":"ok"}',
    workloads: {
      job: ({ provider, directory }, HOLDFAST_URL, stranger) =>
        gitlabJob(
          provider,
          directory,
          { HOLDFAST_URL },
          { ...gitlab, ...(stranger && { ref: 'try', ref_protected: 'false' }) },
        ),
    },
    refused: /host:gitlab\/octo\/shop failed .*CONJ00049E .*'ref_protected'/,
  },
  {
    page: 'kubernetes.md',
    service: 'authn-jwt/k8s',
    keys: '/openid/v1/jwks',
    env({ url }, directory) {
      program(join(directory, 'bin/kubectl'), kubectl(url, join(directory, 'told')))
      return { FOLLOWER_URL: world.machine.follower.url }
    },
    isOn: '{"status":"ok"}',
    workloads: {
      pod: ({ provider, directory }, url, stranger) =>
        pod(
          provider,
          directory,
          join(directory, 'told'),
          url === world.machine.follower.url ? {} : { HOLDFAST_URL: url },
          stranger ? 'other' : undefined,
        ),
    },
    refused: /CONJ00007E 'acme:host:k8s\/system:serviceaccount:shop:other' not found/,
  },
  {
    page: 'aws.md',
    service: 'authn-iam/aws',
    isOn: '"authn-iam/aws"',
    workloads: {
      'EC2 instance': ({ directory }, url, stranger) => {
        const [, command] = /`(sh read-secret\.sh [\w%-]+)`/.exec(readFileSync(`${pages}aws.md`, 'utf8'))!
        return instance(sts, directory, command!, url, stranger ? 'other' : 'shop-web')
      },
      'Lambda function': ({ directory }, url, stranger) =>
        lambda(sts, directory, url, stranger ? 'other' : 'shop-web'),
    },
    refused: /host:aws\/123456789012\/shop-web failed .*CONJ00063E .*is not the role that AWS names/,
    shows: { 'Lambda function': (password) => JSON.stringify({ characters: password.length }) },
  },
]

/** Resolves when so many refusals are collected: records of Followers come a little later than their answers. */
async function refusalsOf(service: string, count: number): Promise<void> {
  const wanted = `auth@43868/service=acme:webservice:conjur/${service}&action@43868/result=failure`
  const collected = async (): Promise<number> =>
    ((await (await world.admin.request('GET', `/audit?${wanted}`)).json()) as unknown[]).length
  while ((await collected()) < count) await new Promise((resolve) => setTimeout(resolve, 20))
}

describe.each(stories)('$page', (story) => {
  const sections = sectionsOf(join(pages, story.page))
  const followed = new Set<string>()
  let place: Place
  let terminal: Terminal
  let said: string
  let password: string

  const follow = (title: string): Promise<string> => {
    followed.add(title)
    return terminal.follow(sections.find((section) => section.title === title)!)
  }
  beforeAll(async () => {
    const directory = mkdtempSync(join(world.machine.directory, 'reader-'))
    const provider = await IdentityProvider.start()
    if (story.keys !== undefined) provider.answer(story.keys, () => ({ body: provider.keySet() }))
    program(join(directory, 'bin/holdfast'), `#!/bin/sh\nexec '${process.execPath}' '${main}' "$@"\n`)
    place = { provider, directory }
    terminal = new Terminal(directory, {
      PATH: `${join(directory, 'bin')}:${process.env.PATH}`,
      HOLDFAST_URL: world.machine.leader.url,
      HOLDFAST_API_KEY_FILE: join(world.machine.directory, 'leader/admin.key'),
      ...story.env?.(provider, directory),
    })
    said = ''
    for (const { title } of sections) if (/^\d\. /.test(title)) said += await follow(title)
    password = await (await world.admin.getSecret('shop/db-password')).text()
    await settled(world)
  })
  afterAll(async () => {
    terminal.close()
    await place.provider.goAway()
  })

  test('its steps end well, and print no API key', () => {
    expect(said).toContain(story.isOn)
    expect(said).not.toContain('api_key')
    expect(password).toMatch(/^[0-9a-f]{40}$/)
  })

  const workloads = Object.entries(story.workloads)
  describe.each(workloads)('%s', (name, start) => {
    test.each(['leader', 'follower'] as const)(
      'reads its secret at the %s; another does not',
      async (node) => {
        const { url } = world.machine[node]
        const ran = await start(place, url, false)
        expect(ran, ran.err).toMatchObject({ code: 0, got: (story.shows?.[name] ?? String)(password) })
        const other = await start(place, url, true)
        expect(other.code).not.toBe(0)
        expect(other.got).toBeUndefined()
        expect(other.err).toContain('401')
      },
    )
  })

  test('the audit says why, of both nodes', async () => {
    const refusals = workloads.length * 2
    await refusalsOf(story.service, refusals)
    const told = (await follow('When it is refused')).trim().split('\n')
    expect(told).toEqual(Array.from({ length: refusals }, () => expect.stringMatching(story.refused)))
  })

  test('what is taken away is refused', async () => {
    await follow('Rotate, and take away')
    await settled(world)
    for (const [, start] of workloads)
      for (const node of ['leader', 'follower'] as const) {
        const ran = await start(place, world.machine[node].url, false)
        expect(ran.err).toContain('401')
        expect(ran.got).toBeUndefined()
      }
  })

  test('every code that it explains is one that nodes write', () => {
    const explained = readFileSync(join(pages, story.page), 'utf8').match(/CONJ\d{5}E/g)!
    expect(explained.filter((code) => !written.includes(code))).toEqual([])
  })

  test('all of it was followed', () => {
    expect([...followed].sort()).toEqual(sections.map(({ title }) => title).sort())
  })
})
