// `holdfast seed follower --edge`: what Followers without a file system need, as the lines that give it to Cloudflare.

import { isLoopbackUrl } from '#shared/enrolment/edge-url.ts'
import { sessionOf } from '../client.ts'
import { print } from '../output.ts'
import { call, type Flags } from './api.ts'

export type EdgeFlags = Flags & {
  readonly replicationSet?: string
  readonly serviceRole?: string
  readonly regions?: string
  readonly dial?: string
  readonly leaderUrl?: string
  readonly dataKeyFile?: string
}

type Enrolled = {
  readonly node: string
  readonly followers: readonly string[]
  readonly account: string
  readonly bearer: string
}

export async function makeEdgeSeed(name: string, flags: EdgeFlags): Promise<void> {
  const given = Object.entries({
    follower_hostname: name,
    replication_set: flags.replicationSet,
    service_role: flags.serviceRole,
    edge: 'true',
    regions: flags.regions,
    dialled_at: flags.dial,
  }).filter((pair): pair is [string, string] => pair[1] !== undefined)
  const body = Buffer.from(new URLSearchParams(given).toString())
  const text = await call(flags, 'POST', (account) => `/configuration/${account}/seed/follower`, body)
  const enrolled = JSON.parse(text) as Enrolled
  const leaderUrl = flags.leaderUrl ?? (await sessionOf(flags, process.env)).url
  print(flags.json ?? false, enrolled, linesFor(enrolled, { ...flags, leaderUrl }).join('\n'))
}

/** Secrets go through pipes and files alone: `printf` is a part of the shell, so no process has one among its arguments. */
function linesFor(
  { node, followers, account, bearer }: Enrolled,
  flags: EdgeFlags & { readonly leaderUrl: string },
) {
  const file = flags.dataKeyFile ?? process.env.HOLDFAST_DATA_KEY_FILE ?? 'data.key'
  const link =
    flags.dial === undefined
      ? { HOLDFAST_LINK: 'object', HOLDFAST_LEADER_URL: flags.leaderUrl }
      : { HOLDFAST_LINK: 'leader' }
  const crowd = flags.regions === undefined ? {} : { HOLDFAST_REGIONS: flags.regions }
  const worker = `--name ${workerName(node)}`
  const variables = Object.entries({ HOLDFAST_NAME: node, HOLDFAST_ACCOUNT: account, ...crowd, ...link })
  return [
    `# ${followers.length === 1 ? 'Follower' : 'Followers'} ${followers.join(', ')} at the edge. Give these lines to sh in a copy of holdfast, where "npx wrangler login" was done.`,
    '# The bearer is shown this once, and the Leader knows it from now on: keep it as you keep a password.',
    `printf '%s' ${quoted(bearer)} | npx wrangler secret put HOLDFAST_BEARER ${worker}`,
    '# The data key, from the file of the Leader’s data_key_file:',
    `npx wrangler secret put HOLDFAST_DATA_KEY ${worker} < ${quoted(file)}`,
    '# Every later deploy of this Worker is this line too: wrangler.toml has other variables.',
    `npx wrangler deploy ${worker} ${variables.map(([key, value]) => `--var ${quoted(`${key}:${value}`)}`).join(' ')}`,
    ...(flags.dial === undefined && isLoopbackUrl(flags.leaderUrl)
      ? [
          `# ${flags.leaderUrl} is this machine, which nobody at Cloudflare reaches: ask again with --leader-url.`,
        ]
      : []),
    flags.dial === undefined
      ? '# It begins to dial at the first request, at the address that wrangler has printed:'
      : `# The Leader dials ${flags.dial} from now on, at least every half minute. To see how it is:`,
    ...followers.map(
      (name) =>
        `#   curl -H 'Holdfast-Follower: ${name}' ${flags.dial?.replace(/\/$/, '') ?? 'https://HOST'}/health`,
    ),
  ]
}

/** Of its own for each seed: secrets and variables are a Worker's. As Cloudflare allows them. */
const workerName = (node: string): string =>
  `holdfast-${node.toLowerCase().replaceAll(/[^a-z0-9-]/g, '-')}`.slice(0, WORKER_NAME_CHARS)

const WORKER_NAME_CHARS = 63

/** For a POSIX shell. */
const quoted = (text: string): string =>
  /^[\w./:@-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`
