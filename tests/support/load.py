"""Clients who write without pause and take no for an answer only to ask again."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count

from freehold_client import NoAnswerError
from support.clients import Document, Tenant, created, event_body
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

    acknowledged: dict[Tenant, list[Document]] = field(default_factory=dict)
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


@asynccontextmanager
async def load_on(tenants: Iterable[Tenant]) -> AsyncIterator[Load]:
    """Have writers at work for a while; in the end every request they began is acknowledged."""
    load = Load()
    done = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for tenant in tenants:
            load.acknowledged[tenant] = []
            for writer in range(WRITERS_PER_TENANT):
                group.create_task(_write(load, tenant, f"w{writer}", done))
        try:
            yield load
        finally:
            done.set()


async def _write(load: Load, tenant: Tenant, writer: str, done: asyncio.Event) -> None:
    for number in count():
        if done.is_set():
            return
        key = f"{writer}-{number}"
        size = BATCH_EVENTS if number % BATCH_EVERY == 0 else 1
        # The mark tells events apart that one request would have made twice.
        events = [
            event_body(
                account_id=f"cus_{number % 5}",
                amount_minor=number + 1,
                metadata={"key": key, "place": str(place)},
            )
            for place in range(size)
        ]
        if size == 1:
            answer = await _insist(load, tenant, "/events", events[0], key)
            load.acknowledged[tenant].append(answer)
        else:
            answer = await _insist(load, tenant, "/events/batch", {"events": events}, key)
            load.acknowledged[tenant] += answer["events"]
        load.requests += 1
        await asyncio.sleep(PAUSE_S)


async def _insist(load: Load, tenant: Tenant, path: str, body: Document, key: str) -> Document:
    """Send a request until it is acknowledged; with its key that is always safe."""
    async with asyncio.timeout(GIVE_UP_AFTER_S):
        while True:
            try:
                answer = await tenant.post(path, body, key=key)
            except NoAnswerError as error:
                load.refusals[type(error.__cause__).__name__] += 1
            else:
                if answer.status_code == 201:
                    return created(answer)
                # Nothing but "come again" is acceptable: a failure of another kind is a bug.
                assert answer.status_code == 503, f"{answer.status_code}: {answer.text}"
                load.refusals[answer.json()["type"]] += 1
            await asyncio.sleep(RETRY_S)
