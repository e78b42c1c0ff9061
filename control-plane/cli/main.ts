// The one program: every command of Holdfast.
import { Command } from 'commander'
import { addApiCommands } from './commands/api.ts'
import { addClusterCommands } from './commands/cluster.ts'
import { addDirectoryCommands } from './commands/directory.ts'
import { addMembershipCommands } from './commands/membership.ts'
import { addNodeCommands } from './commands/nodes.ts'
import { addQuickstart } from './commands/quickstart.ts'
import { reportError } from './output.ts'

const program = new Command('holdfast')
  .description('A secrets service that never stops serving.')
  .showHelpAfterError()
  .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : 2))
addQuickstart(program)
addNodeCommands(program)
addMembershipCommands(program)
addApiCommands(program)
addDirectoryCommands(program)
addClusterCommands(program)

try {
  await program.parseAsync()
  process.exit()
} catch (error) {
  process.exit(reportError(error, process.argv.includes('--json')))
}
