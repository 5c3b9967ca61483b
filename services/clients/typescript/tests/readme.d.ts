/** What the code in README.md takes for granted. */

import type * as client from '@freehold/client'

declare global {
  const freehold: client.Freehold
  const formatMoney: typeof client.formatMoney
  const Freehold: typeof client.Freehold
  const balances: Map<string, client.Balance>
  const events: AsyncIterable<client.NewEvent & { external_id: string }>
  const signal: AbortSignal
  function show(balance: client.Balance): void
}
