// haproxy.cfg with the addresses of one cluster put in: what `holdfast quickstart --cluster` and the tests run.
import { readFileSync } from 'node:fs'

const shipped = new URL('./haproxy.cfg', import.meta.url)

export type Backend = { readonly port: number; readonly healthPort: number }

export type BalancerOptions = {
  /** host:port at which clients come. */
  readonly bind: string
  /** Where it comes from when it comes to the nodes, with a PROXY header; undefined: it tells no addresses of clients. */
  readonly source?: string
  /** Of this machine; three. */
  readonly backends: readonly Backend[]
}

/** The text of a configuration. Throws when the shipped file is not what this was written for. */
export function balancerConfig({ bind, source, backends }: BalancerOptions): string {
  const put = (into: string, what: RegExp, by: string): string => {
    if (into.match(what)?.length !== 1) throw new Error(`the shipped configuration has not one ${what}`)
    return into.replace(what, by)
  }
  const withBind = put(readFileSync(shipped, 'utf8'), /bind :443$/gm, `bind ${bind}`)
  const proxied = source === undefined ? '' : ` send-proxy-v2 source ${source}`
  const withSource = put(withBind, / send-proxy-v2$/gm, proxied)
  return backends.reduce(
    (config, { port, healthPort }, i) =>
      put(
        config,
        new RegExp(`(server node-${i + 1}) 10\\.0\\.0\\.1${i + 1}:443$`, 'gm'),
        `$1 127.0.0.1:${port} port ${healthPort}`,
      ),
    withSource,
  )
}
