// Who reaches whom: nodes by their names, the coordination store as `store`, and how much of what is said to it is lost.
import type { Random } from '../support/random.ts'

export class Network {
  readonly #random: Random
  /** Of requests to the store, and of its answers, each. */
  loss: number
  /** `a b`: what `a` says does not come to `b`. */
  readonly #cut = new Set<string>()

  constructor(random: Random, loss: number) {
    this.#random = random
    this.loss = loss
  }

  cut(a: string, b: string): void {
    this.cutOneWay(a, b)
    this.cutOneWay(b, a)
  }

  /** What `a` says does not come to `b`. */
  cutOneWay(a: string, b: string): void {
    this.#cut.add(`${a} ${b}`)
  }

  mend(a: string, b: string): void {
    this.#cut.delete(`${a} ${b}`)
    this.#cut.delete(`${b} ${a}`)
  }

  heal(): void {
    this.loss = 0
    this.#cut.clear()
  }

  reaches(a: string, b: string): boolean {
    return this.#cut.size === 0 || !this.#cut.has(`${a} ${b}`)
  }

  isLost(): boolean {
    return this.#random.next() < this.loss
  }

  /** Mostly short; now and then nearly as long as anybody waits. */
  delay(longest: number): number {
    return this.#random.next() < 0.02 ? this.#random.int(100, longest) : this.#random.int(1, 30)
  }
}
