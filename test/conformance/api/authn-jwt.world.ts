// A provider, authenticators that trust it in every way there is, and hosts that they know.
import { certificatesFor } from '../../support/certificates.ts'
import { IdentityProvider } from '../../support/identity-provider.ts'
import { hostText } from './workloads.world.ts'
import { configured, settled, startWorld, type World } from './world.ts'

type Values = Readonly<Record<string, string | undefined>>

export type JwtWorld = {
  readonly world: World
  /** Its keys stand in variables too: cases leave them as they are. */
  readonly provider: IdentityProvider
  /** Another, whose keys are only fetched. */
  readonly fetched: IdentityProvider
  /** Over HTTPS, with a certificate that no runtime trusts by itself. */
  readonly secure: IdentityProvider
  stop(): Promise<void>
}

/** Variables by service; undefined: it exists and has no value. */
const servicesOf = (provider: IdentityProvider, fetched: IdentityProvider, secure: IdentityProvider) => {
  const text = JSON.stringify({ type: 'jwks', value: provider.keySet() })
  const given = { 'public-keys': text, issuer: provider.url }
  const named = { 'token-app-property': 'host', 'identity-path': 'apps' }
  const keys = { ...given, ...named }
  return {
    keys: { ...keys, audience: 'conjur' },
    login: given,
    'prod/gke': keys,
    jwks: { 'jwks-uri': `${fetched.jwksUri}\n`, issuer: fetched.url, ...named },
    provider: { 'provider-uri': fetched.url, ...named },
    hostname: { 'jwks-uri': fetched.jwksUri, ...named },
    secure: { 'jwks-uri': secure.jwksUri, issuer: secure.url, 'ca-cert': secure.ca, ...named },
    untrusted: { 'jwks-uri': secure.jwksUri, issuer: secure.url, ...named },
    nobody: { 'jwks-uri': `${fetched.url}/nothing`, issuer: fetched.url, ...named },
    nested: {
      ...given,
      'token-app-property': 'kube.io/pod/name',
      'identity-path': 'apps/',
      'enforced-claims': 'kube.io/ns, ref',
      'claim-aliases': 'zone:kube.io/ns',
    },
    renamed: { ...keys, 'claim-aliases': 'branch:project' },
    demanding: { ...keys, 'enforced-claims': 'project,ref' },
    reserved: { ...keys, 'enforced-claims': 'project,exp' },
    doubled: { ...keys, 'claim-aliases': 'a:project,a:ref' },
    unset: { ...keys, audience: undefined },
    unpathed: { ...given, 'token-app-property': '/host' },
    bare: { issuer: provider.url, ...named },
    both: { ...keys, 'jwks-uri': fetched.jwksUri },
    pinned: { ...keys, 'ca-cert': secure.ca },
    unnamed: { 'public-keys': text, ...named },
    broken: { ...keys, 'public-keys': '{"type":"jwks","value":{"keys":"x"}}' },
    off: keys,
  } satisfies Readonly<Record<string, Values>>
}
export type Service = keyof ReturnType<typeof servicesOf>

const serviceText = ([id, values]: [string, Values]): string => `
- !policy
  id: conjur/authn-jwt/${id}
  body:
  - !webservice
  - !group apps
  - !permit { role: !group apps, privilege: [ read, authenticate ], resource: !webservice }
${Object.keys(values)
  .map((name) => `  - !variable ${name}`)
  .join('\n')}
- !grant { role: !group conjur/authn-jwt/${id}/apps, member: !group workloads }`

function policyOf(services: Readonly<Record<string, Values>>): string {
  const everywhere = Object.keys(services).map((id) => [`authn-jwt/${id}/project`, 'seven'])
  const project = Object.fromEntries(everywhere) as Record<string, string>
  const { 'authn-jwt/nested/project': _, ...web } = project
  const hosts = [
    hostText('apps/web', { ...web, 'authn-jwt/project': 'ignored', 'authn-jwt/nested/ref': 'main' }),
    hostText('apps/kube', { 'authn-jwt/nested/zone': 'north', 'authn-jwt/nested/ref': 'main' }),
    hostText('apps/branch', { 'authn-jwt/renamed/branch': 'seven', 'authn-jwt/demanding/ref': 'main' }),
    hostText('apps/plain', {}),
    hostText('apps/general', { 'authn-jwt/project': 'seven', 'authn-jwt/jwks/project': 'seven' }),
    hostText('apps/eight', { 'authn-jwt/keys/project': 'eight' }),
    hostText('apps/half', { 'authn-jwt/keys/project': 'seven', 'authn-jwt/keys/ref': 'main' }),
    hostText('apps/empty', { 'authn-jwt/keys/project': '' }),
    hostText('apps/times', { 'authn-jwt/keys/exp': '7' }),
    hostText('apps/odd', { 'authn-jwt/keys/project id': 'seven' }),
    hostText('apps/far', project, ', restricted_to: 10.99.0.0/16'),
  ]
  const members = [
    'web',
    'kube',
    'branch',
    'plain',
    'general',
    'eight',
    'half',
    'empty',
    'times',
    'odd',
    'far',
  ]
  return `
- !group workloads
${Object.entries(services).map(serviceText).join('')}

${hosts.join('\n')}
${hostText('apps/stranger', project)}
- !user
  id: ursula
  annotations: { authn-jwt/login/project: seven }
- !group apps/crowd
- !grant
  role: !group workloads
  members: [ !user ursula, ${members.map((id) => `!host apps/${id}`).join(', ')} ]`
}

export async function startJwt(): Promise<JwtWorld> {
  const provider = await IdentityProvider.start()
  const fetched = await IdentityProvider.start()
  const secure = await IdentityProvider.start(await certificatesFor('127.0.0.1'))
  const world = await startWorld({
    env: { HOLDFAST_AUTHN_PRIVATE_NETWORKS: '127.0.0.1/32' },
    // A setting of each node.
    followerEnv: { CONJUR_AUTHN_JWT_IGNORE_MISSING_ISSUER_CLAIM: 'true' },
  })
  const services = servicesOf(provider, fetched, secure)
  const loaded = await world.admin.loadPolicy('root', policyOf(services))
  if (loaded.status !== 201) throw new Error(`the policy: ${loaded.status} ${await loaded.text()}`)
  for (const [id, values] of Object.entries(services))
    await configured(world.admin, 'authn-jwt', id, values, id !== 'off')
  await settled(world)
  return {
    world,
    provider,
    fetched,
    secure,
    async stop() {
      await world.machine.stop()
      for (const one of [provider, fetched, secure]) await one.goAway()
    },
  }
}
