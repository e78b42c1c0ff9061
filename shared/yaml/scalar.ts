// What an unquoted scalar means in YAML 1.1 (policy 2.2).

export type ScalarClass =
  | 'String'
  | 'Integer'
  | 'Float'
  | 'TrueClass'
  | 'FalseClass'
  | 'NilClass'
  | 'Date'
  | 'Time'

const forms: readonly (readonly [ScalarClass, RegExp])[] = [
  ['NilClass', /^(~|null|Null|NULL|)$/],
  ['TrueClass', /^(yes|Yes|YES|true|True|TRUE|on|On|ON)$/],
  ['FalseClass', /^(no|No|NO|false|False|FALSE|off|Off|OFF)$/],
  ['Integer', /^[-+]?(0|[1-9][\d_,]*|0[0-7_,]+|0x[\da-fA-F_,]+|0b[01_,]+)$/],
  [
    'Float',
    /^([-+]?(\d[\d_,]*)?\.\d[\d_]*([eE][-+]?\d+)?|[-+]?\d[\d_,]*([eE][-+]?\d+)|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$/,
  ],
  ['Date', /^\d{4}-\d{1,2}-\d{1,2}$/],
  ['Time', /^\d{4}-\d{1,2}-\d{1,2}([Tt]|\s+)\d{1,2}:\d\d:\d\d(\.\d*)?(\s*Z|\s*[-+]\d{1,2}:?(\d\d)?)?$/],
]

/** The class a plain scalar is taken for; quoted and tagged ones are always text. */
export function scalarClass(text: string): ScalarClass {
  return forms.find(([, form]) => form.test(text))?.[0] ?? 'String'
}
