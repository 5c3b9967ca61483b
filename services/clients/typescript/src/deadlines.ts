/** Waiting that ends. */

import { NoAnswer, Problem } from './problems.js'

/** Aborts what uses its signal after a time without progress, or when the caller aborts. */
export class Deadline {
  readonly signal: AbortSignal
  readonly #late = new AbortController()
  readonly #ms: number
  readonly #caller: AbortSignal | undefined
  #timer: ReturnType<typeof setTimeout> | undefined

  constructor(ms: number, caller?: AbortSignal) {
    this.#ms = ms
    this.#caller = caller
    this.signal = caller ? AbortSignal.any([this.#late.signal, caller]) : this.#late.signal
    this.restart()
  }

  /** Counts the time from now. */
  restart(): void {
    this.stop()
    this.#timer = setTimeout(() => {
      this.#late.abort(new NoAnswer(`nothing came for ${this.#ms} ms`))
    }, this.#ms)
  }

  /** Stops counting. */
  stop(): void {
    clearTimeout(this.#timer)
  }

  /** Says what an error under this deadline means to the caller, in the client's own errors. */
  meaning(error: unknown): unknown {
    if (this.#caller?.aborted) return this.#caller.reason
    if (error instanceof Problem || error instanceof NoAnswer) return error
    return new NoAnswer('no answer came, or one that cannot be read', { cause: error })
  }
}

/** Waits, or throws the reason of the signal as soon as that is aborted. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted()
    const aborted = () => {
      clearTimeout(timer)
      reject(signal?.reason)
    }
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', aborted)
      resolve()
    }, ms)
    signal?.addEventListener('abort', aborted, { once: true })
  })
}
