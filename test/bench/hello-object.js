// What a request to a Durable Object costs by itself: a Worker in front, an object that answers a constant.
import { DurableObject } from 'cloudflare:workers'

export class FollowerObject extends DurableObject {
  fetch() {
    return new Response('hello')
  }
}

export default {
  fetch: (request, env) => env.FOLLOWER.getByName('edge-1').fetch(request),
}
