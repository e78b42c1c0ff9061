// Where a Leader and a Follower at the edge may dial each other: whoever dials shows a bearer there.

const isLoopback = (host: string): boolean => /^(localhost|127(\.\d+){3}|\[::1\])$/.test(host)

export const isLoopbackUrl = (url: string): boolean => isLoopback(URL.parse(url)?.hostname ?? '')

/** All on the way could read the bearer. */
export const isInClear = ({ protocol, hostname }: URL): boolean =>
  protocol === 'http:' && !isLoopback(hostname)

/** What is wrong with the URL of a Follower that is dialled; undefined when nothing is. Names nothing of what it holds. */
export function edgeUrlFault(text: string): string | undefined {
  const url = URL.parse(text)
  if (url === null || !/^https?:$/.test(url.protocol) || url.search !== '' || url.hash !== '')
    return 'the URL of an edge Follower must be of the form https://host'
  if (url.username !== '' || url.password !== '')
    return 'the URL of an edge Follower must hold no user: it is known by its bearer'
  if (isInClear(url))
    return 'the URL of an edge Follower must begin with https: its bearer would be sent in clear'
  return undefined
}
