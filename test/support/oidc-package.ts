// An OpenID provider that others have written and certified (npm: oidc-provider), and somebody who logs in there with a
// browser: forms, cookies and redirects.
import { once } from 'node:events'
import { createServer } from 'node:http'
import { exportJWK, generateKeyPair } from 'jose'
import Provider from 'oidc-provider'
import type { OidcClient } from './authorization-server.ts'
import { freePorts } from './nodes.ts'

export type OidcPackage = { readonly url: string; stop(): Promise<void> }

/** It wants PKCE of everybody. `preferred_username` of its id tokens is the name that was typed in. */
export async function startOidcPackage({ id, secret, redirectUri }: OidcClient): Promise<OidcPackage> {
  const [port] = await freePorts(1)
  const url = `http://127.0.0.1:${port}`
  const { privateKey } = await generateKeyPair('RS256', { extractable: true })
  const provider = new Provider(url, {
    clients: [{ client_id: id, client_secret: secret, redirect_uris: [redirectUri] }],
    jwks: { keys: [{ ...(await exportJWK(privateKey)), kid: 'one', alg: 'RS256', use: 'sig' }] },
    cookies: { keys: ['of a test'] },
    claims: { openid: ['sub'], profile: ['preferred_username'], email: ['email'] },
    conformIdTokenClaims: false,
    pkce: { required: () => true },
    ttl: { Interaction: 600, Session: 600, Grant: 600, AccessToken: 600, IdToken: 600 },
    findAccount: (_: unknown, name: string) => ({
      accountId: name,
      claims: () => ({ sub: name, preferred_username: name }),
    }),
  })
  const server = createServer(provider.callback()).listen(port, '127.0.0.1')
  await once(server, 'listening')
  return {
    url,
    async stop() {
      const closed = once(server, 'close')
      server.close()
      server.closeAllConnections()
      await closed
    },
  }
}

/** Where the browser is sent at the end, which is not asked. */
export async function logInWithBrowser(from: string, name: string, redirectUri: string): Promise<URL> {
  const cookies = new Map<string, string>()
  let url = from
  let form: URLSearchParams | undefined
  for (;;) {
    const cookie = [...cookies].map((pair) => pair.join('=')).join('; ')
    const posted = form === undefined ? {} : { method: 'POST', body: form }
    const response = await fetch(url, { ...posted, redirect: 'manual', headers: { Cookie: cookie } })
    const page = await response.text()
    for (const line of response.headers.getSetCookie()) {
      const [, key, value] = /^([^=]+)=([^;]*)/.exec(line)!
      cookies.set(key!, value!)
    }
    const location = response.headers.get('location')
    const filled = /<form[^>]* action="([^"]+)"[\s\S]*name="prompt" value="(\w+)"/.exec(page)
    if (location?.startsWith(redirectUri)) return new URL(location)
    if (location === null && filled === null) throw new Error(`${url}: ${response.status} ${page}`)
    form =
      location === null ? new URLSearchParams({ prompt: filled![2]!, login: name, password: 'x' }) : undefined
    url = new URL(location ?? filled![1]!, url).href
  }
}
