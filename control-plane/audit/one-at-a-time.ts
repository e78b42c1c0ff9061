/**
 * Runs `run` one at a time. Who asks during a run gets the next one, which starts after it asked and so sees
 * what was there then; all who ask meanwhile share it.
 */
export function oneAtATime(run: () => Promise<void>): () => Promise<void> {
  let running: Promise<void> | undefined
  let next: Promise<void> | undefined

  const start = (): Promise<void> => {
    running = run().finally(() => {
      running = undefined
    })
    return running
  }
  const startNext = (): Promise<void> => {
    next = undefined
    return start()
  }

  return () => {
    if (next !== undefined) return next
    if (running === undefined) return start()
    // A run that failed has told those who asked for it.
    next = running.then(startNext, startNext)
    return next
  }
}
