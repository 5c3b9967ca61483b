/** What the types of calls must accept and refuse. It is compiled, and never run. */

import { type Freehold, Problem } from '@freehold/client'

const EVENT = { account_id: 'cus_42', event_type: 'CHARGE', currency: 'USD' }

export async function accepted(freehold: Freehold): Promise<bigint> {
  await freehold.appendEvent({ ...EVENT, amount_minor: 1 }, { idempotencyKey: 'mine' })
  await freehold.reverseEvent({ event_id: 'an id', reason: 'a reason' })
  await freehold.captureHold({ hold_id: 'an id', amount_minor: 5n })
  await freehold.createReadToken({ account_prefix: 'cus_' })
  await freehold.listEvents({ order: 'asc', 'metadata.order_id': 'o_1' }).page()
  await freehold.listBalances({ min: 5n, limit: 10 }).page()
  const none: void = await freehold.revokeApiKey({ tenant_id: 'acme', key_id: 'an id' })
  const { data } = await freehold.getStatement({ account_id: 'cus_42', currency: 'USD' }).page()
  return data.reduce((sum, line) => sum + line.balance_minor, none ?? 0n)
}

export async function refused(freehold: Freehold): Promise<void> {
  // @ts-expect-error An amount is no string.
  await freehold.appendEvent({ ...EVENT, amount_minor: '1' })
  // @ts-expect-error There is no such member.
  await freehold.appendEvent({ ...EVENT, amount_minor: 1, color: 'red' })
  // @ts-expect-error A member is missing.
  await freehold.appendEvent(EVENT)
  // @ts-expect-error A read takes no idempotency key.
  await freehold.getLag({}, { idempotencyKey: 'mine' })
  await freehold.getLag().catch((error: unknown) => {
    // @ts-expect-error There is no such problem type.
    return error instanceof Problem && error.slug === 'no-such-type'
  })
}
