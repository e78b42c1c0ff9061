import { defineConfig } from 'vitest/config'

const report = process.env.VITEST_JSON
const root = new URL('..', import.meta.url).pathname
/** Looks at what all the others have seen. */
const last = 'test/tidy/openapi.test.ts'
/** Whole clusters, one at a time: with others beside it on two cores a well one loses its lease. */
const clusters = 'test/cluster/*.test.ts'
/** Once more, by the driver for databases that are reached over WebSockets. */
const ledger = 'test/conformance/{audit,connection,lease,ledger,loader,planned,read}*.postgres.test.ts'
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
          exclude: [last, clusters],
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
      { test: { ...common, name: 'last', include: [last], sequence: { groupOrder: 3 } } },
    ],
  },
})
