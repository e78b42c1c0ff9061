// What a node speaks TLS with, as its settings say it.
import { expect, test } from 'vitest'
import { loadTls } from '#shared/node/keys.ts'

test('nobody can be asked for a certificate without TLS', async () => {
  await expect(loadTls({ client_certificates: true })).rejects.toThrow(
    /client_certificates: without tls_cert_file/,
  )
  expect(await loadTls({ client_certificates: false })).toBeUndefined()
})
