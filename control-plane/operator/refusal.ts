// Why an operator's order was not carried out: a code for programs, and words that say what to do next.
export type RefusalCode =
  | 'bad_request'
  | 'store_unknown'
  | 'unknown_node'
  | 'no_leader'
  | 'leads'
  | 'evicted'
  | 'not_paused'
  | 'busy'
  | 'changed'
  | 'not_done'
  | 'not_in_time'
  | 'data_loss_possible'
  | 'unreachable'
  | 'unsupported'
  | 'old_store'
  | 'refused'

export class Refusal extends Error {
  readonly code: RefusalCode
  constructor(code: RefusalCode, message: string) {
    super(message)
    this.name = 'Refusal'
    this.code = code
  }
}
