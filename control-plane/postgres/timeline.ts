// Positions and timelines of a write-ahead log, and what they say about two logs: pure (cluster 7.4, 1 and 12).
import type { Lsn } from '../coordination/keys.ts'

/** `16/B374D848` as a number of bytes. */
export function parseLsn(text: string): Lsn {
  const [high, low] = text.split('/')
  return Number.parseInt(high!, 16) * 2 ** 32 + Number.parseInt(low!, 16)
}

/** Where a timeline was left for the next one. */
export type Fork = { readonly timeline: number; readonly end: Lsn }

/** How a timeline came to be; oldest first. */
export type History = { readonly timeline: number; readonly forks: readonly Fork[] }

/** The first one has no file. */
export const firstHistory: History = { timeline: 1, forks: [] }

const hex = (timeline: number): string => timeline.toString(16).toUpperCase().padStart(8, '0')

export const historyFile = (timeline: number): string => `${hex(timeline)}.history`

/** Of a file in `pg_wal`; undefined when it is no history. */
export function timelineOfFile(name: string): number | undefined {
  const number = /^([0-9A-F]{8})\.history$/.exec(name)?.[1]
  return number === undefined ? undefined : Number.parseInt(number, 16)
}

export const timelineOfSegment = (name: string): number => Number.parseInt(name.slice(0, 8), 16)

/** The part of a segment's name that says where in the log it is. */
function placeOf(end: Lsn, segmentBytes: number): string {
  const number = Math.floor(Math.max(0, end - 1) / segmentBytes)
  const perName = 2 ** 32 / segmentBytes
  return hex(Math.floor(number / perName)) + hex(number % perName)
}

const isSegment = (name: string): boolean => /^[0-9A-F]{24}$/.test(name)

/** The file with the byte before `end`. */
export const segmentAt = (timeline: number, end: Lsn, segmentBytes: number): string =>
  hex(timeline) + placeOf(end, segmentBytes)

export const segmentsOf = (names: readonly string[], timeline: number): string[] =>
  names.filter((name) => isSegment(name) && timelineOfSegment(name) === timeline)

/** The newest timeline that has a segment among these files; with `end`, one in which the byte before it is. */
export function newestWith(names: readonly string[], end?: Lsn, segmentBytes = 1): number | undefined {
  const place = end === undefined ? undefined : placeOf(end, segmentBytes)
  const timelines = names
    .filter((name) => isSegment(name) && (place === undefined || name.endsWith(place)))
    .map(timelineOfSegment)
  return timelines.length === 0 ? undefined : Math.max(...timelines)
}

/** Reads a history file: a line for each timeline that was left, with anything after the position. */
export function parseHistory(timeline: number, text: string): History {
  const forks = text.split('\n').flatMap((line): Fork[] => {
    const match = /^\s*(\d+)\s+([0-9A-Fa-f]+\/[0-9A-Fa-f]+)/.exec(line)
    return match === null ? [] : [{ timeline: Number(match[1]), end: parseLsn(match[2]!) }]
  })
  return { timeline, forks }
}

/**
 * The timeline of the last record before `end`. One that ends where a timeline was left is on that one: to have begun to
 * follow a Leader is not to have anything of his.
 */
export const timelineAt = ({ timeline, forks }: History, end: Lsn): number =>
  forks.find((fork) => end <= fork.end)?.timeline ?? timeline

/** What a node holds, or is. `end`: of its last record. */
export type LogEnd = { readonly systemId: string; readonly timeline: number; readonly end: Lsn }

export type HowToFollow =
  | { readonly kind: 'stream' }
  /** `diverged`: what is held has records that the Leader has not. */
  | { readonly kind: 'copy'; readonly diverged: boolean; readonly because: string }
  /** For a person to decide. */
  | { readonly kind: 'refuse'; readonly because: string }

/** Whether a log is a beginning of the Leader's; `own` undefined: nothing is held. */
export function howToFollow(own: LogEnd | undefined, leader: LogEnd, history: History): HowToFollow {
  if (own === undefined) return { kind: 'copy', diverged: false, because: 'there is no data here yet' }
  if (own.systemId !== leader.systemId)
    return {
      kind: 'refuse',
      because:
        `the data here is of another cluster (system ${own.systemId}, the Leader's is ${leader.systemId}): ` +
        'if nothing of it is needed, stop this node, move its folder postgres away and start it again',
    }
  const shared =
    own.timeline === leader.timeline
      ? leader.end
      : history.forks.find(({ timeline }) => timeline === own.timeline)?.end
  if (shared === undefined)
    return {
      kind: 'copy',
      diverged: true,
      because: `the Leader's timeline ${leader.timeline} did not come from timeline ${own.timeline}`,
    }
  if (own.end <= shared) return { kind: 'stream' }
  const beyond = own.end - shared
  return {
    kind: 'copy',
    diverged: true,
    because: `timeline ${own.timeline} has ${beyond} bytes here that the Leader has not`,
  }
}

/** Numbers that are taken up so that the next timeline is the one after `above`. */
export function numbersToTake(taken: ReadonlySet<number>, own: number, above: number): number[] {
  const between = Array.from({ length: Math.max(0, above - own) }, (_, i) => own + 1 + i)
  return between.filter((timeline) => !taken.has(timeline))
}
