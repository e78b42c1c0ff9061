// The link on Node over a socket.
import { socket } from '../support/link-ways.ts'
import { linkCases } from './link.cases.ts'
import { openOnNode } from './link.world.ts'

linkCases('better-sqlite3', openOnNode, socket)
