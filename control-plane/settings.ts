import { z } from 'zod'
import { limits } from '#shared/base/limits.ts'
import { logLevels } from '#shared/node/log.ts'
import { apiTable, doorTable, forms, port, type SettingsOf } from '#shared/node/settings.ts'

export const leaderTable = {
  ...apiTable,
  name: { doc: 'Name of this node', form: forms.text.default('leader-1') },
  host: { doc: 'Address to listen at', form: forms.text.default('127.0.0.1') },
  port: { doc: 'Port to listen at', form: port.default(8080) },
  url: { doc: 'Address under which clients reach this node; told to Followers', form: forms.text.optional() },
  data_dir: {
    doc: 'Folder of keys, the embedded Postgres and audit files',
    form: forms.text.default('./data/leader'),
  },
  data_key_file: { doc: 'File with the data key: 32 bytes in base64', form: forms.text },
  postgres_bin: {
    doc: 'Folder of Postgres programs, instead of the embedded ones',
    form: forms.text.optional(),
  },
  followers: {
    doc: 'Followers that may connect: name=file-with-bearer, separated by commas',
    form: forms.list.default([]),
  },
  node_host: {
    doc: 'Address at which other nodes are listened for; default: host',
    form: forms.text.optional(),
  },
  node_port: {
    doc: 'Port for other nodes, mutual TLS: they join and stream there; default: none joins',
    form: port.optional(),
  },
  node_addresses: {
    doc: 'Where nodes reach the node port of whoever leads: host:port, separated by commas; default: node_host:node_port',
    form: forms.list.default([]),
  },
  node_certificate_life: {
    doc: 'Life of nodes’ certificates, seconds; they are renewed at two thirds',
    form: forms.count
      .min(3)
      .max(limits.authorityLifeMs / 1000)
      .default(limits.certificateLifeMs / 1000),
  },
  audit_json_file: { doc: 'JSON audit file; default: audit.json in data_dir', form: forms.text.optional() },
  audit_text_file: { doc: 'Text audit file; default: audit.log in data_dir', form: forms.text.optional() },
  ...doorTable,
  log_level: { doc: `One of ${logLevels.join(', ')}`, form: z.enum(logLevels).default('info') },
} as const

export type LeaderSettings = SettingsOf<typeof leaderTable>
