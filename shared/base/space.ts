// Room on a disk (cluster 9).

/** What may still be written: KiB, and files. */
export type Space = { readonly kbytes: number; readonly inodes: number }

/** What `statfs` says; `files`: how many there can be, 0 where they are made as they are needed. */
type Statfs = Readonly<Record<'bavail' | 'bsize' | 'files' | 'ffree', number>>

/** Where no number of files was laid down (btrfs), each takes a block. */
export const spaceFrom = ({ bavail, bsize, files, ffree }: Statfs): Space => ({
  kbytes: Math.floor((bavail * bsize) / 1024),
  inodes: files === 0 ? bavail : ffree,
})

/** `kbytes`: how much is enough. */
export const hasRoom = (space: Space, kbytes = 1): boolean => space.kbytes >= kbytes && space.inodes > 0
