// What is wrong with the syntax of a YAML text, in the words that tools of the reference know (policy 2.4, 9).

/** The library's message → problem and context as libyaml words them. */
const wordings: readonly (readonly [message: RegExp, words: string])[] = [
  [/^Implicit (map )?keys/, "could not find expected ':' while scanning a simple key"],
  [
    /^Tags and anchors must be separated/,
    'did not find expected whitespace or line break while scanning a tag',
  ],
  [/flow map/i, "did not find expected ',' or '}' while parsing a flow mapping"],
  [/flow sequence/i, "did not find expected ',' or ']' while parsing a flow sequence"],
  [
    /^All sequence items|^Sequence item without/,
    "did not find expected '-' indicator while parsing a block collection",
  ],
  [/^All mapping items/, 'did not find expected key while parsing a block mapping'],
  [/^Tabs are not allowed/, 'found a tab character where an indentation space is expected'],
  [/^Nested mappings/, 'mapping values are not allowed in this context'],
  [/^A block sequence may not be/, 'block sequence entries are not allowed in this context'],
  [/^Anchor cannot be/, 'did not find expected alphabetic or numeric character while scanning an anchor'],
  [/^Alias cannot be/, 'did not find expected alphabetic or numeric character while scanning an alias'],
  [/^Missing closing/, 'found unexpected end of stream while scanning a quoted scalar'],
  [
    /^Plain value cannot start/,
    'found character that cannot start any token, did not find expected node content',
  ],
]

export const syntaxWords = (message: string): string =>
  wordings.find(([pattern]) => pattern.test(message))?.[1] ?? message
