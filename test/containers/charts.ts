// The charts, held against the schemas of a Kubernetes. Tools and schemas come through Go, where there is one.
import { join } from 'node:path'
import { charts, KUBERNETES, mustConform, render, writeSchemas } from '../support/kubernetes.ts'
import { findProgram } from '../support/programs.ts'
import { done } from './engine.ts'
import type { Note } from './main.ts'

const HELM = 'helm.sh/helm/v3/cmd/helm@v3.22.0'
const KUBECONFORM = 'github.com/yannh/kubeconform/cmd/kubeconform@v0.8.0'

/** Resolves with why nothing was checked. */
export async function checkCharts(folder: string, note: Note): Promise<string | undefined> {
  const go = findProgram('go', undefined)
  if (go === undefined)
    return 'charts: there is no go here, by which helm, kubeconform and the schemas are fetched'
  const fetched = async (name: string, module: string): Promise<string> => {
    const named = findProgram(name, process.env[`HOLDFAST_${name.toUpperCase()}`])
    if (named !== undefined) return named
    await done([go, 'install', module], { ...process.env, GOBIN: folder })
    return join(folder, name)
  }
  const helm = await fetched('helm', HELM)
  const kubeconform = await fetched('kubeconform', KUBECONFORM)
  const module = await done([go, 'mod', 'download', '-json', `k8s.io/kubernetes@v${KUBERNETES}`])
  const { Dir } = JSON.parse(module) as { Dir: string }
  const schemas = join(folder, 'schemas')
  writeSchemas(join(Dir, 'api/openapi-spec/swagger.json'), schemas)
  for (const [name, chart] of Object.entries(charts))
    await note(`chart of ${name}: what Kubernetes ${KUBERNETES} takes`, async () => {
      for (const values of chart.values) mustConform(kubeconform, schemas, render(helm, chart, values))
      return undefined
    })
  return undefined
}
