// The clients: how each is fetched, and what it is asked to do.
import { cpSync } from 'node:fs'
import { join } from 'node:path'
import { goCommandLine, pythonCommandLine, summon } from './command-lines.ts'
import { adminOf, type Client, calls, nodesOf, prepared, settled } from './run.ts'

const sources = (name: string): string => new URL(`./${name}`, import.meta.url).pathname

const go: Client = {
  name: 'conjur-api-go',
  needs: [['go', 'version']],
  async run(run) {
    const { directory: cwd, env } = run
    cpSync(sources('go'), cwd, { recursive: true })
    const built = join(cwd, 'calls')
    await prepared(['go', 'build', '-o', built, '.'], { cwd, env })
    // It reads what it finds at home, too.
    await calls([built], { ...run, env: { ...env, HOME: cwd } })
    const listed = ['go', 'list', '-m', '-f', '{{.Version}}', 'github.com/cyberark/conjur-api-go']
    return (await prepared(listed, { cwd, env })).out.trim()
  },
}

const python: Client = {
  name: 'conjur-api-python',
  needs: [['python3', '-m', 'venv', '--help']],
  async run(run) {
    const { directory: cwd, env } = run
    await prepared(['python3', '-m', 'venv', 'venv'], { cwd, env })
    const own = join(cwd, 'venv', 'bin', 'python')
    await prepared([own, '-m', 'pip', 'install', '--quiet', 'conjur-api'], { cwd, env })
    await calls([own, join(sources('python'), 'client.py')], run)
    const shown = await prepared([own, '-m', 'pip', 'show', 'conjur-api'], { cwd, env })
    return /^Version: (.+)$/m.exec(shown.out)?.[1] ?? ''
  },
}

const java: Client = {
  name: 'conjur-api-java',
  needs: [
    ['java', '-version'],
    ['mvn', '--version'],
  ],
  async run(run) {
    const { directory: cwd, env } = run
    cpSync(sources('java'), cwd, { recursive: true })
    await prepared(['mvn', '-q', '-B', 'compile', 'dependency:copy-dependencies'], { cwd, env })
    const store = join(cwd, 'trust.jks')
    const trusted = ['keytool', '-importcert', '-noprompt', '-alias', 'holdfast', '-storepass', 'changeit']
    await prepared([...trusted, '-keystore', store, '-file', env.CONJUR_CERT_FILE!], { cwd, env })
    const admin = await adminOf(env)
    // It can read and set values, so what it reads is there before.
    await admin.loadPolicy(
      'root',
      '- !policy\n  id: java\n  body:\n  - !variable db/user\n  - !variable "odd a+b"\n  - !variable none\n',
    )
    const command = ['java', '-cp', 'target/classes:target/dependency/*', 'Client', store]
    for (const [node, url] of nodesOf(env)) {
      await settled(env)
      const token = join(cwd, `token-${node}`)
      const own = { CONJUR_APPLIANCE_URL: url, CONJUR_CLIENT_NODE: node, CONJUR_AUTHN_TOKEN_FILE: token }
      await calls(command, { ...run, env: { ...env, ...own } })
    }
    const listed = await prepared(['ls', join(cwd, 'target', 'dependency')], { cwd, env })
    return /conjur-api-([\d.]+)-with-dependencies\.jar/.exec(listed.out)?.[1] ?? ''
  },
}

export const clients: readonly Client[] = [go, python, java, pythonCommandLine, goCommandLine, summon]
