// One row per kind: all there is to know about it (http-api 1, policy 1).

export type Kind = keyof typeof kinds

type KindRow = {
  /** A role of the same id exists beside the resource. */
  readonly role: boolean
  /** Roles of this kind log in with an API key. */
  readonly credentials: boolean
  /** Resources of this kind hold versioned values. */
  readonly value: boolean
}

export const kinds = {
  user: { role: true, credentials: true, value: false },
  host: { role: true, credentials: true, value: false },
  layer: { role: true, credentials: false, value: false },
  group: { role: true, credentials: false, value: false },
  policy: { role: true, credentials: false, value: false },
  host_factory: { role: true, credentials: false, value: false },
  variable: { role: false, credentials: false, value: true },
  webservice: { role: false, credentials: false, value: false },
  public_key: { role: false, credentials: false, value: true },
  configuration: { role: false, credentials: false, value: false },
} as const satisfies Record<string, KindRow>

export function isKind(text: string): text is Kind {
  return Object.hasOwn(kinds, text)
}
