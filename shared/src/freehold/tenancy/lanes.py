"""Lanes: what waits for one tenant goes together in one call, mostly one call at a time.

This is group commit without a timer: a lone item goes at once, and while a call runs, or waits for
its connection, the next batch gathers behind it.

Of many items a call leaves half to the next one. Clients who send again as soon as they are
answered would all end up in one call, and this process and the database would only ever work in
turn. In two halves, one is answered, and comes again, while the other is worked on.

Where very much waits, and nothing of it needs its order kept, a second call may go ahead: whoever
works has the next batch at hand as soon as the first is done, whatever keeps this process busy.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

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
    in_order: bool


@dataclass(slots=True)
class _Lane(Generic[Item, Result]):
    home: Home
    waiting: deque[_Entry[Item, Result]] = field(default_factory=deque)
    weight: int = 0
    # What the last call took: whoever had sent it is about to send again.
    taken: int = 0
    # Entries that wait and need their order kept.
    in_order: int = 0
    # Whether the call that does not go ahead has taken its items.
    under_way: bool = False


class Lanes(Generic[Item, Result]):
    """One lane a tenant, in front of one kind of call."""

    def __init__(
        self,
        work: Work[Item, Result],
        *,
        call_weight_max: int,
        waiting_weight_max: int,
        all_waiting_weight_max: int,
        ahead_from_weight: int | None = None,
    ) -> None:
        """Set up the lanes.

        Args:
            work: Makes one call for a tenant. It first gets hold of whatever the call needs, then
                takes the items that wait by then, and answers a result or an error for each.
            call_weight_max: What one call takes at most; a single heavier item goes alone.
                Of more than a few it takes half.
            waiting_weight_max: What may wait for one tenant before more is refused.
            all_waiting_weight_max: What may wait for all tenants together.
            ahead_from_weight: With so much waiting for a tenant a second call may go ahead: of one
                tenant at a time, as it takes the place of another tenant's call.
        """
        self._work = work
        self._call_weight_max = call_weight_max
        self._waiting_weight_max = waiting_weight_max
        self._all_waiting_weight_max = all_waiting_weight_max
        self._ahead_from_weight = ahead_from_weight
        self._one_is_ahead = False
        self._weight = 0
        self._lanes: dict[str, _Lane[Item, Result]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def submit(
        self, home: Home, item: Item, weight: int = 1, *, in_order: bool = True
    ) -> Result:
        """Wait in the tenant's lane and give the item's own result; arguments as for `enter`.

        Raises:
            Problem: overloaded, where too much waits already.
            Exception: What the work answered for this item.
        """
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self.enter(home, item, weight, future, in_order=in_order)
        return await future

    def enter(
        self,
        home: Home,
        item: Item,
        weight: int,
        waiter: Waiter[Result],
        *,
        in_order: bool = True,
    ) -> None:
        """Put an item into the tenant's lane, for a waiter who will be told.

        Args:
            home: The tenant's.
            item: What a call is made for.
            weight: How much of a call it is.
            waiter: Is told of the result.
            in_order: It is worked on after what came in order before it, and before what comes.

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
            self._begin(self._run(lane))
        lane.home = home
        lane.waiting.append(_Entry(item, weight, waiter, in_order))
        lane.weight += weight
        lane.in_order += in_order
        self._weight += weight
        self._go_ahead(lane)

    async def drain(self) -> None:
        """Wait until everything submitted has its result."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _go_ahead(self, lane: _Lane[Item, Result]) -> None:
        """Begin a second call where that is worth it."""
        if (
            self._ahead_from_weight is not None
            and lane.weight >= self._ahead_from_weight
            and lane.under_way
            and not lane.in_order
            and not self._one_is_ahead
        ):
            self._one_is_ahead = True
            self._begin(self._run_ahead(lane))

    async def _run_ahead(self, lane: _Lane[Item, Result]) -> None:
        serve_tenant(lane.home.tenant_id)
        try:
            await self._serve(lane, ahead=True)
        finally:
            self._one_is_ahead = False
        self._go_ahead(lane)

    async def _run(self, lane: _Lane[Item, Result]) -> None:
        serve_tenant(lane.home.tenant_id)
        try:
            while lane.waiting:
                await self._serve(lane)
        finally:
            # No await between seeing the lane empty and closing it: no wake-up is lost.
            del self._lanes[lane.home.tenant_id]
            _settle(self._take(lane, everything=True), unavailable("the service is ending"))

    async def _serve(self, lane: _Lane[Item, Result], *, ahead: bool = False) -> None:
        batch: list[_Entry[Item, Result]] | None = None

        def take() -> list[Item]:
            nonlocal batch
            # What needs its order kept may have come meanwhile.
            batch = [] if ahead and lane.in_order else self._take(lane)
            if not ahead:
                lane.under_way = True
                self._go_ahead(lane)
            return [entry.item for entry in batch]

        try:
            results = await self._work(lane.home, take)
        except Exception as error:  # noqa: BLE001 (every waiter must hear of it)
            if batch is None and not ahead:
                # Where nobody's turn came, all of them hear of it now and not one after the other.
                batch = self._take(lane, everything=True)
            _settle(batch or (), error)
        else:
            for entry, result in zip(batch or (), results, strict=True):
                _settle([entry], result)
        finally:
            if not ahead:
                lane.under_way = False

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
            lane.in_order -= entry.in_order
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
