import { z } from 'zod'
import { limits } from '#shared/base/limits.ts'
import { logLevels } from '#shared/node/log.ts'
import { apiTable, doorTable, forms, port, type SettingsOf } from '#shared/node/settings.ts'

export const followerTable = {
  ...apiTable,
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
  degraded_age: {
    doc: 'Age of the data in seconds from which health says degraded',
    form: forms.count.default(30),
  },
  max_offline_age: {
    doc: 'Age of the data in seconds above which the node is not well (/health is 502); 0: no limit',
    form: forms.count.default(0),
  },
  audit_budget_records: {
    doc: 'Audit records kept until the Leader takes them',
    form: forms.count.min(1).default(limits.auditQueueRecords),
  },
  audit_budget_bytes: { doc: 'The same in bytes', form: forms.count.min(1).default(limits.auditQueueBytes) },
  ...doorTable,
  log_level: { doc: `One of ${logLevels.join(', ')}`, form: z.enum(logLevels).default('info') },
} as const

export type GivenSettings = SettingsOf<typeof followerTable>
/** Once it is known who this node is. */
export type FollowerSettings = GivenSettings & { readonly name: string }
