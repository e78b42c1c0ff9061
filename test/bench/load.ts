// A load generator on bare sockets, run as its own process on its own core: it must be faster than what it
// measures. Takes a JSON plan as its argument, prints a JSON result.
import { readFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { quantile } from './measure.ts'

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
  /** A file with a body in each line, all of one length, sent in turn instead. */
  readonly bodies?: string
  readonly spread: number
  readonly expectStatus: number
}

export type LoadResult = {
  readonly requestsPerSecond: number
  readonly answered: number
  readonly wrongStatus: number
  /** Of the requests due within one second, the median of the seconds: kernel threads that take a core for 30 ms every few seconds are not what is measured. */
  readonly p99Ms: number
  /** Of all requests, with whatever the machine did meanwhile. */
  readonly p99WholeMs: number
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
  let bodyAt = 0
  const bodies =
    plan.bodies === undefined ? [plan.body ?? ''] : readFileSync(plan.bodies, 'utf8').trimEnd().split('\n')
  const request = (): string => {
    const head = plan.heads[headAt++ % plan.heads.length]!
    return `${head.replaceAll('{n}', String(next(plan.spread)))}\r\n\r\n${bodies[bodyAt++ % bodies.length]}`
  }
  const bySecond: number[][] = Array.from({ length: plan.seconds }, () => [])
  const startAt = performance.now()
  const countFrom = startAt + plan.warmupSeconds * 1000
  const stopAt = countFrom + plan.seconds * 1000
  let wrongStatus = 0
  const note = (from: number, status: number): number => {
    const now = performance.now()
    if (status !== plan.expectStatus) wrongStatus++
    if (now >= countFrom && now < stopAt) bySecond[Math.floor((now - countFrom) / 1000)]!.push(now - from)
    return now
  }
  const finish = (): void => {
    const all = bySecond.flat()
    const result: LoadResult = {
      requestsPerSecond: all.length / plan.seconds,
      answered: all.length,
      wrongStatus,
      p99Ms: quantile(
        bySecond.map((second) => quantile(second, 0.99)),
        0.5,
      ),
      p99WholeMs: quantile(all, 0.99),
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
