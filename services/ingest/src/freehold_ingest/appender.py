"""The appender: requests that wait for one tenant go into one append, each with its own answer.

An append that fails as a whole has written nothing. So where the database refuses the values of a
request, the requests are appended again one by one, and the others do not fail with it.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from itertools import islice

import asyncpg

from freehold.aio.permits import permit
from freehold.ledger.append import Answer, AppendRequest, AppendResult, Outcome, append
from freehold.ledger.client import Connection
from freehold.observability import traces
from freehold.observability.metrics import LEDGER_CALL_SECONDS
from freehold.tenants.batcher import Batcher, Take
from freehold.tenants.connections import TenantConnections
from freehold.tenants.homes import Home
from freehold.tenants.traffic import Traffic
from freehold_ingest.announcement_leases import AnnouncementLeases
from freehold_ingest.announcer import Announcer, Growth
from freehold_ingest.metrics import APPEND_REQUESTS, EVENTS_APPENDED, REQUEST_OUTCOMES
from freehold_ingest.relay import Relay
from freehold_ingest.settings import Settings

# Half of what goes into one append, as a rule.
_AHEAD_FROM_EVENTS = 512
_APPEND_SECONDS = LEDGER_CALL_SECONDS.labels("append")
_OUTCOMES = {outcome: REQUEST_OUTCOMES.labels(outcome) for outcome in Outcome}


class Appender:
    """Appends for all tenants, one batch per tenant and call."""

    def __init__(
        self,
        settings: Settings,
        connections: TenantConnections,
        leases: AnnouncementLeases,
        announcer: Announcer,
        relay: Relay,
        traffic: Traffic,
    ) -> None:
        self._connections = connections
        self._traffic = traffic
        self._clock = settings.clock
        self._in_flight = asyncio.Semaphore(settings.transactions_in_flight_max)
        self._leases = leases
        self._announcer = announcer
        self._relay = relay
        self._batcher: Batcher[Sequence[AppendRequest], Sequence[Answer]] = Batcher(
            self._work,
            name="append",
            call_weight_max=settings.append_events_max,
            waiting_weight_max=settings.waiting_events_max,
            all_waiting_weight_max=settings.all_waiting_events_max,
            ahead_from_weight=_AHEAD_FROM_EVENTS,
        )

    async def append(self, home: Home, request: AppendRequest, *, in_order: bool = False) -> Answer:
        """Append one request's events; returns once they are committed, or refused.

        With `in_order`, it comes after earlier requests of this kind, and before later ones.

        Raises:
            DomainError: overloaded or unavailable. Whether it was written is then unknown; the same
                request may be sent again.
        """
        return (await self.append_each(home, [request], in_order=in_order))[0]

    async def append_each(
        self, home: Home, requests: Sequence[AppendRequest], *, in_order: bool = False
    ) -> Sequence[Answer]:
        """Append several requests in one go, each all or none; `in_order` as for `append`.

        Raises:
            DomainError: overloaded or unavailable, for all of them.
        """
        if not self._leases.keep(home.tenant_id):
            await self._leases.ensure(home.tenant_id)
        # A transaction's reversal weighs as one: only the ledger knows its legs, 100 at most.
        weight = sum([len(request.additions) for request in requests])
        return await self._batcher.submit(home, requests, weight, in_order=in_order)

    async def drain(self) -> None:
        """Finish everything accepted."""
        await self._batcher.drain()

    async def _work(
        self, home: Home, take: Take[Sequence[AppendRequest]]
    ) -> Sequence[Sequence[Answer] | BaseException]:
        # The connection first: one that is slow to come must not hold a permit.
        async with self._connections.use(home) as connection, permit(self._in_flight):
            groups = take()
            return await self._call(connection, home, groups) if groups else []

    async def _call(
        self, connection: Connection, home: Home, groups: Sequence[Sequence[AppendRequest]]
    ) -> Sequence[Sequence[Answer] | BaseException]:
        requests = [request for group in groups for request in group]
        APPEND_REQUESTS.observe(len(requests))
        try:
            with _APPEND_SECONDS.time():
                appended = await append(connection, requests, self._clock)
        except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError) as error:
            if len(groups) == 1:
                return [error]
            return [(await self._call(connection, home, [group]))[0] for group in groups]
        except Exception:
            # It may have been written all the same. The relay then announces it.
            self._relay.look_at(home.tenant_id)
            raise
        self._report(home, appended)
        remaining = iter(appended.answers)
        return [list(islice(remaining, len(group))) for group in groups]

    def _report(self, home: Home, appended: AppendResult) -> None:
        for outcome, requests in Counter(answer.outcome for answer in appended.answers).items():
            _OUTCOMES[outcome].inc(requests)
        EVENTS_APPENDED.inc(appended.created)
        self._traffic.worked(home.tenant_id, appended.created)
        if appended.news_from is None:
            return
        growth = Growth(
            home.epoch,
            appended.news_from,
            appended.last_seq,
            appended.last_event_id,
            appended.last_hash,
            traces.causes(),
        )
        # Later, so that the requests are answered first.
        asyncio.get_running_loop().call_soon(self._announcer.announce, home.tenant_id, growth)
