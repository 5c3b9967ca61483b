"""Streams: what each client is sent.

A stream has a position and no buffer. It takes what its view has after the position; if the view
has not all of that any more, it reads it from the tenant's database. So a client that resumes and
one that reads slowly are the same, and neither costs memory. A client that reads nothing at all is
cut off by its connection (freehold.http.connections).
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from uuid import UUID

from freehold.contracts.errors import DomainError, NotNow
from freehold.ledger import client as ledger
from freehold.ledger.client import BalanceFilters, Changes, Record
from freehold_query.readers import Reader
from freehold_query.reads import Reads
from freehold_query.stream.feeds import EVENTS_MAX, Feed
from freehold_query.stream.frames import (
    HEARTBEAT,
    RETRY,
    STOPPED,
    mark_frame,
    problem_frame,
    restart_frame,
)
from freehold_query.stream.metrics import STREAM_CATCH_UPS, STREAMS_ENDED
from freehold_query.stream.positions import BEGINNING, Position, Span

_RETRY_S = 1.0
_PAGE_ROWS = 500
_FAR_EVENTS = 10_000
"""Beyond it a list of balances is read, rather than each event that changed them."""

Authenticate = Callable[[], Awaitable[Reader]]
"""Authenticates a stream's client again."""


class Stream:
    """What one client is sent."""

    def __init__(
        self,
        feed: Feed,
        reads: Reads,
        account_prefix: str | None,
        span: Span,
        position: Position,
        *,
        as_strings: bool,
        reader: Reader,
        authenticate: Authenticate,
        heartbeat_s: float,
    ) -> None:
        """Begin at a position.

        Args:
            feed: The tenant's.
            reads: Reads what its views do not have.
            account_prefix: What the client sees; None for nothing.
            span: What it sees of these.
            position: Where the client is.
            as_strings: Whether amounts are sent as strings.
            reader: The client.
            authenticate: Authenticates the client again.
            heartbeat_s: The stream is silent for no longer than this.
        """
        self.feed = feed
        self.authenticate = authenticate
        self.credential = reader.key_id, reader.expires_at
        self._reads = reads
        self._heartbeat_s = heartbeat_s
        self._position = position
        # A list that only catches up leaves out what has not changed since.
        self._since: UUID | None = None
        self._woken = asyncio.Event()
        self._view = feed.enter(self._woken, account_prefix, span, as_strings=as_strings)
        self._last_frame: bytes | None = None
        self._ended_by = "client"

    def close(self) -> None:
        """Leave the feed."""
        self.feed.leave(self._woken, self._view)
        STREAMS_ENDED.labels(self._ended_by).inc()

    def refuse(self, error: DomainError) -> None:
        """End soon, and say why."""
        self._end("problem", problem_frame(error))

    def stop(self) -> None:
        """End soon, since the service stops."""
        self._end("stop", STOPPED)

    def _end(self, by: str, last_frame: bytes) -> None:
        self._ended_by = by
        self._last_frame = last_frame
        self._woken.set()

    async def frames(self) -> AsyncIterator[bytes]:
        """Give what is sent, piece by piece, until the stream ends."""
        yield RETRY + self._mark()
        while self._last_frame is None:
            try:
                frames = await self._next()
            except NotNow:
                # To end the stream would be worse: browsers do not come again after a 503.
                await asyncio.sleep(_RETRY_S)
                frames = HEARTBEAT
            except DomainError as error:
                self.refuse(error)
                break
            if frames:
                yield frames
        yield self._last_frame or b""

    async def _next(self) -> bytes:
        """Give what follows the position, and move on; nothing where it is to look again."""
        position = self._position
        if position.listed is not None:
            return await self._list(position, position.listed)
        self._woken.clear()
        is_of_now = position.epoch == self.feed.position.epoch
        frames = self._view.after(position.event_id) if is_of_now else None
        if frames is None:
            return await self._catch_up(position)
        if not frames and await self._wait(self._heartbeat_s):
            return b""
        self._position = max(position, self.feed.position)
        return frames or self._mark()

    async def _list(self, position: Position, listed: tuple[str, str]) -> bytes:
        """Give a page of all balances, each as of the position or later."""
        frames: list[bytes] = []
        rows: Sequence[Record] = ()
        after = max(listed, self._view.span.after)
        if self._view.account_prefix is not None:
            home = await self.feed.home()
            async with self._reads.connection(home, "list_balances") as connection:
                rows = await ledger.list_balances(
                    connection,
                    BalanceFilters(self._view.account_prefix),
                    after=None if after == BEGINNING else after,
                    rows_max=_PAGE_ROWS,
                )
        # What is beyond the end of the span is left out, and then nothing follows.
        rows = [row for row in rows if self._view.shows(row)]
        for row in rows:
            listed = row["account_id"], row["currency"]
            self._position = position._replace(listed=listed)
            if self._since is None or row["last_ledger_event_id"] > self._since:
                frames.append(self._view.frame(row, self._position))
        if len(rows) < _PAGE_ROWS:
            self._position = position._replace(listed=None)
            self._since = None
            frames.append(self._mark())
        return b"".join(frames)

    async def _catch_up(self, position: Position) -> bytes:
        """Read what the view does not have."""
        STREAM_CATCH_UPS.inc()
        changes = await self._changes(position, position.event_id)
        is_far = changes.events_left > _FAR_EVENTS
        if is_far:
            changes = await self._changes(position, None)
        self._position = Position(changes.epoch, changes.through)
        if changes.epoch != position.epoch:
            self._position = self._position._replace(listed=BEGINNING)
            return restart_frame(changes.epoch)
        if is_far:
            self._position = self._position._replace(listed=BEGINNING)
            self._since = position.event_id
        frames = [
            self._view.frame(row, Position(changes.epoch, row["last_ledger_event_id"]))
            for row in changes.balances
            if self._view.shows(row)
        ]
        return b"".join([*frames, self._mark()])

    async def _changes(self, position: Position, after: UUID | None) -> Changes:
        home = await self.feed.home()
        async with self._reads.connection(home, "changed_balances") as connection:
            return await ledger.changed_balances(
                connection, epoch=position.epoch, after=after, events_max=EVENTS_MAX
            )

    def _mark(self) -> bytes:
        return mark_frame(self._view.positions.id_of(self._position))

    async def _wait(self, timeout_s: float) -> bool:
        """Wait until something is new, and say whether it is."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._woken.wait()
        return self._woken.is_set()
