// A digest per row and one additive hash over a set of rows. Adding is commutative, so the hash of a set does
// not depend on the order in which its rows came, and a commit changes it in time proportional to the commit.
import { toBase64, toHex } from '../base/bytes.ts'
import { sha256 } from '../base/native-crypto.ts'
import { columnsOf, type Row, type TableName } from './tables.ts'

/** SHA-256 of the table's name and the row's cells in column order: 32 bytes. */
export function rowDigest(table: TableName, row: Row): Uint8Array {
  const cells = columnsOf(table).map((column) => {
    const cell = row[column] ?? null
    return cell instanceof Uint8Array ? toBase64(cell) : cell
  })
  return sha256(JSON.stringify([table, ...cells]))
}

const MODULUS = 1n << 256n

/** The sum of row digests modulo 2^256. Immutable. */
export class ContentHash {
  readonly value: bigint
  constructor(value: bigint = 0n) {
    this.value = value
  }
  static parse(hex: string): ContentHash {
    return new ContentHash(BigInt(`0x${hex}`))
  }
  /** The hash after rows with these digests came and went. */
  change(added: Iterable<Uint8Array>, removed: Iterable<Uint8Array>): ContentHash {
    let value = this.value
    for (const digest of added) value += BigInt(`0x${toHex(digest)}`)
    for (const digest of removed) value -= BigInt(`0x${toHex(digest)}`)
    value %= MODULUS
    return new ContentHash(value < 0n ? value + MODULUS : value)
  }
  /** 64 hex digits. */
  toString(): string {
    return this.value.toString(16).padStart(64, '0')
  }
}
