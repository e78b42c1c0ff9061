// Every bound of the product, with its reason. At a bound something stated happens: refuse, wait or drop the
// peer, never grow. Sizes are bytes unless the name says otherwise.

const KiB = 1024
const MiB = 1024 * KiB

export const limits = {
  /** A secret value. With its seal it still fits the 2 MB row of a Durable Object (P9). Above: 413. */
  secretBytes: 1 * MiB,
  /** A policy text. Ten thousand hosts with grants are about 3 MB. Above: 413. */
  policyBytes: 10 * MiB,
  /** Any other request body (keys, passwords, forms). Above: 413. */
  bodyBytes: 64 * KiB,
  /** What is still read of a body that was refused, so that its sender gets to see why. */
  discardBytes: 64 * MiB,
  /** Request line and all headers together. A token header is about 1 KB. Above: 431. */
  headerBytes: 32 * KiB,
  /** An idle connection is kept this long for its next request: longer than a balancer keeps it. */
  keepAliveMs: 65_000,
  /** How long a node that stops waits for running requests. */
  drainMs: 3_000,
  /** All headers must have come by then, and the whole request: slow senders hold no connection for ever. */
  headersMs: 20_000,
  requestMs: 120_000,

  /** Nesting of JSON that came from outside, for the same reason as of YAML. Above it is no JSON: 400. */
  jsonDepth: 64,
  /** Nesting of policy bodies and YAML nodes: a recursion of the reader per level. Above: 422. */
  yamlDepth: 64,
  /**
   * Lexemes of one document, spaces and line ends among them: each costs the reader about 2 µs and 300 bytes. A
   * policy of 10 000 hosts, 10 000 variables and their grants has 1.25 million. Above: 422.
   */
  yamlTokens: 2_000_000,
  /** Nodes of one document, aliases counted as often as they are used: stops alias bombs. Above: 422. */
  yamlNodes: 1_000_000,
  /** Statements after grants and permits are multiplied out. Above: 422. */
  policyRows: 1_000_000,

  /** A full id in UTF-8. Two of them and a name are a key, and an index entry of Postgres holds 2 700 bytes. Above: 422. */
  idBytes: 950,
  /** A privilege or the name of an annotation in UTF-8, for the same reason. Above: 422. */
  nameBytes: 500,
  /** Commands in one commit: more would make one slow flush everybody's pause. */
  commandsPerCommit: 64,
  /** Rows of one statement: its parameters are one text in memory. */
  rowsPerStatement: 10_000,
  /** Commands waiting for the writer; beyond it writes are refused with 503. */
  commandsWaiting: 4096,
  /** Policies with texts up to this size are loaded at once; larger ones on a thread of their own. */
  policyInlineBytes: 16 * KiB,
  /** Large policies that are being loaded, or wait to be; beyond it loads are refused with 503. */
  policiesLoading: 16,
  /** How long the thread that loads them stays when there is none. */
  policyLoaderRestMs: 10_000,
  /** Parts of commits that are looked through to see whether a decision still stands; behind more it is made again. */
  commitsLookedThrough: 10_000,
  /** How long a policy load may wait for another load into its account, before 409 with Retry-After. */
  policyLoadWaitMs: 2_000,

  /** One part of a logged commit, and one frame of the change stream. A value of the largest size fits. */
  partBytes: 4 * MiB,
  /** Soft size of a group of audit lines in the outbox. */
  outboxGroupBytes: 1 * MiB,
  /** Soft size at which the writer starts the next part. */
  partTargetBytes: 256 * KiB,
  /** Uncompressed rows of one snapshot chunk. */
  snapshotChunkBytes: 1 * MiB,
  /** Bytes waiting for one Follower; beyond it goes back to the stored log and slows nobody. */
  subscriberBacklogBytes: 8 * MiB,
  /** The same in commits: small ones cost more than their bytes. */
  subscriberBacklogCommits: 1_000,
  /** A heartbeat is a commit of its own, so that the age of a Follower's data is known (cluster 6.3). */
  heartbeatMs: 1_000,
  /** A link that shows no sign of life for this long is closed and dialled again. */
  linkSilenceMs: 15_000,
  /**
   * One message of a WebSocket that we send: a piece of the stream. The oldest runtimes at the edge take 1 MiB, now it is 32.
   * And one that we take: a whole frame, for who sends each as one message. Above: close code 1009.
   */
  webSocketMessageBytes: 1 * MiB,
  webSocketTakesBytes: 8 * MiB + 4,
  /** What is held back for a sleeping Follower must fit into `subscriberBacklogCommits`, one heartbeat a second. */
  edgeHeartbeatSeconds: 5,
  edgeHeartbeatSecondsMax: 900,
  /** A Follower that is dialled and says no is dialled again after this, at most: asking costs it something too. */
  edgeRefusedMs: 30_000,
  /** Objects of one Worker, each a Follower that its Leader sends everything. */
  edgeObjects: 64,
  /** How many of them are asked before a request is answered with 503. */
  edgeObjectsAsked: 3,
  /** An object looks this often whether it is well, so that others are asked when it is not. */
  objectHealthMs: 1_000,
  /** How long the other end of a WebSocket may take to say goodbye. */
  webSocketCloseMs: 2_000,

  /** Change log kept for Followers that were away; beyond it they take a snapshot (cluster 6.3). */
  changeLogAgeMs: 24 * 60 * 60 * 1000,
  changeLogBytes: 1024 * MiB,

  /** A node's certificate (cluster 4), and how much earlier than its making it is valid: for clocks that are behind. */
  certificateLifeMs: 30 * 24 * 60 * 60 * 1000,
  certificateBackdatedMs: 60_000,
  /** The internal authority itself. */
  authorityLifeMs: 10 * 365 * 24 * 60 * 60 * 1000,
  /** A seed may be used so long (cluster 3), and at most so long when its maker says otherwise. */
  seedLifeSeconds: 60 * 60,
  seedLifeSecondsMax: 7 * 24 * 60 * 60,
  /** A seed holds two authorities at most, and some addresses. */
  bundleBytes: 64 * KiB,
  leaderAddresses: 20,
  /** The list of revoked certificates: some 40 bytes each, and those that have run out are left out. */
  revocationsBytes: 1 * MiB,
  /** Other names of one node. */
  nodeAltNames: 20,
  /** Seeds and certificates are remembered so long after they have expired, for who asks why. */
  enrolmentKeptMs: 30 * 24 * 60 * 60 * 1000,
  /** A registration waits so long for an address of the Leader before it tries the next. */
  enrolMs: 10_000,
  /** A node that waits for its seed looks so often; a renewal that failed is tried again after this, at most. */
  seedLookMs: 500,
  /** A certificate that another process renews is looked at this often. */
  identityLookMs: 5_000,
  /** Revoked certificates are looked for this often: connections with them end within a second (cluster 4). */
  revocationsLookMs: 500,
  renewalRetryMs: 60_000,
  /** Connections are looked at this often for certificates that have run out. */
  expirySweepMs: 1_000,

  /** Audit records of a Follower that are not yet acknowledged; at the limit reads are refused (I9). */
  auditQueueRecords: 10_000_000,
  auditQueueBytes: 1024 * MiB,
  /**
   * Pages of a queue's log that one commit moves to its file. The thread answers nobody meanwhile: 32 take half a
   * millisecond, 1 000 twelve. Fewer cost more flushes of the file.
   */
  auditCheckpointPages: 32,
  /** One batch on its way to the Leader (cluster 12.6). */
  auditBatchRecords: 500,
  auditBatchWaitMs: 200,
  /** A queue shows this often that its link is alive: three of them fit into the silence that ends one. */
  auditPingMs: 5_000,
  /** How long an answer waits for its audit record before it is refused with 503. */
  auditPatienceMs: 800,
  /** A record that has waited so long before it could be stored is tried for this long: both are less than a second. */
  auditLastTryMs: 150,
  /** Records that could not be moved to the audit database are tried again after this, writes or not. */
  auditRetryMs: 5_000,
  /** Keys of Followers that could not be read are read again after this. */
  keysRetryMs: 1_000,
  /** Requests of the Leader that wait for their audit record; beyond it they are refused with 503. */
  auditAppendsWaiting: 4_096,
  /** Refused streams of Followers whose alarm a Leader remembers, so that a sender's retries make no new one. */
  auditAlarmsRemembered: 1_000,
  /** Writes’ audit lines and the audit files are moved on at most this often: they are durable already. */
  followUpMs: 50,
  /** Records that one answer of `/audit` holds, whatever was asked: it is made in the Leader's memory. */
  auditRowsPerAnswer: 10_000,
  /** Longest audit line that a file is searched for at a start: a list of parameters may be long. */
  auditLineBytes: 256 * KiB,

  /** The SQLite of a Durable Object; and one cell: with the others of its row it fits the 2 MB of a row (P9). */
  objectStorageBytes: 10 * 1024 * MiB,
  objectCellBytes: 1_500_000,
  /** Its audit lines wait so long for others: a flush stops the whole object, and is worth more than one of them. */
  objectAuditGroupMs: 5,
  /** Its safety net when it dials: an event starts it again when it was put out of memory. */
  objectAlarmMs: 30_000,
  /** The platform keeps copies of its own: the object is not woken for the scrubber more than once a day. */
  objectScrubPauseMs: 24 * 60 * 60 * 1000,
  /** Frames that wait in an object of 128 MB for being stored; beyond it the wire is closed and dialled again. */
  webSocketBacklogBytes: 16 * MiB,

  /** http-api 15: characters of a branch's name, and names in its path. Above: 422. */
  branchNameCharacters: 60,
  branchDepth: 15,
  /** Branches of one list, and of one that is asked for with an offset alone. */
  branchesListed: 1_000,
  branchesListedBehindOffset: 10,

  /** Host-factory tokens made by one call. */
  factoryTokensPerCall: 1_000,
  /** How long the secret engine may take for an answer: a cloud is asked behind it. After that 504. */
  secretEngineMs: 10_000,
  /** What the engine answers: credentials and their names. Above: 502. */
  secretEngineBytes: 64 * KiB,
  /** Requests of one thread that wait for the engine; beyond it 503. */
  secretEngineRequests: 256,

  /** Connections to providers, and to one of them: more requests wait, and their time runs. */
  providerConnections: 256,
  providerConnectionsEach: 128,
  /** Questions to one provider under way, those that wait included: anybody may send a code to be redeemed. Above: refused. */
  providerRequestsEach: 512,
  /** Keys of one provider that may sign: those that publish most have some twenty. Above: none of them is believed. */
  providerKeys: 100,
  /** Names of keys, and sizes of RSA keys: others are left out of a set. A larger key makes each token a long computation. */
  providerKeyIdCharacters: 500,
  providerKeyBits: 2_048,
  providerKeyBitsMax: 8_192,
  /** Providers whose keys a node remembers; beyond it those that were not wanted for longest are forgotten. */
  keySources: 1_000,
  /**
   * http-api 8.8: fetches of one source within this time because a key is wanted that is not held, one at once for all that
   * want one. Beyond it the keys that are held answer; where none are, 503. And requests that wait for one fetch.
   */
  keyFetches: 10,
  keyFetchesPerMs: 300_000,
  keyFetchWaiting: 1_000,
  /** Fetches within the same time for who asks whether an authenticator is well; beyond it the last answer is told. */
  keyChecks: 30,
  /** Keys that are older are fetched again when they are next wanted, while nobody waits; after a failure not before this. */
  keysFreshMs: 300_000,
  keysRefreshRetryMs: 30_000,
  /** While a provider is away, a server thread asks its main thread this often whether there are newer ones. */
  keysAskedMs: 1_000,
  /** Default of a setting: for so long keys prove tokens while their provider is away. */
  keysMaxAgeSeconds: 24 * 60 * 60,

  /** What an identity provider answers: keys, and where they are. How long it may take. */
  providerBytes: 1 * MiB,
  providerMs: 10_000,
  /** A token of an identity provider: those that list every group of a user have some 10 KB. Above: 401. */
  externalTokenBytes: 16 * KiB,
  /** Those that a key set was found to have signed: tokens, and their texts together. A workload shows one several times. */
  externalTokensRemembered: 4_000,
  externalTokenBytesRemembered: 4 * MiB,
  /** Headers of such tokens: a provider has one per key. */
  tokenHeadersRemembered: 1_000,
  tokenHeaderBytesRemembered: 1 * MiB,
  /** Key sets that are kept in variables and were read once: sets, and their texts together. */
  keySetsRead: 100,
  keySetBytesRead: 16 * MiB,
  /**
   * A provider's clock may be ahead of ours by this, when it makes a token while we wait for it. Its tokens live for a minute at
   * least.
   */
  providerAheadMs: 10_000,
  /** Authenticators that the list of OpenID providers looks at: anybody may ask for it, and each is asked for its document. */
  oidcProviders: 100,
  /** A request that a host has signed for AWS is good for so long, there and here; clocks may differ by this much. */
  iamRequestMs: 15 * 60 * 1000,
  iamAheadMs: 5 * 60 * 1000,
  /** Conversations of one thread with directories (LDAP): each holds a connection. Beyond it they are refused. */
  directoryConversations: 64,

  /** A certificate that is put into a pod (http-api 8.9): so long it may be away from its cluster. */
  podCertificateLifeMs: 3 * 24 * 60 * 60 * 1000,
  /** A pod's certificate or its CSR, PEM: of the longest keys in use some 3 KB. Above: 401, before anything of it is read. */
  podCertificateBytes: 8 * KiB,
  /** How long a command in a container may take, and what it says of its end: a file is written. */
  clusterCommandMs: 5_000,
  clusterCommandBytes: 64 * KiB,
  /** Questions to clusters under way in one thread: whoever asks for a certificate has proved nothing. Beyond it 503. */
  clusterRequests: 64,

  /** How long another node may take to say how it is; what it says is figures and names. After that it has not answered. */
  remoteHealthMs: 2_000,
  remoteHealthBytes: 1 * MiB,
  /** Connections to the health port: a balancer has one at a time. Beyond it they are closed. */
  healthConnections: 256,
  /** Operators at one node's own socket, which waits for what became of an order. */
  operatorConnections: 32,
  /** What an operator says why he does something: it stays in the store. */
  operatorWords: 500,
  /** A PROXY header with all that may follow the addresses, and how long a balancer may take to send it. */
  proxyHeaderBytes: 2 * KiB,
  proxyHeaderMs: 3_000,

  /** Access tokens that a node remembers as verified until they expire. */
  tokensRemembered: 10_000,
  /** Their texts together: a header may be thirty times as long as the token in it. */
  tokenBytesRemembered: 16 * MiB,
  /** Access tokens that a node gave, for whoever asks in the same second: replicas of a workload start together. */
  tokensGiven: 1_000,
  /** Role closures remembered per position (P5). */
  closuresRemembered: 10_000,
  /** Their texts together: roles that hold thousands of others must not fill the memory. */
  closureBytesRemembered: 16 * MiB,
  /** Answers of statements that are asked again and again, per data version: of roles that authenticate, above all. */
  rowsKept: 10_000,
  rowBytesKept: 8 * MiB,
  /** How much of the data file a reader maps; the rest is read page by page. More is faster and counts as memory. */
  readerMapBytes: 46 * MiB,
  /** What stays of a write-ahead log of SQLite after a large transaction. */
  writeLogBytes: 16 * MiB,
  /** Rows and bytes that the scrubber digests at once, about 0.3 ms: a read on the same core waits no longer. */
  scrubSliceRows: 50,
  scrubSliceBytes: 128 * KiB,
  /** Six in a thousand of a core: a copy of 100 000 secrets is passed over in seven minutes. */
  scrubRestMs: 50,
  /** From one pass over the copy to the next. */
  scrubPauseMs: 10 * 60 * 1000,
  /** Free pages are given back to the disk in steps of about 2 ms. */
  reclaimStepPages: 16,
  reclaimRestMs: 50,
  reclaimPauseMs: 60 * 1000,
  /** Addresses whose parsed form a node remembers. */
  addressesRemembered: 1_000,
  /** How long a request with Holdfast-Inconsistent: wait may wait for its position. */
  positionWaitMs: 5_000,

  /** http-api 2: settings with these defaults. */
  resourceListLimit: 1_000,
  secretVersions: 20,
  policyVersions: 20,
  effectivePolicyDepth: 64,
  effectivePolicyLimit: 100_000,
  dynamicSecretsPerRequest: 10,
  tokenTtlSeconds: 480,
  tokenTtlSecondsMax: 18_000,
  /** Of the local token socket: programs at once, and requests of one that were not answered yet. */
  tokenSocketConnections: 100,
  tokenSocketLines: 100,
} as const
