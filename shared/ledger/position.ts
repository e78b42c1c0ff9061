// A position names one commit: the leadership it was made under and its number in commit order (cluster 6.3).

export type Position = { readonly epoch: number; readonly seq: number }

export const zero: Position = { epoch: 0, seq: 0 }

export const compare = (a: Position, b: Position): number => a.epoch - b.epoch || a.seq - b.seq

export const format = ({ epoch, seq }: Position): string => `${epoch}.${seq}`

/** The position, or undefined when the text is not one. */
export function parsePosition(text: string): Position | undefined {
  const match = /^(\d{1,9})\.(\d{1,15})$/.exec(text)
  return match ? { epoch: Number(match[1]), seq: Number(match[2]) } : undefined
}
