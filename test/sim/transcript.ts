// What a cluster does in a told story, line by line: kept as files beside it and compared exactly, so that a change of the
// machine shows what it changes. HOLDFAST_TRANSCRIPTS=write writes them anew.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { expect } from 'vitest'
import type { Effect, Event, Node, Role } from '#control-plane/failover/types.ts'
import { seeded } from '../support/random.ts'
import type { Machine } from './machine.ts'
import { type Shape, World } from './world.ts'

const folder = new URL('scenarios/', import.meta.url)

export type Told = { readonly world: World; readonly say: (what: string) => void }

/** Plays a story and compares its transcript. `file`: its name, without the ending. */
export function tell(file: string, seed: number, shape: Partial<Shape>, play: (told: Told) => void): void {
  const lines: string[] = []
  const write = (who: string, what: string): void => {
    lines.push(`${(world.schedule.now / 1_000).toFixed(3).padStart(7)}  ${who.padEnd(2)} ${what}`)
  }
  const seen: Shape['seen'] = (machine, before, event, after, effects) =>
    note(machine, before, event, after, effects, write)
  const world: World = new World(seeded(seed), { names: ['a', 'b', 'c'], ...shape, seen })
  play({ world, say: (what) => write('', `* ${what}`) })
  write('', `the store: ${JSON.stringify(summary(world))}`)
  const path = new URL(`${file}.txt`, folder)
  const text = `${lines.join('\n')}\n`
  if (process.env.HOLDFAST_TRANSCRIPTS === 'write') {
    mkdirSync(folder, { recursive: true })
    writeFileSync(path, text)
  }
  expect(text).toBe(readFileSync(path, 'utf8'))
}

function note(
  { name }: Machine,
  before: Node,
  event: Event,
  after: Node,
  effects: readonly Effect[],
  write: (who: string, what: string) => void,
): void {
  const [from, to] = [nameOf(before.role), nameOf(after.role)]
  const asked = effects.flatMap((effect) => said(effect) ?? [])
  if (from !== to)
    write(name, `${from} → ${to}, at ${heard(event)}${asked.map((one) => `; ${one}`).join('')}`)
  else if (asked.length > 0) write(name, `${from}, at ${heard(event)}: ${asked.join('; ')}`)
  if (after.blocked !== before.blocked && after.blocked !== undefined)
    write(name, `  blocked: ${after.blocked}`)
  if (after.role.phase === 'evicted' && after.role.waits !== waitsOf(before))
    write(name, `  ${after.role.waits}`)
}

const waitsOf = ({ role }: Node): string | undefined => (role.phase === 'evicted' ? role.waits : undefined)

function nameOf(role: Role): string {
  if (role.phase === 'standby') return role.leader === undefined ? 'standby' : `standby of ${role.leader}`
  if (role.phase !== 'leading') return role.phase
  const { stage, duty, handing } = role
  return `leading, ${stage}, ${duty.kind}${handing === undefined ? '' : `, ${handing.at}`}`
}

const heard = (event: Event): string =>
  event.kind === 'transacted'
    ? `${event.transaction.name} ${event.ok === undefined ? 'unheard' : event.ok ? 'done' : 'refused'}`
    : event.kind

/** What is asked again and again is left out. */
function said(effect: Effect): string | undefined {
  switch (effect.kind) {
    case 'probe':
    case 'renew':
    case 'setDeadline':
      return undefined
    case 'transact':
      return effect.transaction.name === 'attend' ? undefined : effect.transaction.name
    case 'follow':
      return `follow ${effect.leader}`
    case 'promote':
      return `promote above ${effect.above}`
    case 'setSync':
      return `setSync ${effect.names.join(', ') || 'nobody'}`
    case 'close':
      return `close, ${effect.why}`
    default:
      return effect.kind
  }
}

function summary({ store }: World) {
  const { epoch, leader, sync, evicted, switched, reigns } = store.view()
  return {
    epoch,
    leader: leader?.node,
    sync: sync?.standby,
    evicted: [...evicted.keys()],
    ...(switched === undefined ? {} : { switched }),
    record: reigns.get(epoch)?.record,
  }
}
