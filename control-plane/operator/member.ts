import type { Config } from '../failover/types.ts'
import { Refusal } from './refusal.ts'

export function mustBeMember({ members }: Config, node: string): void {
  const names = members.map(({ name }) => name)
  if (!names.includes(node))
    throw new Refusal(
      'unknown_node',
      `${node} is no member of this cluster: its members are ${names.join(', ')}`,
    )
}
