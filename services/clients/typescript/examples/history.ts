/**
 * Imports a history, and gives a page what it may see of it.
 *
 * It needs FREEHOLD_INGEST_URL, FREEHOLD_QUERY_URL and FREEHOLD_API_KEY.
 */

import { Freehold, type NewEvent, Problem } from '@freehold/client'

const EVENTS = 3000
const freehold = Freehold.fromEnvironment(process.env)

/** Makes events as they are sent, as a reader of a large file would. */
async function* history(): AsyncGenerator<NewEvent & { external_id: string }> {
  for (let number = 0; number < EVENTS; number += 1) {
    yield {
      account_id: `cus_${number % 3}`,
      event_type: 'CHARGE',
      amount_minor: number + 1,
      currency: 'EUR',
      external_id: `ch_${number}`,
    }
  }
}

for (const attempt of ['first', 'second']) {
  for await (const line of freehold.importEvents(history())) {
    if ('done' in line) console.log(`${attempt}: ${line.accepted} new, ${line.duplicates} known`)
  }
}

const statement = { account_id: 'cus_1', currency: 'EUR' }
const file = await freehold.downloadStatement(statement, { accept: 'text/csv' })
const lines = (await file.text()).trimEnd().split(/\r?\n/)
const { closing_balance_minor: closing } = await freehold.getStatement(statement).page()
console.log(`${lines.length - 1} lines come to ${closing}`)

// What a page may have: a token that reads these accounts, and sees no others.
const { token } = await freehold.createReadToken({ account_prefix: 'cus_1' })
const page = Freehold.fromEnvironment(process.env, { apiKey: undefined, readToken: token })
for (const account of ['cus_1', 'cus_2']) {
  try {
    const { balances } = await page.getBalances({ account_id: account, consistency: 'strong' })
    for (const { current_balance_minor: amount, currency } of balances) {
      console.log(`${account} has ${amount} in minor units of ${currency}`)
    }
  } catch (error) {
    if (!(error instanceof Problem)) throw error
    console.log(`${account}: ${error.slug}`)
  }
}
