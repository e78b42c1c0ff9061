// Public keys: readable by anyone, one line per key (http-api 12).
import { fromUtf8 } from '../../base/bytes.ts'
import { publicKeysQuery } from '../../ledger/reads/host-factory.ts'
import { recordId } from '../../secret/keyring.ts'
import { answer, text } from '../outcome.ts'
import { problems } from '../problems.ts'
import { type AnyRoute, route } from '../route.ts'

const showPublicKeys = route({
  id: 'showPublicKeys',
  method: 'GET',
  path: '/public_keys/:account/:kind/:id*',
  docs: { does: 'Public keys of a user, one per line', gives: 'text', answers: [200, 401, 404] },
  access: 'optional',
  effect: 'read',
  input: ({ params }) => ({ account: params.account!, kind: params.kind!, id: params.id! }),
  facts: ({ account, kind, id }) => ({
    keys: publicKeysQuery(account, kind === 'public_key' ? id : `user/${id}/`),
  }),
  decide({ keys }, { kind }, { keyring }) {
    if (kind !== 'user' && kind !== 'public_key') return problems.noRoute()
    const lines = keys.map(({ id, version, sealed }) =>
      (fromUtf8(keyring.open(recordId('secrets', id, version), sealed)) ?? '').trim(),
    )
    return answer(200, text(`${lines.join('\n')}\n`))
  },
})

export const publicKeyRoutes: readonly AnyRoute[] = [showPublicKeys]
