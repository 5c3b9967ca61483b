"""Lanes: what waits for a tenant goes together, each gets its own answer, nobody is overlooked."""

import asyncio
from collections.abc import Sequence

import pytest

from freehold.contracts.problems import OVERLOADED, UNAVAILABLE, Problem, unavailable
from freehold.tenancy.homes import Home
from freehold.tenancy.lanes import Lanes, Take


def home(tenant_id: str = "acme") -> Home:
    return Home(tenant_id, 1, "localhost", 5432, "db", "ledger", 5, "role", "password")


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

    def lanes(self, **limits: int) -> Lanes[str, str]:
        usual = {
            "call_weight_max": 3,
            "waiting_weight_max": 5,
            "all_waiting_weight_max": 8,
        }
        return Lanes(self.work, **(usual | limits))


async def submitted(
    lanes: Lanes[str, str], *items: str, tenant: str = "acme", in_order: bool = True
) -> list[asyncio.Task[str]]:
    tasks = [
        asyncio.create_task(lanes.submit(home(tenant), item, in_order=in_order)) for item in items
    ]
    for _ in range(5):
        await asyncio.sleep(0)
    return tasks


async def test_what_gathers_behind_a_call_goes_together_in_the_next() -> None:
    calls = Calls()
    lanes = calls.lanes()
    first = await submitted(lanes, "a")
    others = await submitted(lanes, "b", "c", "d", "e")
    calls.gate.set()
    assert await asyncio.gather(*first, *others) == ["A", "B", "C", "D", "E"]
    assert calls.batches == [["a"], ["b", "c", "d"], ["e"]]


ROOMY = {"call_weight_max": 100, "waiting_weight_max": 100, "all_waiting_weight_max": 100}
AHEAD = ROOMY | {"ahead_from_weight": 10}


def sizes(calls: Calls) -> list[int]:
    return [len(batch) for batch in calls.batches]


async def test_of_many_a_call_leaves_half_to_the_next_one() -> None:
    calls = Calls()
    lanes = calls.lanes(**ROOMY)
    first = await submitted(lanes, "a")
    others = await submitted(lanes, *"b" * 80)
    calls.gate.set()
    await asyncio.gather(*first, *others)
    assert sizes(calls) == [1, 41, 39]
    # A few are not worth a second call.
    calls.gate.clear()
    first = await submitted(lanes, "a")
    others = await submitted(lanes, *"b" * 32)
    calls.gate.set()
    await asyncio.gather(*first, *others)
    assert sizes(calls)[3:] == [1, 32]


async def test_where_much_waits_one_tenants_second_call_goes_ahead_and_no_third() -> None:
    calls = Calls()
    lanes = calls.lanes(**AHEAD)
    tasks = await submitted(lanes, "a", in_order=False)
    tasks += await submitted(lanes, *"b" * 9, in_order=False)
    assert sizes(calls) == [1]
    tasks += await submitted(lanes, "b", in_order=False)
    assert sizes(calls) == [1, 10]
    tasks += await submitted(lanes, *"c" * 10, in_order=False)
    tasks += await submitted(lanes, "d", tenant="other", in_order=False)
    tasks += await submitted(lanes, *"e" * 10, tenant="other", in_order=False)
    assert sizes(calls) == [1, 10, 1]
    calls.gate.set()
    assert await asyncio.gather(*tasks) == [*"A", *"B" * 10, *"C" * 10, "D", *"E" * 10]
    assert sorted(sizes(calls)) == [1, 1, 10, 10, 10]
    # It is over for both: another may go ahead.
    calls.gate.clear()
    tasks = await submitted(lanes, "a", in_order=False)
    tasks += await submitted(lanes, *"b" * 10, in_order=False)
    assert sizes(calls)[5:] == [1, 10]
    calls.gate.set()
    await asyncio.gather(*tasks)
    await lanes.drain()


async def test_nothing_goes_ahead_of_what_needs_its_order() -> None:
    calls = Calls()
    lanes = calls.lanes(**AHEAD)
    tasks = await submitted(lanes, "a")
    tasks += await submitted(lanes, *"b" * 10)
    assert sizes(calls) == [1]
    calls.gate.set()
    await asyncio.gather(*tasks)
    # The second call has begun, and not taken anything yet, when such a one comes.
    calls.gate.clear()
    tasks = await submitted(lanes, "a", in_order=False)
    calls.door.clear()
    tasks += await submitted(lanes, *"b" * 10, in_order=False)
    tasks += await submitted(lanes, "c")
    calls.door.set()
    tasks += await submitted(lanes, "d")
    assert sizes(calls)[2:] == [1, 0]
    calls.gate.set()
    await asyncio.gather(*tasks)
    assert calls.batches[4] == [*"b" * 10, "c", "d"]


async def test_a_second_call_that_gets_nowhere_leaves_all_to_the_first() -> None:
    calls = Calls()
    lanes = calls.lanes(**AHEAD)
    tasks = await submitted(lanes, "a", in_order=False)
    calls.fault = unavailable("no connection")
    tasks += await submitted(lanes, *"b" * 10, in_order=False)
    assert not any(task.done() for task in tasks)
    calls.fault = None
    calls.gate.set()
    assert await asyncio.gather(*tasks) == ["A", *"B" * 10]


async def test_one_that_fails_does_not_fail_its_neighbours() -> None:
    calls = Calls()
    calls.gate.set()
    tasks = await submitted(calls.lanes(), "a", "bad", "b")
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert results[0] == "A"
    assert isinstance(results[1], ValueError)
    assert results[2] == "B"


async def test_whoever_gave_up_waiting_is_left_out() -> None:
    calls = Calls()
    lanes = calls.lanes()
    first = await submitted(lanes, "a")
    quitter, other = await submitted(lanes, "b", "c")
    quitter.cancel()
    calls.gate.set()
    assert await asyncio.gather(*first, other) == ["A", "C"]
    assert calls.batches == [["a"], ["c"]]


async def test_without_what_a_call_needs_all_hear_of_it_at_once() -> None:
    calls = Calls()
    calls.fault = unavailable("no connection")
    tasks = await submitted(calls.lanes(), "a", "b", "c", "d")
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        assert isinstance(result, Problem)
        assert result.kind is UNAVAILABLE


async def test_too_much_waiting_is_refused_for_a_tenant_and_for_all() -> None:
    calls = Calls()
    lanes = calls.lanes()
    tasks = await submitted(lanes, "a")
    tasks += await submitted(lanes, *"bcdef")
    tasks += await submitted(lanes, "g")
    tasks += await submitted(lanes, *"hijkl", tenant="other")
    calls.gate.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    answered = [result if isinstance(result, str) else None for result in results]
    assert answered == [*"ABCDEF", None, *"HIJ", None, None]
    for result in results:
        assert isinstance(result, str) or (
            isinstance(result, Problem) and result.kind is OVERLOADED
        )
    # Nothing is left counted as waiting: there is room again.
    assert await lanes.submit(home(), "z") == "Z"


async def test_a_call_that_is_cancelled_strands_nobody() -> None:
    calls = Calls()
    calls.fault = asyncio.CancelledError()
    lanes = calls.lanes()
    (task,) = await submitted(lanes, "a")
    with pytest.raises(Problem) as refused:
        await task
    assert refused.value.kind is UNAVAILABLE
    calls.fault = None
    calls.gate.set()
    assert await lanes.submit(home(), "b") == "B"
