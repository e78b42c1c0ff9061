// Who may import whom, as data (architecture 3). `only`: exceptions, each a file with its reason.
export type Border = {
  readonly from: string
  readonly never: readonly string[]
  readonly instead: string
  readonly except?: readonly string[]
}

/** Folders of shared/, lowest first: a folder uses only those before it. */
export const layers = [
  'base',
  'yaml',
  'id',
  'ledger',
  'authz',
  'policy',
  'secret',
  'token',
  'audit',
  'authn',
  'replication',
  'enrolment',
  'api',
  'node',
] as const

export const borders: readonly Border[] = [
  {
    from: 'shared/',
    never: [
      '#control-plane/',
      '#edge-follower/',
      'node:',
      'cloudflare:',
      'better-sqlite3',
      'pg',
      'pino',
      'commander',
    ],
    instead: 'take it as an argument; the doors in node/ hand it in',
    except: ['shared/node/', 'shared/base/native-crypto.ts'],
  },
  {
    from: 'control-plane/',
    never: ['#edge-follower/'],
    instead: 'meet in shared/replication, shared/ledger or shared/api',
    // The one program starts a Follower by its own entrance.
    except: ['control-plane/cli/commands/nodes.ts'],
  },
  {
    from: 'control-plane/failover/',
    never: ['node:', 'pg', '#control-plane/', '../ledger/', '../postgres/', '../publish/', '#shared/node/'],
    instead: 'ask for it with an effect, and be told with an event',
  },
  {
    from: 'control-plane/managed/lease.ts',
    never: ['node:', '#control-plane/', './lease-row.ts', './node.ts', '../ledger/', '#shared/node/'],
    instead: 'be told what was heard, and answer what this node is',
  },
  {
    from: 'edge-follower/',
    never: ['#control-plane/'],
    instead: 'meet in shared/replication, shared/ledger or shared/api',
  },
  {
    from: 'edge-follower/store/',
    never: ['node:', 'better-sqlite3', '#shared/node/', '../node/'],
    instead: 'ask the Sqlite port; it runs in a Worker too',
  },
  {
    from: 'edge-follower/link/',
    never: ['node:', 'better-sqlite3', '#shared/node/', '../node/'],
    instead: 'take a Dial and a Clock; it runs in a Worker too',
  },
  {
    from: 'edge-follower/follower.ts',
    never: ['node:', 'cloudflare:', 'better-sqlite3', '#shared/node/', './node/', './worker/'],
    instead: 'take it as a port; every runtime hands in its own',
  },
  {
    from: 'edge-follower/worker/',
    // Of node: there is what the platform serves, and a file system is not among it.
    never: ['node:fs', 'node:fs/promises', 'better-sqlite3', 'pino', '#shared/node/', '../node/'],
    instead:
      'a Worker has no files, processes and sockets: use the doors beside it, or move what is pure out of shared/node',
  },
  {
    from: '',
    never: ['cloudflare:workers'],
    instead: 'only the Durable Object knows that it is one',
    except: ['edge-follower/worker/follower-object.ts'],
  },
  {
    from: '',
    never: ['pg'],
    instead: 'use the Database of control-plane/ledger/connection.ts',
    // The other one is the protocol of replication, which a pool of connections does not speak.
    except: ['control-plane/ledger/drivers/postgres.ts', 'control-plane/postgres/peer.ts'],
  },
  {
    from: '',
    never: ['@neondatabase/serverless'],
    instead: 'use the Database of control-plane/ledger/connection.ts',
    except: ['control-plane/ledger/drivers/neon.ts'],
  },
  {
    from: '',
    never: ['better-sqlite3'],
    instead: 'use the Sqlite port',
    except: ['edge-follower/node/sqlite.ts'],
  },
  {
    from: '',
    never: ['etcd3'],
    instead: 'use the CoordinationStore of control-plane/coordination/store.ts',
    except: ['control-plane/coordination/etcd.ts'],
  },
  {
    from: '',
    never: ['ws'],
    instead: 'use the Wire of shared/node/websocket-wire.ts',
    except: ['shared/node/websocket-wire.ts'],
  },
  {
    from: '',
    never: ['ldapts'],
    instead: 'ask the Directories of shared/authn/directory.ts',
    except: ['shared/node/directory.ts'],
  },
  {
    from: '',
    never: ['jose'],
    instead: 'use shared/token, or shared/enrolment/bundle.ts',
    except: [
      'shared/token/',
      'shared/enrolment/bundle.ts',
      'shared/authn/external-token.ts',
      'shared/authn/key-sets.ts',
    ],
  },
  {
    from: 'control-plane/cli/',
    never: ['#control-plane/ledger/', '#control-plane/postgres/', '../../ledger/', '../../postgres/'],
    instead: 'ask the API over HTTP',
  },
]

/** Words that must not stand in the rules: time and chance are arguments there. */
export const forbiddenWords: readonly Border[] = [
  {
    from: 'control-plane/failover/',
    never: [
      'Date.now(',
      'Math.random(',
      'setTimeout(',
      'setInterval(',
      'performance.now(',
      'await ',
      'async ',
    ],
    instead: 'the machine is told of time and answers by events',
    // What carries it.
    except: ['control-plane/failover/driver.ts', 'control-plane/failover/perform.ts'],
  },
  {
    from: 'control-plane/managed/lease.ts',
    never: ['Date.now(', 'Math.random(', 'setTimeout(', 'performance.now(', 'await ', 'async '],
    instead: 'time is an argument, and whoever asks the database does it elsewhere',
  },
  {
    from: 'shared/',
    never: ['Date.now(', 'Math.random(', 'setTimeout(', 'setInterval(', 'performance.now('],
    instead: 'take time, sleep and randomness as arguments',
    except: ['shared/node/'],
  },
]
