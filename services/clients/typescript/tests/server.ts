/** A server with scripted answers, for what no sound server does on demand. */

import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { TestContext } from 'node:test'
import { Freehold, type Settings } from '@freehold/client'

/** Answers one request. */
export type Reply = (response: ServerResponse, request: IncomingMessage) => void

/** A request that came. */
export interface Asked {
  method: string | undefined
  url: string | undefined
  headers: IncomingMessage['headers']
  body: string
}

/** Has such a server until the test ends: it answers each request with the next of its replies. */
export async function scripted(
  test: TestContext,
  replies: Reply[],
  settings: Settings = {},
): Promise<{ freehold: Freehold; asked: Asked[] }> {
  const asked: Asked[] = []
  const server = createServer(async (request, response) => {
    let body = ''
    for await (const piece of request.setEncoding('utf8')) body += piece
    const { method, url, headers } = request
    asked.push({ method, url, headers, body })
    const reply = replies.shift()
    if (reply) reply(response, request)
    else response.destroy()
  })
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening))
  test.after(() => {
    server.closeAllConnections()
    server.close()
  })
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const urls = { ingestUrl: url, queryUrl: url, tenantManagerUrl: url }
  return { freehold: new Freehold({ apiKey: 'fh_1_a', ...urls, ...settings }), asked }
}

/** Answers with a document. */
export function json(
  status: number,
  document: unknown,
  headers: Record<string, string> = {},
): Reply {
  return (response) => {
    response.writeHead(status, { 'Content-Type': 'application/json', ...headers })
    response.end(typeof document === 'string' ? document : JSON.stringify(document))
  }
}

/** Answers with a problem. */
export function problem(status: number, slug: string, headers: Record<string, string> = {}): Reply {
  return json(
    status,
    { type: `/problems/${slug}`, title: 'A title', status, detail: 'a detail' },
    headers,
  )
}

/** Answers with lines, and then ends or stays open. */
export function lines(text: string, { isOpen = false } = {}): Reply {
  return (response) => {
    response.writeHead(200, { 'Content-Type': 'text/event-stream' })
    response.write(text)
    if (!isOpen) response.end()
  }
}

/** Ends the connection without an answer. */
export const nothing: Reply = (response) => response.destroy()
