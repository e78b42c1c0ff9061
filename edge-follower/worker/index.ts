// The Worker in front: hands each request to the object that is the Follower.
import { Hono } from 'hono'
import type { Env } from './platform-types.ts'

export { FollowerObject } from './follower-object.ts'

// Paths are not looked at here: the Follower matches them undecoded.
const app = new Hono<{ Bindings: Env }>({ getPath: () => '/' })
app.all('*', (c) => c.env.FOLLOWER.getByName(nameFrom(c.env)).fetch(c.req.raw))

const nameFrom = ({ HOLDFAST_NAME: name }: Env): string => (typeof name === 'string' ? name : 'edge-1')

export default app
