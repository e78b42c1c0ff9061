// Virtual time: things happen in the order of their times, and of two at one time in the order they were planned in.

type Planned = { readonly at: number; readonly n: number; readonly act: () => void }

export class Schedule {
  now = 0
  #n = 0
  /** A heap, the earliest first. */
  readonly #heap: Planned[] = []

  plan(ms: number, act: () => void): void {
    const heap = this.#heap
    heap.push({ at: this.now + ms, n: this.#n++, act })
    let i = heap.length - 1
    while (i > 0) {
      const parent = (i - 1) >> 1
      if (!before(heap[i]!, heap[parent]!)) break
      ;[heap[i], heap[parent]] = [heap[parent]!, heap[i]!]
      i = parent
    }
  }

  /** Again and again, until it says false. */
  every(ms: number, act: () => boolean): void {
    this.plan(ms, () => {
      if (act()) this.every(ms, act)
    })
  }

  runUntil(end: number): void {
    for (let next = this.#heap[0]; next !== undefined && next.at <= end; next = this.#heap[0]) {
      this.#removeFirst()
      this.now = next.at
      next.act()
    }
    this.now = end
  }

  #removeFirst(): void {
    const heap = this.#heap
    const last = heap.pop()!
    if (heap.length === 0) return
    heap[0] = last
    for (let i = 0; ; ) {
      const [left, right] = [2 * i + 1, 2 * i + 2]
      let least = i
      if (left < heap.length && before(heap[left]!, heap[least]!)) least = left
      if (right < heap.length && before(heap[right]!, heap[least]!)) least = right
      if (least === i) return
      ;[heap[i], heap[least]] = [heap[least]!, heap[i]!]
      i = least
    }
  }
}

const before = (a: Planned, b: Planned): boolean => a.at < b.at || (a.at === b.at && a.n < b.n)
