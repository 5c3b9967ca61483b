/** Calls of operations: what is given becomes a request, and its answer what is asked for. */

import type { Deadline } from './deadlines.js'
import { readJson, writeJson } from './json.js'
import { List, type Page } from './lists.js'
import { type CallOptions, Credential, type Outgoing, type Secret, Transport } from './transport.js'
import type { TransportSettings } from './transport.js'

const REPEATABLE = new Set(['GET', 'PUT', 'DELETE'])

/** An operation, as openapi.json describes it. */
export interface Operation {
  service: 'ingest' | 'query' | 'tenant-manager'
  credential: 'api_key' | 'operator_token'
  method: string
  path: string
  /** The names of its query's parameters. */
  query: readonly string[]
  hasBody: boolean
  /** Whether it takes an idempotency key. */
  hasKey: boolean
}

/** Where Freehold is, and what to show there. Each is needed by the calls that use it. */
export interface Settings extends TransportSettings {
  /** An API key of the tenant. It is never for a browser. */
  apiKey?: Secret | undefined
  /** In place of a key: a read token, or a function that asks your server for one. */
  readToken?: Secret | undefined
  operatorToken?: Secret | undefined
  ingestUrl?: string | undefined
  queryUrl?: string | undefined
  tenantManagerUrl?: string | undefined
}

/** Options of a call that carries an idempotency key. */
export interface KeyedOptions extends CallOptions {
  /** Made for each call unless given: give your own where a call must survive your process. */
  idempotencyKey?: string | undefined
}

/** Options of a call whose answer is a file. */
export interface DownloadOptions extends CallOptions {
  /** The media type, where there is a choice: `text/csv` of a statement. */
  accept?: string | undefined
}

/** Calls operations. */
export class Calls {
  protected readonly transport: Transport
  readonly #urls: Record<Operation['service'], string | undefined>
  readonly #credentials: Record<Operation['credential'], Credential | undefined>

  constructor(settings: Settings) {
    this.transport = new Transport(settings)
    this.#urls = {
      ingest: settings.ingestUrl,
      query: settings.queryUrl,
      'tenant-manager': settings.tenantManagerUrl,
    }
    this.#credentials = {
      api_key: credential(settings.apiKey ?? settings.readToken),
      operator_token: credential(settings.operatorToken),
    }
  }

  protected async answer<T>(
    operation: Operation,
    given: object,
    options: KeyedOptions = {},
  ): Promise<T> {
    return this.transport.send(this.outgoing(operation, given, options), document<T>, options)
  }

  protected list<P extends Page>(
    operation: Operation,
    given: object,
    options?: CallOptions,
  ): List<P> {
    return new List((cursor) =>
      this.answer<P>(operation, cursor ? { ...given, cursor } : given, options),
    )
  }

  /** Gives the answer once its head is there; its body is read, without a deadline, by the caller. */
  protected async download(
    operation: Operation,
    given: object,
    options: DownloadOptions = {},
  ): Promise<Response> {
    const request = this.outgoing(operation, given, options)
    request.headers.Accept = options.accept ?? '*/*'
    const read = (response: Response, deadline: Deadline) => {
      deadline.stop()
      return response
    }
    return this.transport.send(request, read, options)
  }

  /**
   * Makes the request of a call.
   *
   * @throws TypeError if an argument is missing or unknown, or no setting says where to send it.
   * @throws RangeError if an amount is no exact number.
   */
  protected outgoing(operation: Operation, given: object, options: KeyedOptions = {}): Outgoing {
    const left = new Map(Object.entries(given).filter(([, value]) => value !== undefined))
    const url =
      this.#base(operation.service) + filled(operation.path, left) + query(operation.query, left)
    const headers: Record<string, string> = { Accept: 'application/json', Prefer: 'amounts=string' }
    if (operation.hasKey) headers['Idempotency-Key'] = options.idempotencyKey ?? crypto.randomUUID()
    const request: Outgoing = {
      url,
      method: operation.method,
      headers,
      credential: this.#credential(operation.credential),
      repeatable: operation.hasKey || REPEATABLE.has(operation.method),
    }
    if (operation.hasBody) {
      headers['Content-Type'] = 'application/json'
      request.body = writeJson(Object.fromEntries(left))
    } else if (left.size > 0) {
      throw new TypeError(
        `${operation.method} ${operation.path} takes no ${[...left.keys()].join()}`,
      )
    }
    return request
  }

  #base(service: Operation['service']): string {
    const url = this.#urls[service]
    if (!url) throw new TypeError(`the settings do not say where ${service} is`)
    return url.replace(/\/+$/, '')
  }

  #credential(kind: Operation['credential']): Credential {
    const found = this.#credentials[kind]
    if (!found) throw new TypeError(`the settings have no ${kind}, which this call needs`)
    return found
  }
}

function credential(secret: Secret | undefined): Credential | undefined {
  return secret ? new Credential(secret) : undefined
}

async function document<T>(response: Response, deadline: Deadline): Promise<T> {
  const text = await response.text()
  deadline.stop()
  return (text ? readJson(text) : undefined) as T
}

/** Fills a path, and takes what it uses. */
function filled(path: string, left: Map<string, unknown>): string {
  return path.replace(/\{(\w+)\}/g, (_, name: string) => {
    const value = String(left.get(name) ?? '')
    // A URL has no such segments: the request would go to another path.
    if (['', '.', '..'].includes(value)) throw new TypeError(`${name} must not be “${value}”`)
    left.delete(name)
    return encodeURIComponent(value)
  })
}

/** Writes a query, and takes what it uses. */
function query(names: readonly string[], left: Map<string, unknown>): string {
  const parameters = new URLSearchParams()
  for (const [name, value] of left) {
    if (!names.includes(name) && !name.startsWith('metadata.')) continue
    parameters.set(name, String(value))
    left.delete(name)
  }
  return parameters.size > 0 ? `?${parameters}` : ''
}
