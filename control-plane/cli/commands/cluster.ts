// Commands about a cluster, carried out at the door of one of its control nodes (cluster 2, 8).
import type { Command } from 'commander'
import type { Rejoined } from '#control-plane/operator/acts.ts'
import { type ClusterStatus, statusWords } from '#control-plane/operator/status.ts'
import { type DoorFlags, operator, order, withDoor } from '../operator.ts'
import { CommandError, print } from '../output.ts'

export function addClusterCommands(program: Command): void {
  const cluster = program.command('cluster').description('the control nodes, and who leads them')

  withDoor(cluster.command('status'))
    .description('who leads, every member, what was ordered, how the last leaderships came about')
    .action(async (flags: DoorFlags) => {
      const status = await order<ClusterStatus>(flags, 'status', {})
      print(flags.json ?? false, status, statusWords(status))
      if (!status.quorum)
        throw new CommandError(
          'store_unknown',
          'the coordination store does not answer: this is what was last heard',
        )
    })

  withDoor(cluster.command('rejoin'))
    .description('let a node in again that was put out; it takes a copy where its log has become another one')
    .argument('<node>')
    .action(async (node: string, flags: DoorFlags) => {
      const done = await order<Rejoined>(flags, 'rejoin', { by: operator(), node })
      const was = done.was_out ? `${node} is let in` : `${node} was not out`
      const words = done.present ? `${was} and follows` : `${was}, and is not there yet: start it`
      print(flags.json ?? false, done, words)
    })
}
