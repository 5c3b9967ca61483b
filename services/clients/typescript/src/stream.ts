/** Live balances: Server-Sent Events (WHATWG HTML, section 9.2), resumed until the caller leaves. */

import { sleep } from './deadlines.js'
import { readJson } from './json.js'
import { NoAnswer, Problem } from './problems.js'
import type { Model } from './shapes.js'
import { isRefused, spread } from './transport.js'

/** A balance that changed, or news that all balances known so far are void and follow anew. */
export type BalanceChange =
  | { type: 'balance'; balance: Model<'AccountBalance'>; id: string }
  | { type: 'restart'; epoch: number; id: string }

/** An event of a stream; `data` is null where only the position has changed. */
interface ServerSentEvent {
  name: string
  data: string | null
  id: string | undefined
  retryMs: number | undefined
}

/** How a stream is opened. */
export interface Opening {
  /** Opens it after an event. `isFirst` is true until it has been open. */
  open: (lastEventId: string | undefined, isFirst: boolean) => Promise<AsyncIterable<string>>
  /** Says whether there may be another credential after one was refused. */
  renew: () => boolean
  lastEventId: string | undefined
  signal: AbortSignal | undefined
}

const RETRY_MS = 2000

/**
 * Gives changes, and opens the stream again after the last one whenever it ends.
 *
 * @throws Problem if the stream is refused or ended for good.
 * @throws NoAnswer if it could not be opened at first.
 */
export async function* balanceChanges(opening: Opening): AsyncGenerator<BalanceChange, void> {
  let { lastEventId } = opening
  let retryMs = RETRY_MS
  let isFirst = true
  for (;;) {
    const stream = await opening.open(lastEventId, isFirst)
    isFirst = false
    try {
      for await (const event of serverSentEvents(stream)) {
        lastEventId = event.id ?? lastEventId
        retryMs = event.retryMs ?? retryMs
        const change = changeOf(event, lastEventId ?? '')
        if (change) yield change
      }
    } catch (error) {
      const mayGoOn = error instanceof NoAnswer || (isRefused(error) && opening.renew())
      if (!mayGoOn) throw error
    }
    await sleep(spread(retryMs), opening.signal)
  }
}

function changeOf(event: ServerSentEvent, id: string): BalanceChange | undefined {
  if (event.data === null) return undefined
  const document = readJson(event.data)
  if (event.name === 'balance')
    return { type: 'balance', balance: document as Model<'AccountBalance'>, id }
  if (event.name === 'restart')
    return { type: 'restart', epoch: (document as { epoch: number }).epoch, id }
  if (event.name !== 'problem') return undefined
  const problem = document as Record<string, unknown>
  throw new Problem(Number(problem.status), problem)
}

async function* serverSentEvents(
  lines: AsyncIterable<string>,
): AsyncGenerator<ServerSentEvent, void> {
  let event = nothing()
  for await (const line of lines) {
    if (line === '') {
      yield event
      event = nothing()
      continue
    }
    const [, field, value = ''] = /^([^:]*):? ?(.*)$/.exec(line) ?? []
    if (field === 'event') event.name = value
    if (field === 'data') event.data = event.data === null ? value : `${event.data}\n${value}`
    if (field === 'id') event.id = value
    if (field === 'retry' && /^\d+$/.test(value)) event.retryMs = Number(value)
  }
}

function nothing(): ServerSentEvent {
  return { name: 'message', data: null, id: undefined, retryMs: undefined }
}
