/** The client: generated calls, and those that are more than a request and its answer. */

import type { Settings } from './calls.js'
import type { Deadline } from './deadlines.js'
import { sleep } from './deadlines.js'
import { Operations, operations } from './generated/operations.js'
import { readJson, writeJson } from './json.js'
import { lines } from './lines.js'
import type { Answer, Draft, Model } from './shapes.js'
import { type BalanceChange, balanceChanges } from './stream.js'
import type { CallOptions } from './transport.js'

/** Three of the server's heartbeats. */
const SILENCE_MS = 45_000
const POLL_MS = 500
const ENDED = new Set(['succeeded', 'failed'])

/** Which balances a stream has. */
export interface StreamArguments {
  account_prefix?: string | undefined
  /** All balances first, and then what changes. */
  snapshot?: boolean | undefined
  /** The `id` of a change: the stream goes on after it. */
  last_event_id?: string | undefined
}

/** Freehold, as one caller sees it. */
export class Freehold extends Operations {
  /** Makes a client of `FREEHOLD_…` variables, such as those of `process.env`. */
  static fromEnvironment(
    environment: Record<string, string | undefined>,
    settings: Settings = {},
  ): Freehold {
    return new Freehold({
      apiKey: environment.FREEHOLD_API_KEY,
      operatorToken: environment.FREEHOLD_OPERATOR_TOKEN,
      ingestUrl: environment.FREEHOLD_INGEST_URL,
      queryUrl: environment.FREEHOLD_QUERY_URL,
      tenantManagerUrl: environment.FREEHOLD_TENANT_MANAGER_URL,
      ...settings,
    })
  }

  /**
   * Gives balances as they change, until the caller leaves the loop or aborts `signal`.
   *
   * After a lost connection it goes on where it was. It may give a change twice and misses none.
   * Changes of one balance that follow each other closely may come as one.
   */
  streamBalances(
    given: StreamArguments = {},
    options: CallOptions = {},
  ): AsyncGenerator<BalanceChange, void> {
    const { last_event_id: lastEventId, ...asked } = given
    const request = this.outgoing(operations.stream_balances, asked)
    request.headers.Accept = 'text/event-stream'
    const forEachPiece = { timeoutMs: SILENCE_MS, ...options }
    return balanceChanges({
      open: (id, isFirst) => {
        const headers = { ...request.headers, ...(id ? { 'Last-Event-ID': id } : {}) }
        // Once it was open it is worth waiting for.
        const again = isFirst ? {} : { retries: Infinity }
        return this.transport.send({ ...request, headers }, lines, { ...forEachPiece, ...again })
      },
      renew: () => request.credential.renew(),
      lastEventId,
      signal: options.signal,
    })
  }

  /**
   * Appends any number of events, each known by its `external_id`: what the ledger has already is
   * not appended again, so an import that fails is simply made again. For Node: browsers send no
   * body while it is being made.
   *
   * Gives the progress about each second, and the result last.
   */
  async *importEvents(
    events: Iterable<Draft<'ImportLine'>> | AsyncIterable<Draft<'ImportLine'>>,
    options: CallOptions = {},
  ): AsyncGenerator<Model<'ImportProgress'> | Model<'ImportResult'>, void> {
    const request = this.outgoing(operations.import_events, {})
    request.headers['Content-Type'] = 'application/x-ndjson'
    request.headers.Accept = 'application/x-ndjson'
    // The events that are sent are gone.
    request.repeatable = false
    request.body = written(events)
    const answered = (response: Response, deadline: Deadline) => lines(response, deadline)
    for await (const line of await this.transport.send(request, answered, options)) {
      yield readJson(line) as Model<'ImportProgress'> | Model<'ImportResult'>
    }
  }

  /** Asks for an operation until it has ended; look at its `status` then. */
  async waitForOperation(
    operationId: string,
    options: CallOptions = {},
  ): Promise<Answer<'get_operation'>> {
    for (;;) {
      const operation = await this.getOperation({ operation_id: operationId }, options)
      if (ENDED.has(operation.status)) return operation
      await sleep(POLL_MS, options.signal)
    }
  }
}

/** Writes values as lines of JSON, as fast as they are read. */
function written(values: Iterable<unknown> | AsyncIterable<unknown>): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder()
  const remaining =
    Symbol.asyncIterator in values ? values[Symbol.asyncIterator]() : values[Symbol.iterator]()
  return new ReadableStream({
    async pull(controller) {
      const next = await remaining.next()
      if (next.done) controller.close()
      else controller.enqueue(encoder.encode(`${writeJson(next.value)}\n`))
    },
    async cancel() {
      await remaining.return?.()
    },
  })
}
