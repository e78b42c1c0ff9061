// What a policy text says, before anything is resolved. An anchored record is one object wherever it is used.

/** A record, or a reference to one: which of them depends on where it stands. */
export type RecordStatement = {
  readonly type: 'record'
  readonly kind: string
  readonly role: boolean
  readonly resource: boolean
  /** As written; '' means the policy's own id. */
  readonly id: string
  readonly account: string | undefined
  readonly owner: RecordStatement | undefined
  readonly annotations: readonly (readonly [name: string, value: string])[]
  readonly restrictedTo: readonly string[]
  readonly publicKeys: readonly string[]
  readonly layers: readonly RecordStatement[]
  readonly body: readonly Statement[]
}

export type MemberStatement = { readonly role: RecordStatement; readonly admin: boolean }

export type GrantStatement = {
  readonly type: 'grant' | 'revoke'
  readonly roles: readonly RecordStatement[]
  readonly members: readonly MemberStatement[]
}

export type PermitStatement = {
  readonly type: 'permit' | 'deny'
  readonly roles: readonly RecordStatement[]
  readonly privileges: readonly string[]
  readonly resources: readonly RecordStatement[]
}

export type DeleteStatement = { readonly type: 'delete'; readonly records: readonly RecordStatement[] }

export type Statement = RecordStatement | GrantStatement | PermitStatement | DeleteStatement
