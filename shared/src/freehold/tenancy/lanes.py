"""Lanes: what waits for one tenant goes together in one call, one call at a time.

This is group commit without a timer: a lone item goes at once, and while a call runs the next
batch gathers behind it. All lanes share a cap on calls in flight, since tenant transactions beyond
what the cores can run only wait for each other.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from freehold.contracts.problems import overloaded
from freehold.tenancy.homes import Home

Item = TypeVar("Item")
Result = TypeVar("Result")

Work = Callable[[Home, Sequence[Item]], Awaitable[Sequence[Result | BaseException]]]


@dataclass(slots=True)
class _Entry(Generic[Item, Result]):
    item: Item
    weight: int
    done: asyncio.Future[Result]


@dataclass(slots=True)
class _Lane(Generic[Item, Result]):
    home: Home
    waiting: deque[_Entry[Item, Result]] = field(default_factory=deque)
    weight: int = 0


class Lanes(Generic[Item, Result]):
    """One lane a tenant, in front of one kind of call."""

    def __init__(
        self,
        work: Work[Item, Result],
        *,
        in_flight: asyncio.Semaphore,
        call_weight_max: int,
        waiting_weight_max: int,
    ) -> None:
        """Set up the lanes.

        Args:
            work: Makes one call for many items of a tenant; answers one result or error for each.
            in_flight: Bounds the calls under way; may be shared with other lanes.
            call_weight_max: What one call takes at most; a single heavier item goes alone.
            waiting_weight_max: What may wait for one tenant before more is refused.
        """
        self._work = work
        self._in_flight = in_flight
        self._call_weight_max = call_weight_max
        self._waiting_weight_max = waiting_weight_max
        self._lanes: dict[str, _Lane[Item, Result]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def submit(self, home: Home, item: Item, weight: int = 1) -> Result:
        """Wait in the tenant's lane and give the item's own result.

        Raises:
            Problem: overloaded, where too much waits already.
            Exception: What the work answered for this item.
        """
        lane = self._lanes.get(home.tenant_id)
        fresh = lane is None
        if lane is None:
            lane = self._lanes[home.tenant_id] = _Lane(home)
        elif lane.weight + weight > self._waiting_weight_max:
            raise overloaded("too much is waiting for this tenant already")
        lane.home = home
        entry: _Entry[Item, Result] = _Entry(
            item, weight, asyncio.get_running_loop().create_future()
        )
        lane.waiting.append(entry)
        lane.weight += weight
        if fresh:
            task = asyncio.create_task(self._run(lane))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return await entry.done

    async def drain(self) -> None:
        """Wait until everything submitted has its result."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    async def _run(self, lane: _Lane[Item, Result]) -> None:
        while True:
            async with self._in_flight:
                batch = self._take(lane)
                if batch:
                    await self._call(lane.home, batch)
            if not lane.waiting:
                # No await between seeing the lane empty and closing it: no wake-up is lost.
                del self._lanes[lane.home.tenant_id]
                return

    def _take(self, lane: _Lane[Item, Result]) -> list[_Entry[Item, Result]]:
        batch: list[_Entry[Item, Result]] = []
        weight = 0
        while lane.waiting and (
            not batch or weight + lane.waiting[0].weight <= self._call_weight_max
        ):
            entry = lane.waiting.popleft()
            lane.weight -= entry.weight
            # Whoever gave up waiting has been told so: their item is not begun any more.
            if not entry.done.done():
                batch.append(entry)
                weight += entry.weight
        return batch

    async def _call(self, home: Home, batch: list[_Entry[Item, Result]]) -> None:
        try:
            results = await self._work(home, [entry.item for entry in batch])
        except Exception as error:  # noqa: BLE001 (every waiter must hear of it)
            results = [error] * len(batch)
        for entry, result in zip(batch, results, strict=True):
            if entry.done.done():
                continue
            if isinstance(result, BaseException):
                entry.done.set_exception(result)
            else:
                entry.done.set_result(result)
