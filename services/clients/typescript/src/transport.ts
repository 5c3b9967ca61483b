/** Sends requests: with a credential and a deadline, and again where that is safe. */

import { Deadline, sleep } from './deadlines.js'
import { NoAnswer, Problem, problemOf } from './problems.js'

const TIMEOUT_MS = 30_000
const RETRIES = 4
const FIRST_DELAY_MS = 250
const DELAY_MAX_MS = 8_000
/** To be told to come again later than this is a failure. */
const RETRY_AFTER_MAX_S = 60
const UNAUTHORIZED = 401
/** Late body, too many requests, and what gateways and overloaded services answer. */
const PASSING = new Set([408, 429, 502, 503, 504])

/** A secret, or what asks for one: it is asked first, and again after each 401. */
export type Secret = string | (() => string | Promise<string>)

/** What every call may be given besides its arguments. */
export interface CallOptions {
  /** Ends the call: it throws the signal's reason. */
  signal?: AbortSignal | undefined
  /** How long one attempt may take, of a stream how long it may be silent. 30 s unless given. */
  timeoutMs?: number | undefined
  /** How often a request that may safely be repeated is repeated. 4 unless given. */
  retries?: number | undefined
}

/** How requests are sent. */
export interface TransportSettings {
  timeoutMs?: number | undefined
  retries?: number | undefined
  /** In place of the global `fetch`. */
  fetch?: typeof fetch | undefined
}

/** A request, ready to be sent. */
export interface Outgoing {
  url: string
  method: string
  headers: Record<string, string>
  body?: string | ReadableStream<Uint8Array>
  credential: Credential
  /** Whether it may be sent again without being carried out twice. */
  repeatable: boolean
}

/** A credential and its current secret. */
export class Credential {
  readonly #secret: Secret
  #current: string | undefined

  constructor(secret: Secret) {
    this.#secret = secret
  }

  async current(): Promise<string> {
    this.#current ??= typeof this.#secret === 'string' ? this.#secret : await this.#secret()
    return this.#current
  }

  /** Forgets a secret that was refused, and says whether there may be another one. */
  renew(): boolean {
    this.#current = undefined
    return typeof this.#secret === 'function'
  }
}

/** Sends requests. */
export class Transport {
  readonly #settings: TransportSettings

  constructor(settings: TransportSettings) {
    this.#settings = settings
  }

  /**
   * Sends a request and reads its answer with `read`, which stops the deadline when it is done.
   *
   * @throws Problem if the request is refused or fails.
   * @throws NoAnswer if none came that could be read.
   */
  async send<T>(
    request: Outgoing,
    read: (response: Response, deadline: Deadline) => T | Promise<T>,
    options: CallOptions = {},
  ): Promise<T> {
    const retries = request.repeatable ? (options.retries ?? this.#settings.retries ?? RETRIES) : 0
    let renewed = false
    for (let failures = 0; ;) {
      try {
        return await this.#attempt(request, read, options)
      } catch (error) {
        // A body that is made while it is sent is gone.
        const isWhole = typeof request.body !== 'object'
        if (isWhole && !renewed && isRefused(error) && request.credential.renew()) {
          renewed = true
          continue
        }
        const delay = failures < retries ? delayAfter(error, failures) : null
        if (delay === null) throw error
        failures += 1
        await sleep(delay, options.signal)
      }
    }
  }

  async #attempt<T>(
    request: Outgoing,
    read: (response: Response, deadline: Deadline) => T | Promise<T>,
    options: CallOptions,
  ): Promise<T> {
    const { url, method, body } = request
    const headers = {
      ...request.headers,
      Authorization: `Bearer ${await request.credential.current()}`,
    }
    const ms = options.timeoutMs ?? this.#settings.timeoutMs ?? TIMEOUT_MS
    const deadline = new Deadline(ms, options.signal)
    try {
      const send = this.#settings.fetch ?? fetch
      const response = await send(url, {
        method,
        headers,
        signal: deadline.signal,
        // A body that is made while it is sent needs this (Fetch, `duplex`); types lack it.
        ...(body === undefined ? {} : { body, duplex: 'half' }),
      })
      if (!response.ok) throw await problemOf(response)
      return await read(response, deadline)
    } catch (error) {
      deadline.stop()
      throw deadline.meaning(error)
    }
  }
}

/** Spreads clients that come again at the same time, over half of a delay and more. */
export function spread(ms: number): number {
  return ms * (0.5 + Math.random() / 2)
}

/** Says whether the credential was refused, which another one may mend. */
export function isRefused(error: unknown): boolean {
  return error instanceof Problem && error.status === UNAUTHORIZED
}

/** Says after how many ms to try again; null where that does not help. */
function delayAfter(error: unknown, failures: number): number | null {
  const delay = spread(Math.min(DELAY_MAX_MS, FIRST_DELAY_MS * 2 ** failures))
  if (error instanceof NoAnswer) return delay
  if (!(error instanceof Problem) || !PASSING.has(error.status)) return null
  const told = error.retryAfterS ?? 0
  return told > RETRY_AFTER_MAX_S ? null : Math.max(delay, told * 1000)
}
