// A login stands in tokens and a role in the data: one that came back as another would be another's identity (http-api 1).
import { describe, expect, test } from 'vitest'
import { loginOfRole, roleOfLogin } from '#shared/id/login.ts'
import { runSeed, seeded } from '../../../support/random.ts'

test.each([
  ['alice', 'acme:user:alice'],
  ['alice@team', 'acme:user:alice@team'],
  ['host/app/web', 'acme:host:app/web'],
  ['host/a:b', 'acme:host:a:b'],
  ['user/host/app', 'acme:user:host/app'],
])('%s is %s, and back', (login, role) => {
  expect(roleOfLogin('acme', login)).toBe(role)
  expect(loginOfRole(role)).toBe(login)
})

describe('any role', () => {
  test('comes back from its login, and two roles never share one', () => {
    const seed = runSeed('login')
    const random = seeded(seed)
    const roles = new Map<string, string>()
    for (let i = 0; i < 5_000; i++) {
      const identifier = Array.from({ length: random.int(1, 6) }, () =>
        random.pick(['a', 'b', '/', ':', 'user', 'host', '@', 'é']),
      ).join('')
      const role = `acme:${random.pick(['user', 'host', 'layer', 'group', 'policy'])}:${identifier}`
      const login = loginOfRole(role)
      expect(roleOfLogin('acme', login), `seed ${seed}, case ${i}`).toBe(role)
      expect(roles.get(login) ?? role, `seed ${seed}, case ${i}`).toBe(role)
      roles.set(login, role)
    }
  })
})
