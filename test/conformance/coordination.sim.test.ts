// The contract, on the model of the store that test/sim runs whole clusters on.
import { ModelCluster } from '../sim/store-port.ts'
import { coordinationCases } from './coordination.cases.ts'

coordinationCases('the model', async () => {
  const model = new ModelCluster()
  return {
    node: async (name) => model.node(name),
    pass: (ms) => model.pass(ms),
    compact: async () => model.compact(),
    async kill() {
      model.down = true
    },
    async restart() {
      model.down = false
      model.changed()
    },
    close: async () => undefined,
  }
})
