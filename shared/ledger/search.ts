// Words of the text search, stemmed when written, so that both engines find the same (P6, http-api 11).
import { stemmer } from 'stemmer'

const STOP_WORDS = new Set(
  (
    'i me my myself we our ours ourselves you your yours yourself yourselves he him his himself she her hers herself it ' +
    'its itself they them their theirs themselves what which who whom this that these those am is are was were be been ' +
    'being have has had having do does did doing a an the and but if or because as until while of at by for with about ' +
    'against between into through during before after above below to from up down in out on off over under again further ' +
    'then once here there when where why how all any both each few more most other some such no nor not only own same so ' +
    'than too very s t can will just don should now'
  ).split(' '),
)

/** Stems of a text, unique and sorted; words are runs of letters and digits. */
export function stemsOf(text: string): string[] {
  const words = text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? []
  return [...new Set(words.filter((word) => !STOP_WORDS.has(word)).map(stemmer))].sort()
}

/**
 * What a client searches for: undefined for no search. A search without a single stem finds nothing, as in the
 * reference: `the` alone is not a question.
 */
export const searchOf = (text: string | undefined): readonly string[] | undefined =>
  text === undefined || text.trim() === '' ? undefined : stemsOf(text)

/** The `words` cell of a resource: each stem between two spaces, so that `% stem %` finds whole stems only. */
export function searchWords(id: string, annotations: readonly { name: string; value: string }[]): string {
  const text = [id.slice(id.indexOf(':') + 1), ...annotations.map(({ value }) => value)].join(' ')
  const stems = stemsOf(text)
  return stems.length === 0 ? '' : ` ${stems.join(' ')} `
}
