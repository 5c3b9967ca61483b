"""Lanes: what waits for one tenant goes together in one call, one call at a time.

This is group commit without a timer: a lone item goes at once, and while a call runs, or waits for
its connection, the next batch gathers behind it.

Of many items a call leaves half to the next one. Clients who send again as soon as they are
answered would all end up in one call, and this process and the database would only ever work in
turn. In two halves, one is answered, and comes again, while the other is worked on.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from freehold.contracts.problems import overloaded, unavailable
from freehold.service.logs import serve_tenant
from freehold.tenancy.homes import Home

Item = TypeVar("Item")
Result = TypeVar("Result")

# So little goes together whatever else waits: a call has a price of its own.
_NOT_HALVED = 32

Take = Callable[[], Sequence[Item]]
Work = Callable[[Home, Take[Item]], Awaitable[Sequence[Result | BaseException]]]


Told_contra = TypeVar("Told_contra", contravariant=True)


class Waiter(Protocol[Told_contra]):
    """Who waits for an item's result: a future, or one that has less to do."""

    def done(self) -> bool:
        """Say whether they wait no more."""
        ...

    def set_result(self, result: Told_contra, /) -> None:
        """Hear of the result, and raise nothing; the next call waits for this to return."""
        ...

    def set_exception(self, error: BaseException, /) -> None:
        """Hear of the failure, likewise."""
        ...


@dataclass(slots=True)
class _Entry(Generic[Item, Result]):
    item: Item
    weight: int
    waiter: Waiter[Result]


@dataclass(slots=True)
class _Lane(Generic[Item, Result]):
    home: Home
    waiting: deque[_Entry[Item, Result]] = field(default_factory=deque)
    weight: int = 0
    # What the last call took: whoever had sent it is about to send again.
    taken: int = 0


class Lanes(Generic[Item, Result]):
    """One lane a tenant, in front of one kind of call."""

    def __init__(
        self,
        work: Work[Item, Result],
        *,
        call_weight_max: int,
        waiting_weight_max: int,
        all_waiting_weight_max: int,
    ) -> None:
        """Set up the lanes.

        Args:
            work: Makes one call for a tenant. It first gets hold of whatever the call needs, then
                takes the items that wait by then, and answers a result or an error for each.
            call_weight_max: What one call takes at most; a single heavier item goes alone.
                Of more than a few it takes half.
            waiting_weight_max: What may wait for one tenant before more is refused.
            all_waiting_weight_max: What may wait for all tenants together.
        """
        self._work = work
        self._call_weight_max = call_weight_max
        self._waiting_weight_max = waiting_weight_max
        self._all_waiting_weight_max = all_waiting_weight_max
        self._weight = 0
        self._lanes: dict[str, _Lane[Item, Result]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def submit(self, home: Home, item: Item, weight: int = 1) -> Result:
        """Wait in the tenant's lane and give the item's own result.

        Raises:
            Problem: overloaded, where too much waits already.
            Exception: What the work answered for this item.
        """
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self.enter(home, item, weight, future)
        return await future

    def enter(self, home: Home, item: Item, weight: int, waiter: Waiter[Result]) -> None:
        """Put an item into the tenant's lane, for a waiter who will be told.

        Raises:
            Problem: overloaded, where too much waits already.
        """
        lane = self._lanes.get(home.tenant_id)
        if lane is not None and lane.weight + weight > self._waiting_weight_max:
            raise overloaded("too much is waiting for this tenant already")
        if self._weight and self._weight + weight > self._all_waiting_weight_max:
            raise overloaded("too much is waiting already")
        if lane is None:
            lane = self._lanes[home.tenant_id] = _Lane(home)
            task = asyncio.create_task(self._run(lane))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        lane.home = home
        lane.waiting.append(_Entry(item, weight, waiter))
        lane.weight += weight
        self._weight += weight

    async def drain(self) -> None:
        """Wait until everything submitted has its result."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    async def _run(self, lane: _Lane[Item, Result]) -> None:
        serve_tenant(lane.home.tenant_id)
        try:
            while lane.waiting:
                await self._serve(lane)
        finally:
            # No await between seeing the lane empty and closing it: no wake-up is lost.
            del self._lanes[lane.home.tenant_id]
            _settle(self._take(lane, everything=True), unavailable("the service is ending"))

    async def _serve(self, lane: _Lane[Item, Result]) -> None:
        batch: list[_Entry[Item, Result]] | None = None

        def take() -> list[Item]:
            nonlocal batch
            batch = self._take(lane)
            return [entry.item for entry in batch]

        try:
            results = await self._work(lane.home, take)
        except Exception as error:  # noqa: BLE001 (every waiter must hear of it)
            # Where nobody's turn came, all of them hear of it now and not one after the other.
            _settle(self._take(lane, everything=True) if batch is None else batch, error)
        else:
            for entry, result in zip(batch or (), results, strict=True):
                _settle([entry], result)

    def _take(
        self, lane: _Lane[Item, Result], *, everything: bool = False
    ) -> list[_Entry[Item, Result]]:
        batch: list[_Entry[Item, Result]] = []
        weight = 0
        half = (lane.weight + lane.taken + 1) // 2
        weight_max = min(self._call_weight_max, max(_NOT_HALVED, half))
        while lane.waiting and (
            everything or not batch or weight + lane.waiting[0].weight <= weight_max
        ):
            entry = lane.waiting.popleft()
            lane.weight -= entry.weight
            self._weight -= entry.weight
            # Whoever gave up waiting has been told so: their item is not begun any more.
            if not entry.waiter.done():
                batch.append(entry)
                weight += entry.weight
        lane.taken = weight
        return batch


def _settle(entries: Sequence[_Entry[Item, Result]], result: Result | BaseException) -> None:
    for entry in entries:
        if entry.waiter.done():
            continue
        if isinstance(result, BaseException):
            entry.waiter.set_exception(result)
        else:
            entry.waiter.set_result(result)
