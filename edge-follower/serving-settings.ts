// Settings of every Follower, whichever runtime holds it.
import { apiTable, forms, type SettingsOf } from '#shared/api/setting-tables.ts'
import { limits } from '#shared/base/limits.ts'

export const servingTable = {
  ...apiTable,
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
} as const

export type ServingSettings = SettingsOf<typeof servingTable>
