"""The appender: what waits for one tenant goes into one append, and each request gets its answer.

An append that fails as a whole has written nothing, so one request that the database itself chokes
on is found by asking again one by one: its neighbours never fail with it.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from itertools import islice

import asyncpg

from freehold.ledger.appending import Answer, Appended, AppendRequest, Outcome, append
from freehold.ledger.client import Connection
from freehold.service.metrics import LEDGER_CALL_SECONDS
from freehold.service.places import place
from freehold.tenancy.connections import TenantConnections
from freehold.tenancy.failures import database_failures
from freehold.tenancy.homes import Home
from freehold.tenancy.lanes import Lanes, Take, Waiter
from freehold_ingest.announcer import Announcer, Growth
from freehold_ingest.marks import Marks
from freehold_ingest.metrics import APPEND_REQUESTS, EVENTS_APPENDED, REQUEST_OUTCOMES
from freehold_ingest.relay import Relay
from freehold_ingest.settings import Settings

# Half of what goes into one append, as a rule.
_AHEAD_FROM_EVENTS = 512
_APPEND_SECONDS = LEDGER_CALL_SECONDS.labels("append")
_OUTCOMES = {outcome: REQUEST_OUTCOMES.labels(outcome) for outcome in Outcome}


class Appender:
    """Appends for all tenants, each in its own lane."""

    def __init__(
        self,
        settings: Settings,
        connections: TenantConnections,
        marks: Marks,
        announcer: Announcer,
        relay: Relay,
    ) -> None:
        self._connections = connections
        self._in_flight = asyncio.Semaphore(settings.transactions_in_flight_max)
        self._marks = marks
        self._announcer = announcer
        self._relay = relay
        self._lanes: Lanes[Sequence[AppendRequest], Sequence[Answer]] = Lanes(
            self._work,
            call_weight_max=settings.append_events_max,
            waiting_weight_max=settings.waiting_events_max,
            all_waiting_weight_max=settings.all_waiting_events_max,
            ahead_from_weight=_AHEAD_FROM_EVENTS,
        )

    async def append(self, home: Home, request: AppendRequest, *, in_order: bool = True) -> Answer:
        """Append one request's events; returns once they are committed, or refused.

        Args:
            home: The tenant's.
            request: What to append.
            in_order: It is appended after what came in order before it, and before what comes.

        Raises:
            Problem: overloaded or unavailable. Whether it was written is then unknown; the same
                request may be sent again.
        """
        return (await self.append_each(home, [request], in_order=in_order))[0]

    async def append_each(
        self, home: Home, requests: Sequence[AppendRequest], *, in_order: bool = True
    ) -> Sequence[Answer]:
        """Append several requests in one go, each all or none; `in_order` as for `append`.

        Raises:
            Problem: overloaded or unavailable, for all of them.
        """
        await self._marks.ensure(home.tenant_id)
        weight = sum(len(request.additions) for request in requests)
        return await self._lanes.submit(home, requests, weight, in_order=in_order)

    def submit(self, home: Home, request: AppendRequest, waiter: Waiter[Sequence[Answer]]) -> bool:
        """Have one request's events appended and a waiter told; or say that it takes `append`.

        Of what goes this way, and of other requests, either may be appended first.

        Raises:
            Problem: overloaded.
        """
        if not self._marks.keep(home.tenant_id):
            return False
        self._lanes.enter(home, [request], len(request.additions), waiter, in_order=False)
        return True

    async def drain(self) -> None:
        """Finish everything accepted."""
        await self._lanes.drain()

    async def _work(
        self, home: Home, take: Take[Sequence[AppendRequest]]
    ) -> Sequence[Sequence[Answer] | BaseException]:
        with database_failures():
            # The connection first: one that is slow to come must not hold a place in flight.
            async with self._connections.use(home) as connection, place(self._in_flight):
                groups = take()
                return await self._call(connection, home, groups) if groups else []

    async def _call(
        self, connection: Connection, home: Home, groups: Sequence[Sequence[AppendRequest]]
    ) -> Sequence[Sequence[Answer] | BaseException]:
        requests = [request for group in groups for request in group]
        APPEND_REQUESTS.observe(len(requests))
        try:
            with _APPEND_SECONDS.time():
                appended = await append(connection, requests)
        except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError) as error:
            if len(groups) == 1:
                return [error]
            return [(await self._call(connection, home, [group]))[0] for group in groups]
        except Exception:
            # It may have been written all the same, and nobody else would announce that.
            self._relay.look_at(home.tenant_id)
            raise
        self._tell(home, appended)
        remaining = iter(appended.answers)
        return [list(islice(remaining, len(group))) for group in groups]

    def _tell(self, home: Home, appended: Appended) -> None:
        for outcome, requests in Counter(answer.outcome for answer in appended.answers).items():
            _OUTCOMES[outcome].inc(requests)
        EVENTS_APPENDED.inc(appended.created)
        if appended.news_from is None:
            return
        growth = Growth(
            home.epoch,
            appended.news_from,
            appended.last_seq,
            appended.last_event_id,
            appended.last_hash,
        )
        # In a moment: first those go on who wait for their answers.
        asyncio.get_running_loop().call_soon(self._announcer.announce, home.tenant_id, growth)
