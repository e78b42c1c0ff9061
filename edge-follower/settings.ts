import { z } from 'zod'
import { directoryTable, doorTable, forms, port, type SettingsOf } from '#shared/api/setting-tables.ts'
import { logLevels } from '#shared/node/log.ts'
import { servingTable } from './serving-settings.ts'

export const followerTable = {
  ...servingTable,
  name: {
    doc: 'Name of this Follower, as its Leader knows it; default: that of its seed, or edge-1',
    form: forms.text.optional(),
  },
  host: { doc: 'Address to listen at', form: forms.text.default('127.0.0.1') },
  port: { doc: 'Port to listen at', form: port.default(8081) },
  leader_url: {
    doc: 'Address of the Leader, for a Follower that has a bearer; default: it joins with a seed',
    form: forms.text.optional(),
  },
  leader_ca_file: {
    doc: 'File with the certificates that the Leader’s is checked against, PEM; default: those of the system',
    form: forms.text.optional(),
  },
  bearer_file: { doc: 'File with the bearer of this Follower', form: forms.text.optional() },
  data_dir: {
    doc: 'Folder of the local copy and the audit queue',
    form: forms.text.default('./data/edge-1'),
  },
  data_key_file: { doc: 'File with the data key: 32 bytes in base64', form: forms.text },
  server_threads: { doc: 'Threads that answer requests', form: forms.count.min(1).max(64).default(1) },
  ...directoryTable,
  ...doorTable,
  log_level: { doc: `One of ${logLevels.join(', ')}`, form: z.enum(logLevels).default('info') },
} as const

export type GivenSettings = SettingsOf<typeof followerTable>
/** Once it is known who this node is. */
export type FollowerSettings = GivenSettings & { readonly name: string }
