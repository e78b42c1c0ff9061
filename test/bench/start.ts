// A Follower killed with SIGKILL and started again while the Leader is away.
import { type Figure, figure } from './measure.ts'
import { offlineFollower } from './offline-follower.ts'

export async function coldStart(): Promise<Figure[]> {
  const follower = await offlineFollower(100_000, [])
  const seconds: number[] = []
  try {
    const client = await follower.start()
    for (let round = 0; round < 5; round++) {
      await follower.node.kill('SIGKILL')
      const from = performance.now()
      follower.node.start()
      for (;;) {
        const status = await client.getSecret(`app/secret-${round}`).then(
          async (response) => {
            await response.arrayBuffer()
            return response.status
          },
          () => 0,
        )
        if (status === 200) break
        await new Promise((resolve) => setTimeout(resolve, 5))
      }
      seconds.push((performance.now() - from) / 1000)
    }
  } finally {
    await follower.remove()
  }
  return [figure('SIGKILL to first authorised read, 100 000 secrets (bar ≤ 2)', 's', seconds)]
}
