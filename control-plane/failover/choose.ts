// Who leads next, from what all can see; the same from the same view at every node, with the sentence that says why
// (cluster 7.4, 5).
import { type Candidate, type Copy, copyOf, type Reason, type View } from '../coordination/keys.ts'
import type { Config, Member } from './types.ts'

/** Without a winner: why there is none. */
export type Choice = { readonly winner: string | undefined } & Reason

type Standing = { readonly member: Member; readonly candidate: Candidate }

/** It counts by what is on its disk: one that has lost it has nothing but the name. */
const copy = ({ member, candidate }: Standing): Copy => copyOf(member.name, candidate.disk)

export function choose(view: View, config: Config): Choice {
  const standing = config.members.flatMap((member): Standing[] => {
    const candidate = view.candidates.get(member.name)
    // One without data may begin a cluster, and nothing else.
    const holds = view.sync === undefined || (candidate?.timeline ?? 0) > 0
    const eligible = !member.dr && !view.evicted.has(member.name) && holds
    // Of this epoch: one that stood for an earlier one is not frozen any more.
    return candidate !== undefined && candidate.epochSeen === view.epoch && eligible
      ? [{ member, candidate }]
      : []
  })
  if (view.sync === undefined) return firstOf(standing, config)
  const { sync } = view
  const best = standing.sort((a, b) => further(a, b, sync.standby))[0]
  if (best === undefined) return nobody('nobody stands')
  const won = (possibleLoss: boolean, why: string): Choice => ({
    winner: best.member.name,
    because: `${best.member.name} is furthest (timeline ${best.candidate.timeline}, ${best.candidate.received}) of ${standing.map(({ member }) => member.name).join(', ')}; ${why}`,
    possibleLoss,
  })
  const holders = [sync.leader, sync.standby].filter((name) => name !== null)
  const present = standing.find((one) => holders.includes(copy(one)))
  if (present !== undefined) return won(false, `${present.member.name} has every acknowledged write`)
  if (config.mode === 'available') return won(true, `none of ${holders.join(', ')} stands`)
  return nobody(`the last acknowledged write may be only on ${holders.join(' or ')}, and none of them stands`)
}

const nobody = (because: string): Choice => ({ winner: undefined, because, possibleLoss: false })

/** Nobody ever led. */
function firstOf(standing: readonly Standing[], { first }: Config): Choice {
  const stands = standing.some(({ member }) => member.name === first)
  return stands
    ? { winner: first, because: `${first} is the first Leader`, possibleLoss: false }
    : nobody(`${first} is to be the first Leader and does not stand`)
}

/** A higher timeline was begun by a Leader that had every acknowledged write of the lower ones. */
function further(a: Standing, b: Standing, sync: string | null): number {
  const isSync = (one: Standing): number => (copy(one) === sync ? 1 : 0)
  return (
    b.candidate.timeline - a.candidate.timeline ||
    b.candidate.received - a.candidate.received ||
    isSync(b) - isSync(a) ||
    b.member.priority - a.member.priority ||
    (a.member.name < b.member.name ? -1 : 1)
  )
}
