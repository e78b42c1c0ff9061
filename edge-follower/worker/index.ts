// The Worker in front: hands each request to an object that is a Follower.
import { Hono } from 'hono'
import { type Front, frontOf } from './front.ts'
import type { Env } from './platform-types.ts'

export { FollowerObject } from './follower-object.ts'

/** Variables stay what they are for as long as the Worker is in memory. */
const fronts = new WeakMap<Env, Front>()

function frontFor(env: Env): Front {
  const front = fronts.get(env) ?? frontOf(env)
  fronts.set(env, front)
  return front
}

// Paths are not looked at here: the Follower matches them undecoded.
const app = new Hono<{ Bindings: Env }>({ getPath: () => '/' })
app.all('*', (c) => frontFor(c.env)(c.req.raw))

export default app
