// One owner for a folder of Postgres: two would end each other's server for ever.
import { once } from 'node:events'
import { readdir, readFile, readlink, realpath } from 'node:fs/promises'
import { createServer } from 'node:net'
import { DomainError } from '#shared/base/errors.ts'
import { sha256Hex } from '#shared/base/native-crypto.ts'
import type { Clock } from '#shared/base/time.ts'

/**
 * Claims a folder until the returned function is called. Throws `settings_invalid` when a living process has it.
 * The claim is a name in Linux's abstract socket namespace: the kernel gives it to one process, and takes it back
 * when that process ends, however it ends. A file would stay behind.
 */
export async function claim(folder: string): Promise<() => Promise<void>> {
  const holder = createServer((socket) => socket.destroy())
  holder.listen(`\0holdfast-postgres-${sha256Hex(await realpath(folder)).slice(0, 32)}`)
  try {
    await once(holder, 'listening')
  } catch (cause) {
    throw new DomainError('settings_invalid', `data_dir: another process is using ${folder}`, {
      target: 'data_dir',
      cause,
    })
  }
  holder.unref()
  return async () => {
    const closed = once(holder, 'close')
    holder.close()
    await closed
  }
}

const POLL_MS = 20
/** After this long an immediate shutdown was not heard, and the process is killed. */
const HEARD_WITHIN_MS = 10_000

type Ending = { readonly clock: Clock; readonly log: (message: string) => void }

/**
 * Ends a server of an earlier life, whose owner died without a word (where setpriv could not tie them together), and what
 * is left of one that was killed: its processes live on for moments, and one that ends a recovery in them would take away
 * what makes the next server begin in recovery (I4). Only for the process that has claimed the folder.
 */
export async function endOrphan(cluster: string, ending: Ending): Promise<void> {
  await endPostmaster(cluster, ending)
  for (let told = false; ; told = true) {
    const left = await processesIn(cluster)
    if (left.length === 0) return
    if (!told) ending.log(`ending what is left of an earlier Postgres: ${left.join(', ')}`)
    for (const pid of left) signal(pid, 'SIGKILL')
    await ending.clock.sleep(POLL_MS)
  }
}

async function endPostmaster(cluster: string, { clock, log }: Ending): Promise<void> {
  const pid = await postmasterPid(cluster)
  if (pid === undefined) return
  const since = clock.monotonic()
  let told = false
  while (await isServerOf(pid, cluster)) {
    const late = clock.monotonic() - since > HEARD_WITHIN_MS
    if (!told) log(`ending Postgres ${pid}, left by an earlier process`)
    if (!told || late) signal(pid, late ? 'SIGKILL' : 'SIGQUIT')
    told = true
    await clock.sleep(POLL_MS)
  }
}

/** Every process of Postgres works in the folder of its cluster; one that has ended works nowhere. */
async function processesIn(cluster: string): Promise<number[]> {
  const folder = await realpath(cluster)
  const pids = (await readdir('/proc')).map(Number).filter((pid) => pid > 0)
  const found = await Promise.all(
    pids.map(async (pid) => {
      const works = await readlink(`/proc/${pid}/cwd`).catch(() => '')
      const name = works === folder ? await readFile(`/proc/${pid}/comm`, 'utf8').catch(() => '') : ''
      return name === 'postgres\n'
    }),
  )
  return pids.filter((_, i) => found[i])
}

async function postmasterPid(cluster: string): Promise<number | undefined> {
  const text = await readFile(`${cluster}/postmaster.pid`, 'utf8').catch(() => '')
  const pid = Number(text.split('\n')[0])
  return pid > 0 ? pid : undefined
}

async function isServerOf(pid: number, cluster: string): Promise<boolean> {
  // A zombie has no command line any more, and another program's process names another folder.
  const command = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')
  return command.split('\0').includes(cluster)
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name)
  } catch (error) {
    // It ended by itself in between: what was wanted.
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}
