/**
 * The text as Postgres can hold it. U+0000 and halves of surrogate pairs, which clients can write into names and
 * which jsonb refuses, become U+FFFD; the record's own line keeps them escaped.
 */
export function storable(text: string): string {
  return text.toWellFormed().replaceAll('\0', '\ufffd')
}
