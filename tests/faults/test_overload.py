"""More work than can be done: refused within the deadline, and done when asked for again."""

import asyncio
import time

from support.answers import found, problem
from support.clients import Tenant, event_body
from support.documents import Document
from support.locks import until_one_waits
from support.machine import Machine

# As the stack of these tests is set up.
DEADLINE_S = 8
WAITING_EVENTS_MAX = 200
# The deadline, and what a busy machine may take on top to say so.
ANSWERED_WITHIN_S = DEADLINE_S + 20


async def test_a_request_that_misses_its_deadline_is_refused_in_time(
    machine: Machine, tenant: Tenant, other_tenant: Tenant
) -> None:
    async def timed(key: str, events: int) -> float:
        started = time.monotonic()
        answer = await tenant.post("/events/batch", batch(key, events), key=key)
        problem(answer, "overloaded")
        return time.monotonic() - started

    await other_tenant.append()
    async with machine.locked(tenant) as blocking:
        working = asyncio.create_task(timed("working", 1))
        await until_one_waits(blocking)
        # Whichever comes second does not even fit into the queue, and is refused at once.
        queuing = {asyncio.create_task(timed(key, WAITING_EVENTS_MAX)) for key in ("one", "other")}
        (refused,), queuing = await asyncio.wait(queuing, return_when=asyncio.FIRST_COMPLETED)
        assert not working.done()
        assert await refused < DEADLINE_S
        # Another tenant is none the wiser.
        started = time.monotonic()
        await other_tenant.append()
        assert time.monotonic() - started < DEADLINE_S
        for late in (working, *queuing):
            assert await late < ANSWERED_WITHIN_S
    acknowledged = []
    for key, events in (("working", 1), ("one", WAITING_EVENTS_MAX), ("other", WAITING_EVENTS_MAX)):
        acknowledged += await tenant.append_batch(batch(key, events)["events"], key=key)
    assert len(acknowledged) == 2 * WAITING_EVENTS_MAX + 1
    await machine.assert_whole(tenant, acknowledged)
    found(await other_tenant.get("/lag"))


def batch(key: str, events: int) -> dict[str, list[Document]]:
    return {
        "events": [
            event_body(metadata={"key": key, "place": str(place)}) for place in range(events)
        ]
    }
