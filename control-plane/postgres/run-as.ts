// Postgres refuses to run as root, and must not outlive the process that owns it.
import { spawnSync } from 'node:child_process'

const works = (command: string, ...args: readonly string[]): boolean =>
  spawnSync(command, args, { stdio: 'ignore' }).status === 0

/**
 * Words that go before a Postgres command. As root: a user namespace in which we are user 1000, so that data
 * and programs may lie anywhere that root can reach and files keep their owner. With setpriv, the kernel ends
 * Postgres at once when its owner dies, however it dies.
 */
export function commandPrefix(): readonly string[] {
  const root = process.getuid?.() === 0
  const namespace = ['unshare', '--user', '--map-user=1000', '--map-group=1000', '--']
  const withParent = ['setpriv', '--pdeathsig', 'SIGQUIT', '--']
  const prefix = root ? namespace : []
  if (root && !works(namespace[0]!, ...namespace.slice(1), 'true')) {
    throw new Error(
      'Postgres cannot run as root, and this system allows no user namespaces: start holdfast as another user',
    )
  }
  const both = [...prefix, ...withParent]
  return works(both[0]!, ...both.slice(1), 'true') ? both : prefix
}
