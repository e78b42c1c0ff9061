// Who leads next, from what all can see; the same from the same view at every node, with the sentence that says why
// (cluster 7.4, 5).
import type { Candidate, Reason, View } from '../coordination/keys.ts'
import type { Config, Member } from './types.ts'

/** Without a winner: why there is none. */
export type Choice = { readonly winner: string | undefined } & Reason

type Standing = { readonly member: Member; readonly candidate: Candidate }

export function choose(view: View, config: Config): Choice {
  const standing = config.members.flatMap((member): Standing[] => {
    const candidate = view.candidates.get(member.name)
    const eligible = !member.dr && !view.evicted.has(member.name)
    // Of this epoch: one that stood for an earlier one is not frozen any more.
    return candidate !== undefined && candidate.epochSeen === view.epoch && eligible
      ? [{ member, candidate }]
      : []
  })
  // Nobody was named yet, so nothing was acknowledged: what there is to keep is with the first Leader.
  if (view.sync === undefined) return firstOf(standing, config)
  const best = standing.sort((a, b) => further(a, b, view.sync?.standby))[0]
  if (best === undefined) return nobody('nobody stands')
  const won = (possibleLoss: boolean, why: string): Choice => ({
    winner: best.member.name,
    because: `${best.member.name} is furthest (timeline ${best.candidate.timeline}, ${best.candidate.received}) of ${standing.map(({ member }) => member.name).join(', ')}; ${why}`,
    possibleLoss,
  })
  const holders = [view.sync.leader, view.sync.standby].filter((name) => name !== null)
  const present = standing.find(({ member }) => holders.includes(member.name))
  if (present !== undefined) return won(false, `${present.member.name} has every acknowledged write`)
  if (config.mode === 'available') return won(true, `none of ${holders.join(', ')} stands`)
  return nobody(`the last acknowledged write may be only on ${holders.join(' or ')}, and none of them stands`)
}

const nobody = (because: string): Choice => ({ winner: undefined, because, possibleLoss: false })

function firstOf(standing: readonly Standing[], { first }: Config): Choice {
  const stands = standing.some(({ member }) => member.name === first)
  return stands
    ? { winner: first, because: `${first} is the first Leader`, possibleLoss: false }
    : nobody(`${first} is to be the first Leader and does not stand`)
}

/** A higher timeline was begun by a Leader that had every acknowledged write of the lower ones. */
function further(a: Standing, b: Standing, sync: string | null | undefined): number {
  const isSync = ({ member }: Standing): number => (member.name === sync ? 1 : 0)
  return (
    b.candidate.timeline - a.candidate.timeline ||
    b.candidate.received - a.candidate.received ||
    isSync(b) - isSync(a) ||
    b.member.priority - a.member.priority ||
    (a.member.name < b.member.name ? -1 : 1)
  )
}
