// The link on Node over a WebSocket that the Follower dials.
import { webSocket } from '../support/link-ways.ts'
import { linkCases } from './link.cases.ts'
import { openOnNode } from './link.world.ts'

linkCases('better-sqlite3', openOnNode, webSocket)
