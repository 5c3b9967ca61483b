"""Feeds: a tenant's changes are read once for all clients of this process.

A doorbell wakes the feed. While there are changes it looks again at once, since a busy tenant's
doorbells ring only now and then; and each second it looks whether a doorbell was lost.
"""

import asyncio
import time
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from uuid import UUID

import structlog

from freehold.contracts.errors import DomainError, NotFound
from freehold.contracts.times import uuid_time_s
from freehold.ledger.client import Changes, changed_balances
from freehold.messaging.spans import doorbell_span
from freehold.messaging.topology import LEDGER_EXCHANGE
from freehold.observability import traces
from freehold.observability.logs import serve_tenant
from freehold.tenants.directory import Directory
from freehold.tenants.homes import Home
from freehold_query.reads import Reads
from freehold_query.stream.metrics import STREAM_BALANCES, STREAM_LAG_SECONDS
from freehold_query.stream.positions import Position, Span
from freehold_query.stream.views import View, Views

_log = structlog.get_logger(__name__)

EVENTS_MAX = 500
"""Events that one read looks at."""
_POLL_S = 1.0
"""How long a change waits if its doorbell is lost, unless many tenants have clients."""
_POLLS_PER_S_MAX = 50
_LOOKS_PER_S_MAX = 400
_BUSY_S = 0.2
"""Twice the time between the doorbells of a busy tenant."""
_RETRY_S = 1.0
_UNKNOWN = Position(0, UUID(int=0))
"""In no epoch: a first read tells where the projection stands."""


@dataclass
class Pace:
    """How often the feeds of a process look: together they leave time for requests."""

    feeds: int = 0
    busy: int = 0
    """Those that have found changes just now."""

    @property
    def idle_s(self) -> float:
        """The pause in seconds of a feed that waits for a doorbell."""
        return max(_POLL_S, self.feeds / _POLLS_PER_S_MAX)

    @property
    def busy_s(self) -> float:
        """The pause in seconds of a busy one."""
        return self.busy / _LOOKS_PER_S_MAX


class Feed:
    """What changes in one tenant's balances."""

    def __init__(self, tenant_id: str, directory: Directory, reads: Reads, pace: Pace) -> None:
        """Begin to read.

        Args:
            tenant_id: The tenant.
            directory: Knows the tenant's home.
            reads: Reads the changes.
            pace: That of all feeds.
        """
        self.tenant_id = tenant_id
        self._directory = directory
        self._reads = reads
        self._pace = pace
        self._pace.feeds += 1
        self.position = _UNKNOWN
        """The changes up to here are in the views."""
        self._views = Views(tenant_id)
        self._rung = asyncio.Event()
        self._causes: traces.Causes = ()
        self._busy_until = 0.0
        self._is_busy = False
        self._complained = False
        self._beginning = asyncio.create_task(self._look())
        # Retrieved, since all that wait for it may give up.
        self._beginning.add_done_callback(lambda task: task.cancelled() or task.exception())
        self._following: asyncio.Task[None] | None = None

    async def begun(self) -> None:
        """Wait until it knows where the projection stands.

        Raises:
            DomainError: That cannot be read.
        """
        await asyncio.shield(self._beginning)
        if self._following is None:
            self._following = asyncio.create_task(self._follow())

    def close(self) -> None:
        """Read no more."""
        self._pace.feeds -= 1
        self._pace.busy -= self._is_busy
        self._beginning.cancel()
        if self._following is not None:
            self._following.cancel()

    def ring(self, causes: traces.Causes) -> None:
        """Have it look now; `causes` are what rang, in traces."""
        self._causes = traces.joined(self._causes, causes)
        self._rung.set()

    def enter(
        self, client: asyncio.Event, account_prefix: str | None, span: Span, *, as_strings: bool
    ) -> View:
        """Add a client, who is woken when an account with the prefix changes, in the span."""
        return self._views.enter(
            client, account_prefix, self.position.event_id, as_strings=as_strings, span=span
        )

    def leave(self, client: asyncio.Event, view: View) -> None:
        """Remove a client."""
        self._views.leave(client, view)

    async def home(self) -> Home:
        """Find the tenant's home. It may change at any time.

        Raises:
            NotFound: The tenant is gone.
            Unavailable: The catalog does not answer.
        """
        home = await self._directory.home(self.tenant_id)
        if home is None:
            raise NotFound("there is no such tenant")
        return home

    async def _follow(self) -> None:
        serve_tenant(self.tenant_id)
        while True:
            self._rung.clear()
            try:
                with self._span():
                    pause_s = await self._look()
                self._complained = False
            except Exception as error:  # noqa: BLE001 (whatever it is, the next look may do better)
                self._complain(error)
                pause_s = _RETRY_S
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._rung.wait()

    def _span(self) -> AbstractContextManager[object]:
        causes, self._causes = self._causes, ()
        return doorbell_span(
            "stream",
            causes,
            operation="process",
            destination=LEDGER_EXCHANGE,
            tenant_id=self.tenant_id,
        )

    def _complain(self, error: Exception) -> None:
        if not self._complained:
            fault = error.detail if isinstance(error, DomainError) else repr(error)
            _log.warning("live streams wait", fault=fault)
        self._complained = True

    async def _look(self) -> float:
        """Read what has changed; answer the seconds to pause."""
        begun_at = time.monotonic()
        epoch, after, _ = self.position
        home = await self.home()
        async with self._reads.connection(home, "changed_balances", is_shared=True) as connection:
            changes = await changed_balances(
                connection, epoch=epoch, after=after, events_max=EVENTS_MAX
            )
        self._take(changes)
        now = time.monotonic()
        if changes.balances:
            self._busy_until = now + _BUSY_S
        was_busy, self._is_busy = self._is_busy, now < self._busy_until
        self._pace.busy += self._is_busy - was_busy
        if changes.events_left:
            return 0
        # On a busy server it looks half of the time at most.
        return max(self._pace.busy_s, now - begun_at) if self._is_busy else self._pace.idle_s

    def _take(self, changes: Changes) -> None:
        """Add changes to the views, without an await: views and position always agree."""
        if changes.epoch != self.position.epoch:
            for view in self._views:
                view.start_over(changes.through)
                view.wake()
        self.position = Position(changes.epoch, changes.through)
        woken = set()
        now = time.time()
        for row in changes.balances:
            for view in self._views.of(row):
                view.add(row, changes.epoch)
                woken.add(view)
            STREAM_LAG_SECONDS.observe(now - uuid_time_s(row["last_ledger_event_id"]))
        STREAM_BALANCES.inc(len(changes.balances))
        for view in woken:
            view.wake()
