// Taking nodes into the cluster, and putting them out (cluster 3). The path of Followers' seeds is the reference's. Nodes
// belong to the installation: only roles of its own account have a say.

import { seedEvent } from '../../audit/cluster-event.ts'
import { need } from '../../authz/decide.ts'
import { isStorable } from '../../base/bytes.ts'
import { limits } from '../../base/limits.ts'
import { edgeUrlFault } from '../../enrolment/edge-url.ts'
import { ADDRESS, hostOf, NODE_NAME, type NodeKind, nodeKinds } from '../../enrolment/names.ts'
import { baseFault, crowdsIn } from '../../enrolment/regions.ts'
import { makeId } from '../../id/resource-id.ts'
import { type Access, accessQuery } from '../../ledger/reads/access.ts'
import { actorOf } from '../actor.ts'
import type { SeedOrder } from '../node.ts'
import { answer, json, type Outcome, recorded } from '../outcome.ts'
import { problems } from '../problems.ts'
import { parametersOf, textOf } from '../request.ts'
import { type AnyRoute, type Caller, route } from '../route.ts'
import type { ApiSettings } from '../settings.ts'

const SERVICE = 'conjur/seed-generation'

type Asked = { readonly account: string; readonly isOurs: boolean }
type Facts = { readonly service: Access; readonly root: Access }

const askedOf = (account: string, settings: ApiSettings): Asked => ({
  account,
  isOurs: account === settings.account,
})

const rights = ({ account }: Asked) => ({
  service: accessQuery(makeId(account, 'webservice', SERVICE)),
  root: accessQuery(makeId(account, 'policy', 'root')),
})

/**
 * Who may change the root policy could give himself any right in it, so he may do everything here. Followers' seeds may be
 * made by others as well. Undefined when the caller may.
 */
function refusal(
  { account, isOurs }: Asked,
  { service, root }: Facts,
  followersOnly: boolean,
): Outcome | undefined {
  const missing = problems.recordNotFound(makeId(account, 'webservice', SERVICE))
  if (!isOurs) return missing
  const byRoot = need(root, 'update')
  const byService = need(service, 'execute')
  if (byRoot === 'allowed' || (followersOnly && byService === 'allowed')) return undefined
  return byRoot === 'not_found' && byService === 'not_found' ? missing : problems.forbidden()
}

type SeedInput = Asked & {
  readonly kind: NodeKind | undefined
  readonly order: SeedOrder
  readonly wrong: string | undefined
}

const makeSeed = route({
  id: 'makeSeed',
  method: 'POST',
  path: '/configuration/:account/seed/:kind',
  docs: {
    does: 'Make a seed, with which one node joins the cluster once; kind: follower, standby or dr',
    takes: 'form',
    fields: {
      follower_hostname: 'Name of the node',
      replication_set: 'Default: full',
      service_role: 'Default: all',
      altnames: 'Further host names and addresses of the node, separated by commas',
      leader: 'host:port, asked before those of the settings',
      ttl: 'Seconds until it expires; default: an hour',
      edge: 'true: of a Follower without a file system, which gets a bearer instead of a seed',
      dialled_at: 'https URL at which the Leader dials such a Follower; default: it dials the Leader',
      regions:
        'Regions of such Followers and how many are in each, such as weur=2,enam=1: each gets a name of its own, and all one bearer',
    },
    gives: 'bytes',
    answers: [200, 403, 404, 405, 422],
  },
  access: 'token',
  effect: 'write',
  bodyLimit: limits.bodyBytes,
  input(request, settings): SeedInput {
    const { account, kind: named } = request.params
    const kind = nodeKinds.find((one) => one === named)
    const parameters = parametersOf(request)
    const given = (name: string): string | undefined => textOf(parameters, name) || undefined
    const crowds = crowdsIn(listOf(given('regions')))
    const order: SeedOrder = {
      node: given('follower_hostname') ?? '',
      kind: kind ?? 'follower',
      replicationSet: given('replication_set') ?? 'full',
      serviceRole: given('service_role') ?? 'all',
      hosts: listOf(given('altnames')),
      lifeSeconds: Number(given('ttl') ?? limits.seedLifeSeconds),
      leader: given('leader'),
      edge:
        given('edge') === 'true'
          ? { url: given('dialled_at'), crowds: typeof crowds === 'string' ? [] : crowds }
          : undefined,
    }
    const wrong = faultOf(order) ?? (typeof crowds === 'string' ? crowds : edgeFaultOf(order))
    return { ...askedOf(account!, settings), kind, order, wrong }
  },
  facts: rights,
  /** Undefined: this caller or this order is refused, or this node makes no seeds. */
  async prove(facts, input, io, caller) {
    const { kind, order, wrong } = input
    if (kind === undefined || wrong !== undefined) return undefined
    if (refusal(input, facts, kind === 'follower') !== undefined) return undefined
    return io.enrolment?.makeSeed(order, caller)
  },
  decide(facts, input, { caller }, made) {
    const { kind, order, wrong } = input
    if (kind === undefined) return problems.noRoute()
    const refused = refusal(input, facts, kind === 'follower')
    if (refused !== undefined) return recorded(refused, failed(caller, kind, order.node, refused))
    if (wrong !== undefined) return problems.argument(wrong)
    if (made !== undefined && 'refusal' in made) return problems.unprocessable(made.refusal)
    const bytes = new TextEncoder().encode(made?.seed ?? '')
    const type = order.edge === undefined ? 'application/jose+json' : 'application/json'
    return answer(200, { kind: 'bytes', bytes, type })
  },
})

const failed = (caller: Caller, kind: NodeKind, node: string, { status }: Outcome) =>
  seedEvent(actorOf(caller), {
    operation: 'issue',
    node: isStorable(node) ? node.slice(0, limits.nameBytes) : '',
    kind,
    error: status === 403 ? 'forbidden' : 'not found',
  })

const listOf = (text = ''): string[] => text.split(',').flatMap((item) => item.trim() || [])

/** What is wrong with an order, undefined when nothing is. */
function faultOf({ node, serviceRole, hosts, lifeSeconds, leader }: SeedOrder): string | undefined {
  if (!NODE_NAME.test(node))
    return `follower_hostname must be the name of the node: letters, digits, "." and "-", at most 63`
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/.test(serviceRole)) return `service_role ${serviceRole} is no name`
  const odd = hosts.find((host) => !ADDRESS.test(`${host.includes(':') ? `[${host}]` : host}:1`))
  if (odd !== undefined || hosts.length > limits.nodeAltNames)
    return `altnames must be host names or addresses, at most ${limits.nodeAltNames}`
  if (leader !== undefined && (!ADDRESS.test(leader) || hostOf(leader) === ''))
    return 'leader must be of the form host:port'
  if (!Number.isInteger(lifeSeconds) || lifeSeconds < 1 || lifeSeconds > limits.seedLifeSecondsMax)
    return `ttl must be a number of seconds up to ${limits.seedLifeSecondsMax}`
  return undefined
}

/** The same of what is asked for a Follower at the edge. */
function edgeFaultOf({ node, kind, edge }: SeedOrder): string | undefined {
  if (edge === undefined) return undefined
  if (kind !== 'follower') return 'edge is for followers: no other node runs there'
  if (node.includes('.'))
    return 'follower_hostname of an edge Follower must have no ".": it is sent before its bearer'
  const fault = edge.crowds.length === 0 ? undefined : baseFault(node)
  if (fault !== undefined) return `follower_hostname: ${fault}`
  return edge.url === undefined ? undefined : edgeUrlFault(edge.url)
}

const listNodes = route({
  id: 'listNodes',
  method: 'GET',
  path: '/configuration/:account/nodes',
  docs: {
    does: 'Nodes of the cluster with their certificates, and seeds that were not used',
    gives: 'json',
    answers: [200, 403, 404, 405],
  },
  access: 'token',
  effect: 'read',
  input: ({ params }, settings) => askedOf(params.account!, settings),
  facts: rights,
  prove: async (facts, input, io) =>
    refusal(input, facts, false) === undefined ? io.enrolment?.members() : undefined,
  decide: (facts, input, _context, members) =>
    refusal(input, facts, false) ??
    (members === undefined ? problems.notReadable() : answer(200, json(members))),
})

const evictNode = route({
  id: 'evictNode',
  method: 'DELETE',
  path: '/configuration/:account/nodes/:node',
  docs: {
    does: 'Revoke the certificates of a node, end its connections and take back its seeds',
    answers: [204, 403, 404, 405, 422],
  },
  access: 'token',
  effect: 'write',
  input: ({ params }, settings) => ({ ...askedOf(params.account!, settings), node: params.node! }),
  facts: rights,
  prove: async (facts, input, io, caller) =>
    refusal(input, facts, false) === undefined ? io.enrolment?.evict(input.node, caller) : undefined,
  decide(facts, input, _context, done) {
    const refused = refusal(input, facts, false)
    if (refused !== undefined) return refused
    if (done === 'leads') {
      return problems.unprocessable(`${input.node} leads: let another node lead before it is put out`)
    }
    return done === 'unknown'
      ? problems.notFound(`no node ${input.node} has a certificate or a seed that could be revoked`)
      : answer(204)
  },
})

export const configurationRoutes: readonly AnyRoute[] = [makeSeed, listNodes, evictNode]
