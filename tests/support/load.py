"""Clients who write without pause and take no for an answer only to ask again."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import httpx

from freehold_client import AsyncFreehold
from freehold_client.generated.models import LedgerEvent
from freehold_client.transports import AsyncTransport
from support.clients import Tenant, event_body
from support.waiting import eventually

WRITERS_PER_TENANT = 2
PAUSE_S = 0.02
RETRY_S = 0.2
GIVE_UP_AFTER_S = 90
BATCH_EVERY = 7
BATCH_EVENTS = 3


@dataclass
class Load:
    """What has been answered to the writers so far."""

    acknowledged: dict[Tenant, list[LedgerEvent]] = field(default_factory=dict)
    """By tenant: the events of every 201."""
    refusals: Counter[str] = field(default_factory=Counter)
    """How often a request had to be sent again, by what stood in its way."""
    requests: int = 0

    async def more(self, requests: int, *, within_s: float = 60) -> None:
        """Wait until this many more requests have been acknowledged."""
        wanted = self.requests + requests

        async def enough() -> bool:
            return self.requests >= wanted

        await eventually(enough, f"{requests} more requests are acknowledged", within_s=within_s)


class _Transport(AsyncTransport):
    """Counts what stands in a request's way; the client comes again after a short pause."""

    def __init__(self, http: httpx.AsyncClient, refusals: Counter[str]) -> None:
        async def pause(_: float) -> None:
            await asyncio.sleep(RETRY_S)

        super().__init__(http, pause)
        self._refusals = refusals

    async def send(self, request: httpx.Request) -> httpx.Response:
        """Send a request; see Transport."""
        try:
            answer = await super().send(request)
        except httpx.TransportError as error:
            self._refusals[type(error).__name__] += 1
            raise
        if answer.status_code != 201:
            # Nothing but "come again" is acceptable: a failure of another kind is a bug.
            assert answer.status_code == 503, f"{answer.status_code}: {answer.text}"
            self._refusals[answer.json()["type"]] += 1
        return answer


@asynccontextmanager
async def load_on(tenants: Iterable[Tenant]) -> AsyncIterator[Load]:
    """Have writers at work for a while; in the end every request they began is acknowledged."""
    load = Load()
    done = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for tenant in tenants:
            load.acknowledged[tenant] = []
            client = tenant.freehold.client(
                _Transport(tenant.freehold.http, load.refusals),
                api_key=tenant.api_key,
                retry_for_s=GIVE_UP_AFTER_S,
            )
            for writer in range(WRITERS_PER_TENANT):
                group.create_task(_write(load, tenant, client, f"w{writer}", done))
        try:
            yield load
        finally:
            done.set()


async def _write(
    load: Load, tenant: Tenant, client: AsyncFreehold, writer: str, done: asyncio.Event
) -> None:
    for number in count():
        if done.is_set():
            return
        key = f"{writer}-{number}"
        size = BATCH_EVENTS if number % BATCH_EVERY == 0 else 1
        # The mark tells events apart that one request would have made twice.
        events: list[Any] = [
            event_body(
                account_id=f"cus_{number % 5}",
                amount_minor=number + 1,
                metadata={"key": key, "place": str(place)},
            )
            for place in range(size)
        ]
        async with asyncio.timeout(GIVE_UP_AFTER_S):
            if size == 1:
                made = [await client.append_event(**events[0], idempotency_key=key)]
            else:
                batch = await client.append_batch(events=events, idempotency_key=key)
                made = batch.events or []
        load.acknowledged[tenant] += made
        load.requests += 1
        await asyncio.sleep(PAUSE_S)
