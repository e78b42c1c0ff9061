import { defineConfig } from 'vitest/config'

const report = process.env.VITEST_JSON
const root = new URL('..', import.meta.url).pathname
/** Looks at what all the others have seen. */
const last = 'test/tidy/openapi.test.ts'
/** Whole clusters, one at a time: with others beside it on two cores a well one loses its lease. */
const clusters = 'test/cluster/*.test.ts'
/** Once more, by the driver for databases that are reached over WebSockets. */
const ledger = 'test/conformance/{audit,connection,lease,ledger,loader,planned,read}*.postgres.test.ts'
/** Files whose every case is about the Leader alone: once is enough. */
const notAtTheEdge: string[] = []
/** In workerd, with the bundle of a deploy. */
const workers = 'test/**/*.worker.test.ts'
const common = { root, testTimeout: 60_000, hookTimeout: 60_000 }

export default defineConfig({
  test: {
    root,
    maxWorkers: 2,
    globalSetup: ['test/support/seen-folder.ts'],
    reporters: report === undefined ? ['default'] : ['default', ['json', { outputFile: report }]],
    projects: [
      {
        test: {
          ...common,
          name: 'cases',
          include: ['test/**/*.test.ts'],
          exclude: [last, clusters, workers],
          setupFiles: ['test/support/seen.ts'],
          sequence: { groupOrder: 1 },
        },
      },
      {
        test: {
          ...common,
          name: 'neon',
          include: [ledger],
          env: { HOLDFAST_TEST_DRIVER: 'neon' },
          setupFiles: ['test/support/seen.ts'],
          sequence: { groupOrder: 1 },
        },
      },
      {
        test: {
          ...common,
          name: 'clusters',
          include: [clusters],
          setupFiles: ['test/support/seen.ts'],
          maxWorkers: 1,
          fileParallelism: false,
          sequence: { groupOrder: 2 },
        },
      },
      {
        test: {
          ...common,
          name: 'edge',
          // The cases of the API once more, and the Follower in them is the Worker.
          include: [workers, 'test/conformance/api/*.test.ts'],
          exclude: notAtTheEdge,
          env: { HOLDFAST_TEST_FOLLOWER: 'worker' },
          globalSetup: ['test/support/edge-bundle.ts'],
          setupFiles: ['test/support/seen.ts'],
          sequence: { groupOrder: 3 },
        },
      },
      { test: { ...common, name: 'last', include: [last], sequence: { groupOrder: 4 } } },
    ],
  },
})
