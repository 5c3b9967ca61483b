/** What a call throws: a problem that Freehold answers, or that no answer came. */

import { problemSlugs } from './generated/operations.js'
import { readJson } from './json.js'

/** The problem types that Freehold documents. */
export type ProblemSlug = (typeof problemSlugs)[number]

/** A rule that a request breaks, and where: `pointer` is a JSON pointer into the body. */
export interface FieldError {
  pointer: string
  detail: string
}

/** A request was refused or failed: the problem document that was answered (RFC 9457). */
export class Problem extends Error {
  override readonly name = 'Problem'
  /** `unknown` where something else than Freehold answered, such as a proxy. */
  readonly slug: ProblemSlug | 'unknown'
  readonly title: string
  /** The HTTP status. */
  readonly status: number
  /** One sentence about this very request. */
  readonly detail: string
  /** The rules that the request breaks, and where: of each 422 at least one. */
  readonly errors: readonly FieldError[]
  /** The document's other members, such as `existing_event_id`. */
  readonly facts: Readonly<Record<string, unknown>>
  /** In how many seconds the same request may succeed; null where waiting does not help. */
  readonly retryAfterS: number | null
  /** What Freehold's log calls the request. */
  readonly requestId: string | null

  constructor(status: number, document: Record<string, unknown>, headers: Headers = new Headers()) {
    const { type, title, detail, errors, status: _, ...facts } = document
    super(String(detail ?? `the answer has the status ${status}`))
    this.slug = slugOf(type)
    this.title = String(title ?? '')
    this.status = status
    this.detail = this.message
    this.errors = Array.isArray(errors) ? errors : []
    this.facts = facts
    this.retryAfterS = seconds(headers.get('Retry-After'))
    this.requestId = headers.get('X-Request-Id')
  }
}

/** No answer came in time, the connection failed, or what came was no answer of Freehold's. */
export class NoAnswer extends Error {
  override readonly name = 'NoAnswer'
}

/** Reads the problem of an answer that is none of success. */
export async function problemOf(response: Response): Promise<Problem> {
  const text = await response.text()
  return new Problem(response.status, documentOf(text), response.headers)
}

function documentOf(text: string): Record<string, unknown> {
  try {
    const document = readJson(text)
    return typeof document === 'object' && document !== null ? { ...document } : {}
  } catch (error) {
    if (error instanceof SyntaxError) return {}
    throw error
  }
}

function slugOf(type: unknown): ProblemSlug | 'unknown' {
  const slug = String(type).replace(/^.*\/problems\//, '')
  return problemSlugs.find((known) => known === slug) ?? 'unknown'
}

/** Freehold gives seconds; a proxy may give a date (RFC 9110, section 10.2.3). */
function seconds(retryAfter: string | null): number | null {
  if (retryAfter === null) return null
  const given = /^\d+$/.test(retryAfter)
    ? Number(retryAfter)
    : (Date.parse(retryAfter) - Date.now()) / 1000
  return Number.isNaN(given) ? null : Math.max(0, given)
}
