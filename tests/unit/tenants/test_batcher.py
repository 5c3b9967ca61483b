"""Batcher: what waits for a tenant goes together, each item gets its own answer, none is lost."""

import asyncio
from collections.abc import Sequence

import pytest

from freehold.contracts.errors import Overloaded, Unavailable
from freehold.tenants.batcher import Batcher, Take
from freehold.tenants.homes import Home
from support.homes import new_home


class Calls:
    """Work that waits to be let through, and keeps what each call was made for."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.gate = asyncio.Event()
        self.door = asyncio.Event()
        self.door.set()
        self.fault: BaseException | None = None

    async def work(self, home: Home, take: Take[str]) -> Sequence[str | BaseException]:
        if self.fault is not None:
            raise self.fault
        await self.door.wait()
        batch = list(take())
        self.batches.append(batch)
        await self.gate.wait()
        return [ValueError(item) if item == "bad" else item.upper() for item in batch]

    def batcher(self, **limits: int) -> Batcher[str, str]:
        usual = {"call_weight_max": 3, "waiting_weight_max": 5, "all_waiting_weight_max": 8}
        return Batcher(self.work, name="test", **(usual | limits))


async def submitted(
    batcher: Batcher[str, str], *items: str, tenant: str = "acme", in_order: bool = True
) -> list[asyncio.Task[str]]:
    async def result(item: str) -> str:
        return await batcher.submit(new_home(tenant_id=tenant), item, in_order=in_order)

    tasks = [asyncio.create_task(result(item)) for item in items]
    for _ in range(5):
        await asyncio.sleep(0)
    return tasks


async def test_what_gathers_behind_a_call_goes_together_in_the_next() -> None:
    calls = Calls()
    batcher = calls.batcher()
    first = await submitted(batcher, "a")
    others = await submitted(batcher, "b", "c", "d", "e")
    calls.gate.set()
    assert await asyncio.gather(*first, *others) == ["A", "B", "C", "D", "E"]
    assert calls.batches == [["a"], ["b", "c", "d"], ["e"]]


ROOMY = {"call_weight_max": 100, "waiting_weight_max": 100, "all_waiting_weight_max": 100}
AHEAD = ROOMY | {"ahead_from_weight": 10}


def sizes(calls: Calls) -> list[int]:
    return [len(batch) for batch in calls.batches]


async def test_a_call_leaves_half_of_many_items_to_the_next() -> None:
    calls = Calls()
    batcher = calls.batcher(**ROOMY)
    first = await submitted(batcher, "a")
    others = await submitted(batcher, *"b" * 80)
    calls.gate.set()
    await asyncio.gather(*first, *others)
    assert sizes(calls) == [1, 41, 39]
    # A few are not worth a second call.
    calls.gate.clear()
    first = await submitted(batcher, "a")
    others = await submitted(batcher, *"b" * 32)
    calls.gate.set()
    await asyncio.gather(*first, *others)
    assert sizes(calls)[3:] == [1, 32]


async def test_a_busy_tenant_has_two_calls_at_once_and_no_third() -> None:
    calls = Calls()
    batcher = calls.batcher(**AHEAD)
    tasks = await submitted(batcher, "a", in_order=False)
    tasks += await submitted(batcher, *"b" * 9, in_order=False)
    assert sizes(calls) == [1]
    tasks += await submitted(batcher, "b", in_order=False)
    assert sizes(calls) == [1, 10]
    tasks += await submitted(batcher, *"c" * 10, in_order=False)
    tasks += await submitted(batcher, "d", tenant="other", in_order=False)
    tasks += await submitted(batcher, *"e" * 10, tenant="other", in_order=False)
    assert sizes(calls) == [1, 10, 1]
    calls.gate.set()
    assert await asyncio.gather(*tasks) == [*"A", *"B" * 10, *"C" * 10, "D", *"E" * 10]
    assert sorted(sizes(calls)) == [1, 1, 10, 10, 10]
    # It is over for both: another may go ahead.
    calls.gate.clear()
    tasks = await submitted(batcher, "a", in_order=False)
    tasks += await submitted(batcher, *"b" * 10, in_order=False)
    assert sizes(calls)[5:] == [1, 10]
    calls.gate.set()
    await asyncio.gather(*tasks)
    await batcher.drain()


async def test_nothing_goes_ahead_of_what_needs_its_order() -> None:
    calls = Calls()
    batcher = calls.batcher(**AHEAD)
    tasks = await submitted(batcher, "a")
    tasks += await submitted(batcher, *"b" * 10)
    assert sizes(calls) == [1]
    calls.gate.set()
    await asyncio.gather(*tasks)
    # The second call has begun, and not taken anything yet, when such a one comes.
    calls.gate.clear()
    tasks = await submitted(batcher, "a", in_order=False)
    calls.door.clear()
    tasks += await submitted(batcher, *"b" * 10, in_order=False)
    tasks += await submitted(batcher, "c")
    calls.door.set()
    tasks += await submitted(batcher, "d")
    assert sizes(calls)[2:] == [1, 0]
    calls.gate.set()
    await asyncio.gather(*tasks)
    assert calls.batches[4] == [*"b" * 10, "c", "d"]


async def test_a_second_call_that_cannot_start_leaves_its_items_to_the_first() -> None:
    calls = Calls()
    batcher = calls.batcher(**AHEAD)
    tasks = await submitted(batcher, "a", in_order=False)
    calls.fault = Unavailable("no connection")
    tasks += await submitted(batcher, *"b" * 10, in_order=False)
    assert not any(task.done() for task in tasks)
    calls.fault = None
    calls.gate.set()
    assert await asyncio.gather(*tasks) == ["A", *"B" * 10]


async def test_a_failing_item_does_not_fail_others() -> None:
    calls = Calls()
    calls.gate.set()
    tasks = await submitted(calls.batcher(), "a", "bad", "b")
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert results[0] == "A"
    assert isinstance(results[1], ValueError)
    assert results[2] == "B"


async def test_an_item_whose_client_gave_up_is_left_out() -> None:
    calls = Calls()
    batcher = calls.batcher()
    first = await submitted(batcher, "a")
    quitter, other = await submitted(batcher, "b", "c")
    quitter.cancel()
    calls.gate.set()
    assert await asyncio.gather(*first, other) == ["A", "C"]
    assert calls.batches == [["a"], ["c"]]


async def test_without_what_a_call_needs_all_fail_at_once() -> None:
    calls = Calls()
    calls.fault = Unavailable("no connection")
    tasks = await submitted(calls.batcher(), "a", "b", "c", "d")
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        assert isinstance(result, Unavailable)


async def test_too_much_waiting_is_refused_for_a_tenant_and_for_all() -> None:
    calls = Calls()
    batcher = calls.batcher()
    tasks = await submitted(batcher, "a")
    tasks += await submitted(batcher, *"bcdef")
    tasks += await submitted(batcher, "g")
    tasks += await submitted(batcher, *"hijkl", tenant="other")
    calls.gate.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    answered = [result if isinstance(result, str) else None for result in results]
    assert answered == [*"ABCDEF", None, *"HIJ", None, None]
    for result in results:
        assert isinstance(result, str | Overloaded)
    # Nothing is left counted as waiting: there is room again.
    assert await batcher.submit(new_home(), "z") == "Z"


async def test_a_call_that_is_cancelled_fails_its_items() -> None:
    calls = Calls()
    calls.fault = asyncio.CancelledError()
    batcher = calls.batcher()
    (task,) = await submitted(batcher, "a")
    with pytest.raises(Unavailable):
        await task
    calls.fault = None
    calls.gate.set()
    assert await batcher.submit(new_home(), "b") == "B"
