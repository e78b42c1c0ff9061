// haproxy.cfg with the addresses of one cluster put in: what `holdfast quickstart --cluster` and the tests run.
import { readFileSync } from 'node:fs'

const shipped = new URL('./haproxy.cfg', import.meta.url)

/** A control node of this machine, by its ports. */
export type Backend = { readonly port: number; readonly nodePort: number; readonly healthPort: number }

export type BalancerOptions = {
  /** host:port at which clients come, and nodes. */
  readonly bind: string
  readonly nodeBind: string
  /** Where it comes from when it comes to the nodes, with a PROXY header; undefined: it tells no addresses of clients. */
  readonly source?: string
  /** Three. */
  readonly backends: readonly Backend[]
}

/** The text of a configuration. Throws when the shipped file is not what this was written for. */
export function balancerConfig({ bind, nodeBind, source, backends }: BalancerOptions): string {
  const put = (into: string, what: RegExp, by: string): string => {
    if (into.match(what)?.length !== 1) throw new Error(`the shipped configuration has not one ${what}`)
    return into.replace(what, by)
  }
  const sections = [
    { shown: 443, bind, of: (backend: Backend) => backend.port },
    { shown: 5432, bind: nodeBind, of: (backend: Backend) => backend.nodePort },
  ]
  const proxied = source === undefined ? '' : ` send-proxy-v2 source ${source}`
  let config = put(readFileSync(shipped, 'utf8'), / send-proxy-v2$/gm, proxied)
  for (const { shown, bind, of } of sections) {
    config = put(config, new RegExp(`bind :${shown}$`, 'gm'), `bind ${bind}`)
    for (const [i, backend] of backends.entries()) {
      const server = new RegExp(`(server node-${i + 1}) 10\\.0\\.0\\.1${i + 1}:${shown}$`, 'gm')
      config = put(config, server, `$1 127.0.0.1:${of(backend)} port ${backend.healthPort}`)
    }
  }
  return config
}
