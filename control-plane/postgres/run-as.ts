// Postgres refuses to run as root, and must not outlive the process that owns it.
import { spawnSync } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { DomainError } from '#shared/base/errors.ts'

/** How Postgres is started here. */
export type RunAs = {
  /** Words that go before a Postgres command. */
  readonly prefix: readonly string[]
  /** The user that must own the data, when it is not ours. */
  readonly owner: { readonly name: string; readonly uid: number; readonly gid: number } | undefined
}

const works = (command: readonly string[]): boolean =>
  spawnSync(command[0]!, [...command.slice(1), 'true'], { stdio: 'ignore' }).status === 0

/** The kernel ends Postgres at once when its owner dies, however it dies. */
const WITH_PARENT = ['--pdeathsig', 'SIGQUIT', '--']

/**
 * As root, the first that works here:
 * - a user namespace in which we are user 1000: data and programs may lie anywhere that root can reach, and
 *   files keep their owner;
 * - a system user without privileges, where namespaces are forbidden (containers): data and programs must lie
 *   where that user can reach them.
 */
export async function findRunAs(namespaces = true): Promise<RunAs> {
  if (process.getuid?.() !== 0) {
    const tied = ['setpriv', ...WITH_PARENT]
    return { prefix: works(tied) ? tied : [], owner: undefined }
  }
  const namespace = ['unshare', '--user', '--map-user=1000', '--map-group=1000', '--']
  if (namespaces && works(namespace)) {
    const tied = [...namespace, 'setpriv', ...WITH_PARENT]
    return { prefix: works(tied) ? tied : namespace, owner: undefined }
  }
  const owner = await unprivilegedUser()
  if (owner !== undefined) {
    const ids = [`--reuid=${owner.uid}`, `--regid=${owner.gid}`, '--clear-groups', '--no-new-privs']
    const prefix = ['setpriv', ...ids, ...WITH_PARENT]
    if (works(prefix)) return { prefix, owner }
  }
  throw new DomainError(
    'settings_invalid',
    'Postgres cannot run as root, and this system allows neither user namespaces nor another user: start holdfast as another user',
  )
}

/** initdb wants a user that has a name. */
async function unprivilegedUser(): Promise<RunAs['owner']> {
  const lines = (await readFile('/etc/passwd', 'utf8').catch(() => '')).split('\n')
  for (const name of ['postgres', 'nobody']) {
    const fields = lines.map((line) => line.split(':')).find((line) => line[0] === name)
    const [uid, gid] = [Number(fields?.[2]), Number(fields?.[3])]
    if (uid > 0 && gid > 0) return { name, uid, gid }
  }
  return undefined
}
