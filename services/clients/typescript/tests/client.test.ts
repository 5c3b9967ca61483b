import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type BalanceChange, decimal, formatMoney, NoAnswer, Problem } from '@freehold/client'
import { json, lines, nothing, problem, scripted } from './server.js'

const EVENT = {
  account_id: 'cus_42',
  event_type: 'CHARGE',
  amount_minor: 2n ** 60n + 1n,
  currency: 'USD',
}
const AT_ONCE = { 'Retry-After': '0' }

function balanceFrame(id: string, amount: string): string {
  const balance = {
    account_id: 'cus_42',
    currency: 'USD',
    exponent: 2,
    current_balance_minor: amount,
  }
  return `retry: 1\nevent: balance\nid: ${id}\ndata: ${JSON.stringify(balance)}\n\n`
}

test('an append is repeated with its key until it is answered', async (test) => {
  const { freehold, asked } = await scripted(test, [
    nothing,
    problem(503, 'overloaded', AT_ONCE),
    json(201, { ...EVENT, amount_minor: '1152921504606846977', metadata: { tax_minor: 'none' } }),
  ])
  const event = await freehold.appendEvent(EVENT)
  assert.equal(event.amount_minor, 2n ** 60n + 1n)
  assert.deepEqual(event.metadata, { tax_minor: 'none' })
  assert.equal(asked.length, 3)
  const keys = new Set(asked.map(({ headers }) => headers['idempotency-key']))
  assert.equal(keys.size, 1)
  assert.match([...keys].join(), /^[0-9a-f-]{36}$/)
  assert.match(asked[2]?.body ?? '', /"amount_minor":1152921504606846977[,}]/)
  assert.equal(asked[2]?.headers.prefer, 'amounts=string')
})

test('two appends have two keys, and a caller may give one', async (test) => {
  const { freehold, asked } = await scripted(test, [json(201, {}), json(201, {}), json(201, {})])
  await freehold.appendEvent(EVENT)
  await freehold.appendEvent(EVENT)
  await freehold.appendEvent(EVENT, { idempotencyKey: 'mine' })
  const keys = asked.map(({ headers }) => headers['idempotency-key'])
  assert.notEqual(keys[0], keys[1])
  assert.equal(keys[2], 'mine')
})

test('what may be carried out twice is not repeated', async (test) => {
  const { freehold, asked } = await scripted(test, [
    problem(503, 'overloaded', AT_ONCE),
    json(201, {}),
  ])
  await assert.rejects(freehold.createReadToken({}), { name: 'Problem', slug: 'overloaded' })
  assert.equal(asked.length, 1)
})

test('a refusal is not repeated, and says what it is', async (test) => {
  const { freehold, asked } = await scripted(test, [
    json(
      422,
      {
        type: '/problems/validation-failed',
        title: 'The request breaks a rule',
        status: 422,
        detail: 'a detail',
        errors: [{ pointer: '/currency', detail: 'there is no such currency' }],
        tenant_id: 'acme',
      },
      { 'X-Request-Id': 'r1' },
    ),
  ])
  const error = await freehold.appendEvent(EVENT).catch((error: unknown) => error)
  assert(error instanceof Problem)
  assert.equal(error.slug, 'validation-failed')
  assert.equal(error.message, 'a detail')
  assert.equal(error.errors[0]?.pointer, '/currency')
  assert.deepEqual(error.facts, { tenant_id: 'acme' })
  assert.equal(error.requestId, 'r1')
  assert.equal(asked.length, 1)
})

test('what a proxy answers is a problem, too', async (test) => {
  const { freehold } = await scripted(test, [json(404, '<html>')])
  await assert.rejects(freehold.getLag(), { name: 'Problem', slug: 'unknown', status: 404 })
})

test('Retry-After is honoured, and is no reason to wait for an hour', async (test) => {
  const { freehold, asked } = await scripted(test, [
    problem(429, 'too-many-requests', { 'Retry-After': '1' }),
    problem(429, 'too-many-requests', { 'Retry-After': '3600' }),
  ])
  const begun = performance.now()
  await assert.rejects(freehold.getLag(), { slug: 'too-many-requests', retryAfterS: 3600 })
  assert(performance.now() - begun >= 990)
  assert.equal(asked.length, 2)
})

test('retries end', async (test) => {
  const { freehold, asked } = await scripted(test, [], { retries: 1 })
  await assert.rejects(freehold.getLag(), NoAnswer)
  assert.equal(asked.length, 2)
})

test('an answer that does not come is given up, and so is one that nobody wants', async (test) => {
  const silent = () => undefined
  const { freehold } = await scripted(test, [silent, silent], { retries: 0 })
  await assert.rejects(freehold.getLag({}, { timeoutMs: 20 }), NoAnswer)
  const leaving = new AbortController()
  const asking = freehold.getLag({}, { signal: leaving.signal })
  leaving.abort(new Error('no one waits'))
  await assert.rejects(asking, { message: 'no one waits' })
})

test('a token that is refused is asked for again, once', async (test) => {
  let tokens = 0
  const { freehold, asked } = await scripted(
    test,
    [
      problem(401, 'unauthorized'),
      json(200, {}),
      problem(401, 'unauthorized'),
      problem(401, 'unauthorized'),
    ],
    { apiKey: undefined, readToken: () => `token ${(tokens += 1)}` },
  )
  await freehold.getLag()
  assert.deepEqual(
    asked.map(({ headers }) => headers.authorization),
    ['Bearer token 1', 'Bearer token 2'],
  )
  await assert.rejects(freehold.getLag(), { slug: 'unauthorized' })
  assert.equal(tokens, 3)
})

test('a list asks for its pages, empty ones among them', async (test) => {
  const { freehold, asked } = await scripted(test, [
    json(200, { data: [{ account_id: 'a' }], next_cursor: 'c1' }),
    json(200, { data: [], next_cursor: 'c2' }),
    json(200, { data: [{ account_id: 'b' }], next_cursor: null }),
  ])
  const found: string[] = []
  for await (const balance of freehold.listBalances({ account_prefix: 'a b&', min: 2n ** 60n })) {
    found.push(balance.account_id)
  }
  assert.deepEqual(found, ['a', 'b'])
  const filters = 'account_prefix=a+b%26&min=1152921504606846976'
  for (const [number, cursor] of [undefined, 'c1', 'c2'].entries()) {
    const query = new URL(asked[number]?.url ?? '', 'http://localhost').searchParams
    assert.equal(query.get('cursor'), cursor ?? null)
    query.delete('cursor')
    query.sort()
    assert.equal(query.toString(), filters)
  }
})

test('events are searched by metadata', async (test) => {
  const { freehold, asked } = await scripted(test, [json(200, { data: [], next_cursor: null })])
  await freehold.listEvents({ order: 'desc', 'metadata.order_id': 'o 7' }).page()
  assert.equal(asked[0]?.url, '/v1/events?order=desc&metadata.order_id=o+7')
})

test('a stream goes on after what it has given last', { timeout: 20_000 }, async (test) => {
  const { freehold, asked } = await scripted(test, [
    lines(
      `retry: 1\n:\nid: 1\n\n${balanceFrame('2', '9007199254740993')}:\nid: 3\n\nevent: balance\nid: 4\nda`,
    ),
    problem(503, 'overloaded', AT_ONCE),
    lines(`${balanceFrame('4', '5')}:\nid: 5\n\n`),
    lines('event: restart\ndata: {"epoch": 2}\n\n', { isOpen: true }),
  ])
  const changes: BalanceChange[] = []
  for await (const change of freehold.streamBalances({ account_prefix: 'cus_', snapshot: true })) {
    changes.push(change)
    if (change.type === 'restart') break
  }
  assert.deepEqual(
    changes.map((change) => [
      change.id,
      change.type === 'balance' ? change.balance.current_balance_minor : change.epoch,
    ]),
    [
      ['2', 9007199254740993n],
      ['4', 5n],
      ['5', 2],
    ],
  )
  assert.deepEqual(
    asked.map(({ headers }) => headers['last-event-id']),
    [undefined, '3', '3', '5'],
  )
  assert.equal(asked[0]?.url, '/v1/stream?account_prefix=cus_&snapshot=true')
})

test('a silent stream is lost, and opened again', { timeout: 20_000 }, async (test) => {
  const { freehold, asked } = await scripted(test, [
    lines('retry: 1\nid: 1\n\n', { isOpen: true }),
    lines(balanceFrame('2', '5'), { isOpen: true }),
  ])
  for await (const _ of freehold.streamBalances({}, { timeoutMs: 1000 })) break
  assert.equal(asked[1]?.headers['last-event-id'], '1')
})

test('a stream that is ended for good says why', async (test) => {
  const why = {
    type: '/problems/tenant-suspended',
    title: 'A title',
    status: 403,
    detail: 'a detail',
  }
  const { freehold } = await scripted(test, [
    lines(`event: problem\ndata: ${JSON.stringify(why)}\n\n`),
  ])
  const stream = freehold.streamBalances()
  await assert.rejects(stream.next(), { name: 'Problem', slug: 'tenant-suspended' })
})

test('a stream whose token expires goes on with another one', { timeout: 20_000 }, async (test) => {
  const why = { type: '/problems/unauthorized', title: 'A title', status: 401, detail: 'a detail' }
  let tokens = 0
  const { freehold, asked } = await scripted(
    test,
    [
      lines(`retry: 1\nevent: problem\ndata: ${JSON.stringify(why)}\n\n`),
      lines(balanceFrame('2', '5'), { isOpen: true }),
    ],
    { apiKey: undefined, readToken: async () => `token ${(tokens += 1)}` },
  )
  for await (const _ of freehold.streamBalances()) break
  assert.equal(asked[1]?.headers.authorization, 'Bearer token 2')
})

test('an import sends its events as lines, and gives progress and result', async (test) => {
  const { freehold, asked } = await scripted(test, [
    lines('{"line":1}\n{"done":true,"accepted":2}\n'),
  ])
  const events = [1n, 2n].map((amount) => ({
    ...EVENT,
    amount_minor: amount,
    external_id: `ch_${amount}`,
  }))
  const told: unknown[] = []
  for await (const line of freehold.importEvents(events)) told.push(line)
  assert.deepEqual(told, [{ line: 1 }, { done: true, accepted: 2 }])
  const sent = asked[0]?.body
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line))
  assert.deepEqual(
    sent?.map(({ external_id }) => external_id),
    ['ch_1', 'ch_2'],
  )
})

test('a download is given as it comes, in the form that is asked for', async (test) => {
  const { freehold, asked } = await scripted(test, [lines('-- a ledger\n')])
  const answer = await freehold.exportOwnLedger()
  assert.equal(await answer.text(), '-- a ledger\n')
  assert.equal(asked[0]?.url, '/v1/export')
})

test('a mistake of the caller is not sent', async (test) => {
  const { freehold, asked } = await scripted(test, [])
  const wrong = { account_id: 'cus_42', color: 'red' } as { account_id: string }
  for (const mistake of [
    () => freehold.getBalances(wrong),
    () => freehold.getBalances({ account_id: '..' }),
    () => freehold.listTenants().page(),
  ]) {
    await assert.rejects(mistake, TypeError)
  }
  await assert.rejects(
    async () => freehold.appendEvent({ ...EVENT, amount_minor: 2 ** 60 }),
    RangeError,
  )
  assert.equal(asked.length, 0)
})

test('no secret is shown', async (test) => {
  const { freehold } = await scripted(test, [])
  const { inspect } = await import('node:util')
  assert(!inspect(freehold, { depth: 9, showHidden: true }).includes('fh_1_a'))
})

test('amounts are written for people without losing a digit', () => {
  assert.equal(decimal(-5n, 2), '-0.05')
  assert.equal(decimal(1234n, 0), '1234')
  assert.equal(decimal(10n ** 20n + 1n, 3), '100000000000000000.001')
  assert.equal(
    formatMoney(2n ** 60n + 1n, { currency: 'USD', exponent: 2 }, 'en-US'),
    '$11,529,215,046,068,469.77',
  )
  assert.equal(formatMoney(-1234n, { currency: 'JPY', exponent: 0 }, 'en-US'), '-¥1,234')
  assert.equal(
    formatMoney(1234n, { currency: 'KWD', exponent: 3 }, 'en-US').replace(/\s/, ' '),
    'KWD 1.234',
  )
})
