// A load generator on bare sockets, run as its own process on its own core: it must be faster than what it
// measures. Takes a JSON plan as its argument, prints a JSON result.
import { connect, type Socket } from 'node:net'

export type LoadPlan = {
  readonly host: string
  readonly port: number
  readonly connections: number
  readonly seconds: number
  /** Not counted, at the start. */
  readonly warmupSeconds: number
  /** Requests per second over all connections (open loop: a late answer does not delay the next request); absent: as fast as answers come. */
  readonly rate?: number
  /** Request heads without the final empty line; `{n}` becomes a number below `spread`. */
  readonly heads: readonly string[]
  readonly body?: string
  readonly spread: number
  readonly expectStatus: number
}

export type LoadResult = {
  readonly requestsPerSecond: number
  readonly answered: number
  readonly wrongStatus: number
  readonly p50Ms: number
  readonly p99Ms: number
  readonly maxMs: number
}

const HEAD_END = Buffer.from('\r\n\r\n')

/** Repeatable choice of `{n}`: xorshift32. */
function numbers(seed: number): (below: number) => number {
  let x = seed | 1
  return (below) => {
    x ^= x << 13
    x ^= x >>> 17
    x ^= x << 5
    return (x >>> 0) % below
  }
}

class Connection {
  readonly #socket: Socket
  readonly #onAnswer: (status: number) => void
  #held: Buffer = Buffer.alloc(0)
  #need = 0
  #status = 0

  constructor(plan: LoadPlan, onReady: () => void, onAnswer: (status: number) => void) {
    this.#onAnswer = onAnswer
    this.#socket = connect({ host: plan.host, port: plan.port, noDelay: true }, onReady)
    this.#socket.on('data', (chunk: Buffer) => this.#take(chunk))
    this.#socket.on('error', (error) => {
      process.stderr.write(`load: ${error.message}\n`)
      process.exit(1)
    })
  }

  send(text: string): void {
    this.#socket.write(text, 'latin1')
  }

  end(): void {
    this.#socket.destroy()
  }

  #take(chunk: Buffer): void {
    let data = this.#held.length === 0 ? chunk : Buffer.concat([this.#held, chunk])
    for (;;) {
      if (this.#need === 0) {
        const end = data.indexOf(HEAD_END)
        if (end < 0) break
        const head = data.toString('latin1', 0, end)
        const length = /\r\ncontent-length: (\d+)/i.exec(head)
        this.#status = Number(head.slice(9, 12))
        this.#need = end + 4 + Number(length?.[1] ?? 0)
      }
      if (data.length < this.#need) break
      data = data.subarray(this.#need)
      this.#need = 0
      this.#onAnswer(this.#status)
    }
    this.#held = data
  }
}

function run(plan: LoadPlan): void {
  const next = numbers(42)
  let headAt = 0
  const request = (): string => {
    const head = plan.heads[headAt++ % plan.heads.length]!
    return `${head.replaceAll('{n}', String(next(plan.spread)))}\r\n\r\n${plan.body ?? ''}`
  }
  const latencies: number[] = []
  const startAt = performance.now()
  const countFrom = startAt + plan.warmupSeconds * 1000
  const stopAt = countFrom + plan.seconds * 1000
  let wrongStatus = 0
  const note = (from: number, status: number): number => {
    const now = performance.now()
    if (status !== plan.expectStatus) wrongStatus++
    if (now >= countFrom && now < stopAt) latencies.push(now - from)
    return now
  }
  const finish = (): void => {
    latencies.sort((a, b) => a - b)
    const at = (q: number): number =>
      latencies[Math.min(latencies.length - 1, Math.floor(latencies.length * q))] ?? 0
    const result: LoadResult = {
      requestsPerSecond: latencies.length / plan.seconds,
      answered: latencies.length,
      wrongStatus,
      p50Ms: at(0.5),
      p99Ms: at(0.99),
      maxMs: at(1),
    }
    process.stdout.write(JSON.stringify(result))
    process.exit(0)
  }
  if (plan.rate === undefined) closedLoop(plan, request, note, stopAt)
  else openLoop(plan, plan.rate, request, note, stopAt)
  setTimeout(finish, stopAt - performance.now() + 50)
}

type Note = (from: number, status: number) => number

function closedLoop(plan: LoadPlan, request: () => string, note: Note, stopAt: number): void {
  for (let i = 0; i < plan.connections; i++) {
    let sentAt = 0
    const go = (): void => {
      sentAt = performance.now()
      connection.send(request())
    }
    const connection: Connection = new Connection(plan, go, (status) => {
      if (note(sentAt, status) < stopAt) go()
      else connection.end()
    })
  }
}

/** Latency counts from when a request was due, so that waiting for a free connection is not hidden. */
function openLoop(plan: LoadPlan, rate: number, request: () => string, note: Note, stopAt: number): void {
  const idle: Connection[] = []
  const dueAt = new Map<Connection, number>()
  const due: number[] = []
  const begin = performance.now()
  let made = 0
  const pump = (): void => {
    const now = performance.now()
    while (now < stopAt && begin + (made * 1000) / rate <= now) due.push(begin + (made++ * 1000) / rate)
    while (due.length > 0 && idle.length > 0) {
      const connection = idle.pop()!
      dueAt.set(connection, due.shift()!)
      connection.send(request())
    }
  }
  for (let i = 0; i < plan.connections; i++) {
    const connection: Connection = new Connection(
      plan,
      () => idle.push(connection),
      (status) => {
        note(dueAt.get(connection)!, status)
        idle.push(connection)
        pump()
      },
    )
  }
  const tick = (): void => {
    pump()
    if (performance.now() < stopAt) setImmediate(tick)
  }
  tick()
}

if (process.argv[2] !== undefined) run(JSON.parse(process.argv[2]) as LoadPlan)
