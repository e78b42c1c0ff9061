// Loaded before a program of ours (--import): every SIGUSR2 puts its wall clock as much further as HOLDFAST_TEST_JUMP_MS says,
// as if somebody had set the clock of its machine. Clocks that only go forward know nothing of that.
const step = Number(process.env.HOLDFAST_TEST_JUMP_MS ?? 0)
const AsIs = Date
let offset = 0

globalThis.Date = class extends AsIs {
  constructor(...given: readonly unknown[]) {
    // @ts-expect-error: whatever was given is handed on.
    super(...(given.length === 0 ? [AsIs.now() + offset] : given))
  }
  static override now(): number {
    return AsIs.now() + offset
  }
} as DateConstructor

process.on('SIGUSR2', () => {
  offset += step
})
