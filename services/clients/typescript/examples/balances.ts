/**
 * Charges a customer, follows the balance live, lists what there is, and handles a refusal.
 *
 * It needs FREEHOLD_INGEST_URL, FREEHOLD_QUERY_URL and FREEHOLD_API_KEY.
 */

import { Freehold, formatMoney, Problem } from '@freehold/client'

const freehold = Freehold.fromEnvironment(process.env)
const account = { account_id: 'cus_42', currency: 'USD' }

const charge = await freehold.appendEvent({
  ...account,
  event_type: 'CHARGE',
  amount_minor: 2000,
  external_id: 'ch_1',
})
console.log(`appended ${charge.event_type} as event ${charge.seq}`)

// Beyond 2^53 a number loses digits, and a bigint does not.
await freehold.appendBatch({
  events: [
    {
      ...account,
      account_id: 'cus_43',
      event_type: 'CHARGE',
      amount_minor: 9_007_199_254_740_993n,
    },
    { ...account, account_id: 'cus_44', event_type: 'CHARGE', amount_minor: 550n },
  ],
})

// All balances first, and then each change.
for await (const change of freehold.streamBalances({ account_prefix: 'cus_', snapshot: true })) {
  if (change.type === 'balance' && change.balance.account_id === 'cus_43') break
}

// A page of one, so that there are several: a list asks for them as they are needed.
for await (const balance of freehold.listBalances({ account_prefix: 'cus_', limit: 1 })) {
  console.log(
    `${balance.account_id} has ${formatMoney(balance.current_balance_minor, balance, 'en-US')}`,
  )
}

try {
  await freehold.appendEvent({
    ...account,
    event_type: 'CHARGE',
    amount_minor: 2000,
    external_id: 'ch_1',
  })
} catch (error) {
  if (!(error instanceof Problem) || error.slug !== 'duplicate-external-id') throw error
  console.log(
    `refused, since it is there already: ${error.facts.existing_event_id === charge.event_id}`,
  )
}
