// A UNIX socket that only its owner may open.
import { existsSync, lstatSync, rmSync } from 'node:fs'
import { connect, type Server } from 'node:net'

/** Makes it for `server`. `taken` says why it cannot be: its path is a file, or somebody listens there. */
export async function listenPrivately(
  server: Server,
  path: string,
  taken: (what: string, cause?: unknown) => Error,
): Promise<void> {
  await mustBeFree(path, taken)
  // The socket is made within `listen`, with the rights that are left: its owner's.
  const before = process.umask(0o177)
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(path, resolve)
      process.umask(before)
    })
  } catch (cause) {
    throw taken('cannot be made', cause)
  } finally {
    process.umask(before)
  }
}

/** A socket that a killed process has left behind is removed. */
async function mustBeFree(path: string, taken: (what: string) => Error): Promise<void> {
  if (!existsSync(path)) return
  if (!lstatSync(path).isSocket()) throw taken('is a file: give another path')
  const inUse = await new Promise<boolean>((resolve) => {
    const probe = connect(path)
    probe.once('connect', () => {
      probe.destroy()
      resolve(true)
    })
    probe.once('error', () => resolve(false))
  })
  if (inUse) throw taken('is in use by another process')
  rmSync(path)
}
