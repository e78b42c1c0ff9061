// Who is calling behind proxies, and whether an address lies in a range: a wrong answer opens a door (cluster 15).
import { describe, expect, test } from 'vitest'
import { clientAddressThrough, normaliseCidr, originAllowed, parseAddress } from '#shared/authz/address.ts'
import { type Random, runSeed, seeded } from '../../../support/random.ts'

/** An address as a naive twin has it: one number. */
type Naive = { readonly width: 32 | 128; readonly value: bigint }

const v4 = (value: bigint): string => [24n, 16n, 8n, 0n].map((shift) => (value >> shift) & 255n).join('.')
const v6 = (value: bigint): string =>
  Array.from({ length: 8 }, (_, i) => ((value >> BigInt(112 - 16 * i)) & 0xffffn).toString(16)).join(':')
const text = ({ width, value }: Naive): string => (width === 32 ? v4(value) : v6(value))

const mapped = 0xffffn << 32n
const isMapped = ({ width, value }: Naive): boolean => width === 128 && value >> 32n === mapped >> 32n

function randomAddress(random: Random, near?: Naive): Naive {
  const width = near?.width ?? random.pick([32, 128] as const)
  let value = near?.value ?? 0n
  if (near === undefined) {
    for (let i = 0; i < width / 16; i++) value = (value << 16n) | BigInt(random.int(0, 65_536))
  } else {
    // One or two bits away: the edges of ranges.
    for (let n = random.int(0, 3); n > 0; n--) value ^= 1n << BigInt(random.int(0, width))
  }
  return { width, value }
}

const holds = (network: Naive, bits: number, address: Naive): boolean =>
  network.width === address.width &&
  network.value >> BigInt(network.width - bits) === address.value >> BigInt(network.width - bits)

describe('ranges', () => {
  test('hold what a naive twin says they hold', () => {
    const seed = runSeed('address')
    const random = seeded(seed)
    let inside = 0
    for (let i = 0; i < 20_000; i++) {
      const network = randomAddress(random)
      const address = random.int(0, 10) === 0 ? randomAddress(random) : randomAddress(random, network)
      if (isMapped(network) || isMapped(address)) continue
      const bits = random.int(0, network.width + 1)
      const base = {
        ...network,
        value: (network.value >> BigInt(network.width - bits)) << BigInt(network.width - bits),
      }
      const normal = normaliseCidr(`${text(base)}/${bits}`)
      const context = `seed ${seed}, case ${i}: ${text(address)} in ${text(base)}/${bits}`
      if (typeof normal !== 'string') throw new Error(`${context}: ${normal.message}`)
      const expected = holds(base, bits, address)
      if (expected) inside++
      expect(originAllowed(text(address), [normal]), context).toBe(expected)
      if (base.value !== network.value) {
        expect(normaliseCidr(`${text(network)}/${bits}`), context).toEqual({
          message: expect.stringContaining('Value has bits set to right of mask. Did you mean'),
        })
      }
    }
    expect(inside).toBeGreaterThan(2_000)
  })

  test('one of several is enough; none is no restriction; what is no address is in none', () => {
    expect(originAllowed('10.1.2.3', ['192.0.2.0/24', '10.0.0.0/8'])).toBe(true)
    expect(originAllowed('11.1.2.3', ['192.0.2.0/24', '10.0.0.0/8'])).toBe(false)
    expect(originAllowed('anything', [])).toBe(true)
    expect(originAllowed('anything', ['0.0.0.0/0', '::/0'])).toBe(false)
  })

  test('an IPv4 address inside IPv6 is that IPv4 address', () => {
    expect(originAllowed('::ffff:10.1.2.3', ['10.0.0.0/8'])).toBe(true)
    expect(originAllowed('::ffff:a01:203', ['10.0.0.0/8'])).toBe(true)
    expect(originAllowed('::ffff:11.1.2.3', ['10.0.0.0/8'])).toBe(false)
  })

  test.each([
    ['10.0.0.1', '10.0.0.1/32'],
    ['10.0.0.0/8', '10.0.0.0/8'],
    ['0.0.0.0/0', '0.0.0.0/0'],
    ['2001:DB8::/32', '2001:db8::/32'],
    ['::1', '::1/128'],
  ])('%s has the normal form %s', (given, normal) => {
    expect(normaliseCidr(given)).toBe(normal)
  })

  test.each([
    '',
    ' ',
    '/8',
    '10.0.0.0/',
    '10.0.0.0/33',
    '::/129',
    '10.0.0.0/8/8',
    '10.0.0.0/-1',
    '10.0.0.0/08x',
    '10.0.0',
    '10.0.0.256',
    '010.0.0.1',
    '0x0a.0.0.1',
    '167772161',
    'localhost',
    '10.0.0.1 10.0.0.2',
    '10.0.0.0/255.0.0.0',
    ':::',
    '1::2::3',
  ])('%j is no range', (given) => {
    expect(normaliseCidr(given)).toEqual({
      message: expect.stringContaining('Invalid IP address or CIDR range'),
    })
  })

  test.each(['', '10.0.0', '1', '0x7f.1', '127.1', '::1%eth0x y', '10.0.0.1:80', '[::1]'])(
    '%j is no address',
    (given) => {
      expect(parseAddress(given)).toBeUndefined()
    },
  )
})

describe('behind proxies', () => {
  test('the client is who a naive twin says', () => {
    const seed = runSeed('proxies')
    const random = seeded(seed)
    const trusted = ['10.0.0.0/8', '203.0.113.7', '2001:db8::/32']
    const addresses = [
      '10.1.1.1',
      '10.2.2.2',
      '203.0.113.7',
      '2001:db8:0:0:0:0:0:1',
      '127.0.0.1',
      '0:0:0:0:0:0:0:1',
    ]
    const strangers = ['192.0.2.1', '198.51.100.9', '203.0.113.8', '2001:db9:0:0:0:0:0:1']
    const normal = (address: string): string => parseAddress(address)!.toString()
    const clientAddress = clientAddressThrough(trusted)
    for (let i = 0; i < 5_000; i++) {
      const hop = () => random.pick([...addresses, ...strangers, 'unknown', ''])
      const peer = random.pick([...addresses, ...strangers])
      const chain = Array.from({ length: random.int(0, 5) }, hop)
      const header = random.int(0, 5) === 0 ? undefined : chain.join(random.pick([',', ', ', ' ,']))
      let expected = peer
      const hops = header === undefined ? [] : chain
      for (let at = hops.length - 1; at >= 0 && addresses.includes(expected); at--) {
        if (![...addresses, ...strangers].includes(hops[at]!)) break
        expected = hops[at]!
      }
      expect(clientAddress(peer, header), `seed ${seed}: ${peer}, ${header}`).toBe(normal(expected))
    }
  })

  test('nobody is believed by default but this machine', () => {
    const clientAddress = clientAddressThrough([])
    expect(clientAddress('192.0.2.1', '10.0.0.1')).toBe('192.0.2.1')
    expect(clientAddress('127.0.0.1', '192.0.2.9')).toBe('192.0.2.9')
    expect(clientAddress('127.0.0.2', '192.0.2.9')).toBe('127.0.0.2')
    expect(clientAddress('::ffff:127.0.0.1', '192.0.2.9')).toBe('192.0.2.9')
    expect(clientAddress('/run/local.sock', '192.0.2.9')).toBe('/run/local.sock')
  })

  test.each(['10.0.0.0/99', 'balancer', '', '10.1.1.1/8'])('the setting %j is refused by name', (entry) => {
    expect(() => clientAddressThrough(['10.0.0.1', entry])).toThrow(/CONJ00065E trusted_proxies: Invalid/)
  })

  test('a long chain costs no more than it is long', () => {
    const header = `192.0.2.1, ${'10.0.0.1, '.repeat(3_000)}10.0.0.2`
    expect(clientAddressThrough(['10.0.0.0/8'])('10.0.0.3', header)).toBe('192.0.2.1')
  })
})
