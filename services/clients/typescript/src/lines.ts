/** Text that arrives in pieces, line by line. */

import type { Deadline } from './deadlines.js'

/**
 * Gives the lines of an answer as they arrive. The deadline is for each piece, and does not run
 * while the reader of the lines is busy. To stop reading ends the connection.
 */
export async function* lines(response: Response, deadline: Deadline): AsyncGenerator<string, void> {
  const reader = response.body?.getReader()
  const decoder = new TextDecoder()
  let unfinished = ''
  try {
    while (reader) {
      deadline.restart()
      const { done, value } = await reader.read()
      deadline.stop()
      if (done) break
      const parts = (unfinished + decoder.decode(value, { stream: true })).split(/\r?\n/)
      unfinished = parts.pop() ?? ''
      yield* parts
    }
    if (unfinished) yield unfinished
  } catch (error) {
    throw deadline.meaning(error)
  } finally {
    deadline.stop()
    // It may have failed already, and that is known by now.
    await reader?.cancel().catch(() => undefined)
  }
}
