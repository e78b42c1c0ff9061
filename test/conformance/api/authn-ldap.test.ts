// People authenticate by their directory (http-api 8.1, 8.3), on a real one.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { certificatesFor } from '../../support/certificates.ts'
import { freePorts } from '../../support/nodes.ts'
import { AUTHENTICATORS, blockOf } from '../../support/page.ts'
import { findSlapd, type Slapd, SUFFIX, startSlapd } from '../../support/slapd.ts'
import {
  type Answered,
  answered,
  atTheEdge,
  basic,
  recordsOf,
  settled,
  startWorld,
  unauthorized,
  type World,
} from './world.ts'

const person = (dn: string, uid: string, password: string, more = '') => `
dn: ${dn}
objectClass: inetOrgPerson
objectClass: posixAccount
cn: ${uid}
sn: ${uid}
uid: ${uid}
uidNumber: 1000
gidNumber: 1000
homeDirectory: /
userPassword: ${password}
${more}`
const unit = (dn: string, name: string) => `
dn: ${dn}
objectClass: organizationalUnit
ou: ${name}
`
const account = (name: string, more = '') => `
dn: cn=${name},${SUFFIX}
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: ${name}
userPassword: pw of ${name}
${more}`
const LOCKED = 'pwdAccountLockedTime: 000001010000Z\n'
const PEOPLE = `ou=people,${SUFFIX}`
const entries = [
  `dn: ${SUFFIX}\nobjectClass: domain\ndc: example\n`,
  unit(PEOPLE, 'people'),
  person(`uid=alice,${PEOPLE}`, 'alice', 'of alice: 1'),
  person(`uid=admin,${PEOPLE}`, 'admin', 'of admin'),
  person(`uid=locked,${PEOPLE}`, 'locked', 'of locked', LOCKED),
  person(`uid=far,${PEOPLE}`, 'far', 'of far'),
  person(`uid=carol,${PEOPLE}`, 'carol', 'of carol'),
  person(`uid=bj\\C3\\B6rn,${PEOPLE}`, 'björn', 'pässwörd €'),
  unit(`ou=twice,${SUFFIX}`, 'twice'),
  person(`cn=one,ou=twice,${SUFFIX}`, 'alice', 'of alice: 1', 'cn: one\n'),
  person(`cn=two,ou=twice,${SUFFIX}`, 'alice', 'of alice: 1', 'cn: two\n'),
  unit(`ou=single,${SUFFIX}`, 'single'),
  person(`uid=only,ou=single,${SUFFIX}`, 'only', 'of only'),
  `dn: cn=policy,${SUFFIX}\nobjectClass: device\nobjectClass: pwdPolicy\ncn: policy\npwdAttribute: userPassword\npwdLockout: TRUE\n`,
  account('searcher'),
  account('disabled', LOCKED),
].join('\n')

/** Where there is no way to it, unless it was refused before. */
const UNREACHED = 'a Worker reaches no directory|the directory cannot be asked'

const slapd = findSlapd()
const ODD = ['*', ')(uid=*', 'only)(cn=*', '\\\\2a', 'o*y']

/** A service with its annotations and variables. */
const service = (
  id: string,
  annotations: Readonly<Record<string, string | number>>,
  ...variables: readonly string[]
) => `
- !policy
  id: ${id}
  body:
  - !webservice
    annotations:
      description: A directory
${Object.entries(annotations)
  .map(([name, value]) => `      ldap-authn/${name}: ${JSON.stringify(String(value))}`)
  .join('\n')}
${variables.map((name) => `  - !variable ${name}`).join('\n')}
  - !permit { role: !group /people, privileges: [ authenticate ], resource: !webservice }`

/** At the ports nobody listens. */
async function noDirectory(): Promise<Slapd> {
  const [port, tlsPort] = (await freePorts(2)) as [number, number]
  return {
    port,
    tlsPort,
    tls: await certificatesFor('127.0.0.1'),
    log: () => '',
    stop: async () => undefined,
  }
}

function policyFor({ port, tlsPort }: Slapd): string {
  const common = { base_dn: PEOPLE, bind_dn: `cn=searcher,${SUFFIX}` }
  const at = { host: '127.0.0.1', port, ...common }
  const corp = (
    id: string,
    annotations: Readonly<Record<string, string | number>>,
    ...more: readonly string[]
  ) => service(`conjur/authn-ldap/${id}`, annotations, 'bind-password', ...more)
  return `
- !group people
${['alice', 'locked', 'far', 'carol', 'björn', 'nobody', 'only', ...ODD]
  .map((id) => `- !user { id: ${JSON.stringify(id)}${id === 'far' ? ', restricted_to: 10.99.0.0/16' : ''} }`)
  .join('\n')}
- !grant { role: !group people, members: [ !user admin, ${[
    'alice',
    'locked',
    'far',
    'björn',
    'nobody',
    'only',
    ...ODD,
  ]
    .map((id) => `!user ${JSON.stringify(id)}`)
    .join(', ')} ] }
${corp('plain', at)}
${corp('tls', { ...at, connect_type: 'tls' }, 'tls-ca-cert')}
${corp('ssl', { uri: `ldaps://127.0.0.1:${tlsPort}`, ...common }, 'tls-cert')}
${corp('distrusted', { ...at, connect_type: 'tls' }, 'tls-ca-cert')}
${corp('unknown-ca', { ...at, port: tlsPort, connect_type: 'ssl' })}
${corp('clear-to-tls', { ...at, port: tlsPort })}
${corp('twice', { ...at, base_dn: `ou=twice,${SUFFIX}` })}
${corp('single', { ...at, base_dn: `ou=single,${SUFFIX}` })}
${corp('disabled', { ...at, bind_dn: `cn=disabled,${SUFFIX}` })}
${corp('wrong-password', at)}
${corp('no-base', { ...at, base_dn: 'dc=none' })}
${corp('everybody', { ...at, filter_template: '(uid=only)', base_dn: `ou=single,${SUFFIX}` })}
${corp('by-cn', { ...at, filter_template: '(|(cn=%s)(mail=%s))' })}
${corp('unreadable', { ...at, filter_template: '(uid=%s' })}
${corp('private', { ...at, host: '10.255.255.1' })}
${corp('odd-port', { ...at, port: 'x' })}
${corp('odd-type', { ...at, connect_type: 'starttls' })}
${corp('off', at)}
${service('conjur/authn-ldap/anonymous', { host: '127.0.0.1', port })}
${service('conjur/authn-ldap/elsewhere', { host: '127.0.0.1', port, bind_dn: `cn=searcher,${SUFFIX}` })}
${service('conjur/authn-ldap/own', {})}
${service('conjur/authn-ldap', at, 'bind-password')}
`
}

const services = (text: string): string[] =>
  [...text.matchAll(/id: conjur\/(authn-ldap(?:\/[\w-]+)?)$/gm)].map(([, name]) => name!)

/** As the runtime calls it. */
const NOT_TRUSTED = /cannot be asked \([A-Z_]*(SELF_SIGNED|CERT|VERIFY|ISSUER)[A-Z_]*\)/

describe(`authn-ldap${slapd === undefined ? ' (there is no slapd: what needs one is skipped)' : ''}`, () => {
  let ldap: Slapd
  let world: World
  let keys: ReadonlyMap<string, string>
  beforeAll(async () => {
    ldap = await (slapd === undefined ? noDirectory() : startSlapd(slapd, entries))
    world = await startWorld({
      env: {
        HOLDFAST_AUTHN_PRIVATE_NETWORKS: '127.0.0.0/8',
        LDAP_URI: `ldap://127.0.0.1:${ldap.port}`,
        LDAP_BASE: PEOPLE,
        LDAP_BINDDN: `cn=searcher,${SUFFIX}`,
        LDAP_BINDPW: 'pw of searcher',
      },
    })
    const policy = policyFor(ldap)
    const [status, loaded] = await answered(world.admin.loadPolicy('root', policy))
    if (status !== 201) throw new Error(JSON.stringify(loaded))
    const { created_roles } = loaded as { created_roles: Record<string, { api_key: string }> }
    keys = new Map(Object.entries(created_roles).map(([id, { api_key }]) => [id, api_key]))
    const others = await certificatesFor('127.0.0.1')
    const special: Readonly<Record<string, string>> = {
      'authn-ldap/disabled/bind-password': 'pw of disabled',
      'authn-ldap/wrong-password/bind-password': 'another',
      'authn-ldap/tls/tls-ca-cert': ldap.tls.ca,
      'authn-ldap/ssl/tls-cert': ldap.tls.ca,
      'authn-ldap/distrusted/tls-ca-cert': others.ca,
    }
    for (const name of services(policy)) {
      const variable = `${name}/bind-password`
      await world.admin.setSecret(`conjur/${variable}`, special[variable] ?? 'pw of searcher')
      if (name === 'authn-ldap/off') continue
      const on = world.admin.request('PATCH', `/${name}/acme`, { body: 'enabled=true' })
      expect((await on).status).toBe(204)
    }
    for (const [id, value] of Object.entries(special)) await world.admin.setSecret(`conjur/${id}`, value)
    await settled(world)
  })
  afterAll(async () => {
    await world?.machine.stop()
    await ldap?.stop()
  })

  const keyOf = (login: string): string => keys.get(`acme:user:${login}`)!
  let requests = 0
  const authenticate = async (
    node: 'leader' | 'follower',
    login: string,
    secret: string,
    at = 'plain/',
  ): Promise<{ got: Answered; said: () => Promise<string> }> => {
    const id = `ldap-${++requests}`
    const path = `/authn-ldap/${at}acme/${encodeURIComponent(login)}/authenticate`
    const url = world.machine[node].url + path
    const headers = { 'X-Request-Id': id }
    const got = await answered(fetch(url, { method: 'POST', body: secret, headers }))
    return { got, said: async () => (await recordsOf(world, id))[0]?.message ?? '' }
  }
  const logIn = (node: 'leader' | 'follower', login: string, secret: string, at = 'plain/', id = '') =>
    answered(
      fetch(`${world.machine[node].url}/authn-ldap/${at}acme/login`, {
        headers: { ...utf8Basic(login, secret), 'X-Request-Id': id || `ldap-${++requests}` },
      }),
    )
  const utf8Basic = (login: string, secret: string) => ({
    Authorization: `Basic ${Buffer.from(`${login}:${secret}`).toString('base64')}`,
  })

  describe.each(['leader', 'follower'] as const)('at the %s', (node) => {
    // The platform's exception: a Worker reaches no directory, and takes API keys only.
    const isWorker = atTheEdge && node === 'follower'
    const reaches = slapd !== undefined && !isWorker
    const refusedWith = async (login: string, secret: string, at: string, why: RegExp) => {
      const { got, said } = await authenticate(node, login, secret, `${at}/`)
      expect(got).toEqual(unauthorized)
      expect(await said()).toMatch(reaches ? why : new RegExp(`${why.source}|${UNREACHED}`))
      expect(await logIn(node, login, secret, `${at}/`)).toEqual(unauthorized)
    }

    test.skipIf(!reaches).each(['plain', 'tls', 'ssl', 'own', 'by-cn', 'anonymous'])(
      'a password is proof, and a login tells the API key: %s',
      async (at) => {
        const { got, said } = await authenticate(node, 'alice', 'of alice: 1', `${at}/`)
        expect(got[0]).toBe(200)
        expect(await said()).toBe(
          'acme:user:alice successfully authenticated with authenticator authn-ldap service ' +
            `acme:webservice:conjur/authn-ldap/${at}`,
        )
        const id = `ldap-${node}-login-${at}`
        expect(await logIn(node, 'alice', 'of alice: 1', `${at}/`, id)).toEqual([200, keyOf('alice')])
        expect(await recordsOf(world, id)).toMatchObject([
          {
            sdata: {
              'subject@43868': { role: 'acme:user:alice' },
              'action@43868': { operation: 'login', result: 'success' },
            },
            message:
              'acme:user:alice successfully logged in with authenticator authn-ldap service ' +
              `acme:webservice:conjur/authn-ldap/${at}`,
          },
        ])
      },
    )

    test.runIf(isWorker)('a Worker reaches no directory, and the audit says so', async () => {
      const { got, said } = await authenticate(node, 'alice', 'of alice: 1')
      expect(got).toEqual(unauthorized)
      expect(await said()).toMatch('CONJ00002E a Worker reaches no directory')
    })

    test.skipIf(!reaches)('a token is one of theirs', async () => {
      const { got } = await authenticate(node, 'alice', 'of alice: 1')
      const Authorization = `Token token="${btoa(JSON.stringify(got[1]))}"`
      const who = fetch(`${world.machine[node].url}/whoami`, { headers: { Authorization } })
      expect(await answered(who)).toMatchObject([200, { username: 'alice' }])
    })

    test.skipIf(!reaches)('letters of any language', async () => {
      expect((await authenticate(node, 'björn', 'pässwörd €')).got[0]).toBe(200)
      expect(await logIn(node, 'björn', 'pässwörd €')).toEqual([200, keyOf('björn')])
      expect((await authenticate(node, 'björn', 'pässwörd')).got).toEqual(unauthorized)
    })

    test('the API key is taken as well, and asks no directory', async () => {
      const before = ldap.log()
      for (const at of ['plain/', 'twice/', 'distrusted/', ''])
        expect((await authenticate(node, 'alice', keyOf('alice'), at)).got[0]).toBe(200)
      expect(await logIn(node, 'alice', keyOf('alice'))).toEqual([200, keyOf('alice')])
      expect(ldap.log()).toBe(before)
      await refusedWith('alice', keyOf('carol'), 'plain', /CONJ00002E .*refuses the password \(49\)/)
    })

    test('without a service id', async () => {
      expect(await logIn(node, 'alice', keyOf('alice'), '')).toEqual([200, keyOf('alice')])
      expect(await logIn(node, 'alice', 'wrong', '')).toEqual(unauthorized)
      expect(await logIn(node, 'carol', 'of carol', '')).toEqual([403, ''])
      expect((await authenticate(node, 'alice', 'wrong', '')).got).toEqual(unauthorized)
      expect((await authenticate(node, 'carol', 'of carol', '')).got).toEqual([403, ''])
      if (reaches) expect((await authenticate(node, 'alice', 'of alice: 1', '')).got[0]).toBe(200)
    })

    test('wrong passwords, and those that are none', async () => {
      await refusedWith('alice', 'of alice', 'plain', /CONJ00002E .*refuses the password \(49\)/)
      await refusedWith('locked', 'of locked', 'plain', /CONJ00002E .*refuses the password \(49\)/)
      await refusedWith('nobody', 'x', 'plain', /CONJ00002E .*no entry of the directory/)
      // This directory answers a bind with a name and no password with success.
      for (const none of ['', ' ', '\0', 'of alice: 1\0'])
        await refusedWith('alice', none, 'plain', /CONJ00002E .*the password is empty/)
    })

    test('a login is a value, whatever stands in it', async () => {
      for (const odd of ODD) {
        await refusedWith(odd, 'of only', 'single', /CONJ00002E .*no entry of the directory/)
        await refusedWith(odd, 'of alice: 1', 'by-cn', /CONJ00002E .*no entry of the directory/)
      }
      if (reaches) expect((await authenticate(node, 'only', 'of only', 'single/')).got[0]).toBe(200)
    })

    test('one entry, or none', async () => {
      await refusedWith('alice', 'of alice: 1', 'twice', /CONJ00002E .*more than one entry/)
      await refusedWith('alice', 'of only', 'everybody', /CONJ00036E .*does not hold %s/)
    })

    test('the account that searches has to be let in', async () => {
      await refusedWith('alice', 'of alice: 1', 'disabled', /account that searches \(49\)/)
      await refusedWith('alice', 'of alice: 1', 'wrong-password', /account that searches \(49\)/)
    })

    test('the password of the operator is sent to the directory of the operator only', async () => {
      const before = ldap.log()
      await refusedWith('alice', 'of alice: 1', 'elsewhere', /CONJ00037E .*elsewhere\/bind-password/)
      expect(ldap.log()).toBe(before)
    })

    test('a directory that nobody vouches for hears no password', async () => {
      const before = ldap.log().length
      await refusedWith('alice', 'of alice: 1', 'distrusted', NOT_TRUSTED)
      await refusedWith('alice', 'of alice: 1', 'unknown-ca', NOT_TRUSTED)
      expect(ldap.log().slice(before)).not.toMatch('BIND')
    })

    test.skipIf(!reaches)('nothing is said before TLS', async () => {
      const before = ldap.log().length
      expect((await authenticate(node, 'alice', 'of alice: 1', 'tls/')).got[0]).toBe(200)
      const said = ldap.log().slice(before)
      expect(said.indexOf('TLS established')).toBeGreaterThan(said.indexOf('STARTTLS'))
      expect(said.indexOf('BIND')).toBeGreaterThan(said.indexOf('TLS established'))
    })

    test.each<[string, RegExp]>([
      ['clear-to-tls', /cannot be asked/],
      ['private', /its address is no public one/],
      ['no-base', /answers the search with 32/],
      ['unreadable', /cannot be asked/],
      ['odd-port', /CONJ00036E .*ldap-authn\/port/],
      ['odd-type', /CONJ00036E .*ldap-authn\/connect_type/],
    ])('a webservice that is set up wrongly: %s', async (at, why) => {
      await refusedWith('alice', 'of alice: 1', at, why)
    })

    test('admin is not let in, by whatever name', async () => {
      const secrets = ['of admin', world.machine.adminKey()]
      for (const login of ['admin', 'user/admin'])
        for (const secret of secrets) await refusedWith(login, secret, 'plain', /CONJ00017E/)
    })

    test('who may not, from where, and where it is off', async () => {
      const carol = await authenticate(node, 'carol', 'of carol')
      expect(carol.got).toEqual([403, ''])
      expect(await carol.said()).toMatch('CONJ00006E')
      expect(await logIn(node, 'carol', 'of carol')).toEqual([403, ''])
      const far = await authenticate(node, 'far', keyOf('far'))
      expect(far.got).toEqual(unauthorized)
      expect(await far.said()).toMatch('CONJ00003E')
      // Not looked at by a login (http-api 8.1).
      expect(await logIn(node, 'far', keyOf('far'))).toEqual([200, keyOf('far')])
      await refusedWith('stranger', 'x', 'plain', /CONJ00007E/)
      await refusedWith('alice', 'of alice: 1', 'off', /CONJ00004E/)
      await refusedWith('alice', 'of alice: 1', 'none-such', /CONJ00004E/)
    })

    test('credentials that are none', async () => {
      const url = `${world.machine[node].url}/authn-ldap/plain/acme/login`
      for (const headers of [
        {},
        basic('', ''),
        { Authorization: 'Basic !' },
        { Authorization: 'Basic YQ==' },
      ])
        expect(await answered(fetch(url, { headers }))).toEqual(unauthorized)
      const { authorization: Authorization } = world.web
      expect(await answered(fetch(url, { headers: { Authorization } }))).toEqual(unauthorized)
      const other = answered(fetch(url.replace('acme', 'other'), { headers: basic('alice', keyOf('alice')) }))
      expect(await other).toEqual(unauthorized)
    })
  })

  test('the policy of the page is one', async () => {
    expect((await answered(world.admin.loadPolicy('root', blockOf(AUTHENTICATORS, 'LDAP', 'yaml'))))[0]).toBe(
      201,
    )
    const [, webservice] = await answered(
      world.admin.request('GET', '/resources/acme/webservice/conjur%2Fauthn-ldap%2Fcorp'),
    )
    const value = '(&(objectClass=person)(sAMAccountName=%s))'
    expect(webservice).toMatchObject({
      annotations: expect.arrayContaining([
        expect.objectContaining({ name: 'ldap-authn/filter_template', value }),
      ]),
    })
  })

  test('the password of the operator is shown nowhere', async () => {
    for (const node of ['leader', 'follower'] as const)
      expect(await (await fetch(`${world.machine[node].url}/info`)).text()).not.toMatch('pw of searcher')
    expect(`${world.machine.leader.log}${world.machine.follower.log}`).not.toMatch('pw of searcher')
  })

  test('what is left while the Leader is away, and then the directory', async () => {
    await world.machine.leader.kill()
    const password = () => authenticate('follower', 'alice', 'of alice: 1', 'tls/')
    const key = () => authenticate('follower', 'alice', keyOf('alice'), 'tls/')
    expect((await password()).got[0]).toBe(atTheEdge || slapd === undefined ? 401 : 200)
    expect((await key()).got[0]).toBe(200)
    await ldap.stop()
    expect((await password()).got).toEqual(unauthorized)
    expect((await key()).got[0]).toBe(200)
    expect(await logIn('follower', 'alice', keyOf('alice'))).toEqual([200, keyOf('alice')])
  })
})
