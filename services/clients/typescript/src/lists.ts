/** Lists that come in pages. */

/** A page of a list. */
export interface Page {
  data: readonly unknown[]
  /** Asks for the next page; null on the last. */
  next_cursor?: string | null
}

/** A list: iterate over it for all items, each page being asked for when it is needed. */
export class List<P extends Page> implements AsyncIterable<P['data'][number]> {
  readonly #ask: (cursor?: string) => Promise<P>

  constructor(ask: (cursor?: string) => Promise<P>) {
    this.#ask = ask
  }

  /** Asks for one page: the first, or the one of the `cursor` that was given. */
  page(): Promise<P> {
    return this.#ask()
  }

  /** Gives this page and all that follow. A page may be empty although another follows. */
  async *pages(): AsyncGenerator<P, void> {
    let page = await this.#ask()
    yield page
    while (page.next_cursor) {
      page = await this.#ask(page.next_cursor)
      yield page
    }
  }

  /** Gives the items of this page and of all that follow. */
  async *[Symbol.asyncIterator](): AsyncGenerator<P['data'][number], void> {
    for await (const page of this.pages()) yield* page.data as readonly P['data'][number][]
  }
}
