"""Batcher: what waits for one tenant goes together in one call, usually one call at a time.

This is group commit without a timer. A lone item goes at once. While a call runs, or waits for its
connection, the next batch gathers.

If many items wait, a call takes half of them. Clients that send again as soon as they are answered
would otherwise all end up in one call, and this process and the database would work in turns.

If very many wait, and none of them needs its order kept, a second call may run ahead. The database
then has its next batch at hand when the first call ends, even if this process is busy.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from freehold.aio.keyed_worker import KeyedWorkers, Worker
from freehold.contracts.errors import Overloaded, Unavailable
from freehold.observability import traces
from freehold.observability.logs import serve_tenant
from freehold.tenants.homes import Home

Item = TypeVar("Item")
Result = TypeVar("Result")

# Up to this weight a call takes all that waits: a call has a price of its own.
_NOT_HALVED = 32

Take = Callable[[], Sequence[Item]]
Work = Callable[[Home, Take[Item]], Awaitable[Sequence[Result | BaseException]]]


@dataclass(slots=True)
class _Entry(Generic[Item, Result]):
    item: Item
    weight: int
    future: asyncio.Future[Result]
    in_order: bool
    causes: traces.Causes


@dataclass(slots=True, eq=False)
class _Tenant(Worker[str], Generic[Item, Result]):
    home: Home = field(init=False)
    waiting: deque[_Entry[Item, Result]] = field(default_factory=deque)
    weight: int = 0
    last_weight: int = 0
    """Of the last call. Its clients are about to send again."""
    in_order: int = 0
    """How many waiting entries need their order kept."""
    under_way: bool = False
    """Whether the call that does not run ahead has taken its items."""

    @property
    def pending(self) -> bool:
        return bool(self.waiting)


class Batcher(Generic[Item, Result]):
    """Batches the items of each tenant in front of one kind of call."""

    def __init__(
        self,
        work: Work[Item, Result],
        *,
        name: str,
        call_weight_max: int,
        waiting_weight_max: int,
        all_waiting_weight_max: int,
        ahead_from_weight: float = float("inf"),
    ) -> None:
        """Set the limits.

        Args:
            work: Makes one call for a tenant. It first acquires what the call needs, then takes the
                items that wait by then, and returns a result or an error for each.
            name: Of a call, in traces.
            call_weight_max: The most that one call takes. A single heavier item goes alone.
            waiting_weight_max: The most that may wait for one tenant.
            all_waiting_weight_max: The most that may wait for all tenants together.
            ahead_from_weight: From this waiting weight a second call may run ahead. Only one tenant
                has one at a time, since it displaces another tenant's call.
        """
        self._work = work
        self._name = name
        self._call_weight_max = call_weight_max
        self._waiting_weight_max = waiting_weight_max
        self._all_waiting_weight_max = all_waiting_weight_max
        self._ahead_from_weight = ahead_from_weight
        self._ahead: asyncio.Task[None] | None = None
        self._weight = 0
        self._tenants: KeyedWorkers[str, _Tenant[Item, Result]] = KeyedWorkers(_Tenant, self._serve)

    def submit(
        self, home: Home, item: Item, weight: int = 1, *, in_order: bool = True
    ) -> asyncio.Future[Result]:
        """Put an item into the tenant's next batch.

        Args:
            home: The tenant's.
            item: What a call is made for.
            weight: Its share of a call.
            in_order: It is worked on after earlier items that are in order, and before later ones.

        Returns:
            The item's result, or the error that the work returned for it.

        Raises:
            Overloaded: Too much waits already.
        """
        if self._weight and self._weight + weight > self._all_waiting_weight_max:
            raise Overloaded("too much is waiting already")
        tenant = self._tenants.wake(home.tenant_id)
        if tenant.weight and tenant.weight + weight > self._waiting_weight_max:
            raise Overloaded("too much is waiting for this tenant already")
        tenant.home = home
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        tenant.waiting.append(_Entry(item, weight, future, in_order, traces.causes()))
        tenant.weight += weight
        tenant.in_order += in_order
        self._weight += weight
        self._run_ahead(tenant)
        return future

    async def drain(self) -> None:
        """Wait until every item has its result."""
        await self._tenants.drain()
        while self._ahead is not None:
            await asyncio.wait([self._ahead])

    def _run_ahead(self, tenant: _Tenant[Item, Result]) -> None:
        """Start a second call if it is allowed and worth it."""
        if (
            self._ahead is None
            and tenant.under_way
            and not tenant.in_order
            and tenant.weight >= self._ahead_from_weight
        ):
            self._ahead = asyncio.create_task(self._serve_ahead(tenant))

    async def _serve_ahead(self, tenant: _Tenant[Item, Result]) -> None:
        try:
            await self._serve(tenant, ahead=True)
        finally:
            self._ahead = None
        self._run_ahead(tenant)

    async def _serve(self, tenant: _Tenant[Item, Result], *, ahead: bool = False) -> None:
        serve_tenant(tenant.key)
        batch: list[_Entry[Item, Result]] | None = None

        def take() -> list[Item]:
            nonlocal batch
            # An item that needs its order kept may have arrived since.
            batch = [] if ahead and tenant.in_order else self._take(tenant)
            spans.enter_context(self._span(tenant, batch))
            if not ahead:
                tenant.under_way = True
                self._run_ahead(tenant)
            return [entry.item for entry in batch]

        try:
            with ExitStack() as spans:
                results = await self._work(tenant.home, take)
        except asyncio.CancelledError:
            batch = [*(batch or ()), *self._take(tenant, everything=True)]
            _settle(batch, [Unavailable("the service is ending")] * len(batch))
            raise
        except Exception as error:  # noqa: BLE001 (every future must get it)
            if batch is None and not ahead:
                # No item was taken: all that wait fail now, and not one batch after the other.
                batch = self._take(tenant, everything=True)
            results = [error] * len(batch or ())
        finally:
            if not ahead:
                tenant.under_way = False
        _settle(batch or (), results)

    def _span(
        self, tenant: _Tenant[Item, Result], batch: Sequence[_Entry[Item, Result]]
    ) -> AbstractContextManager[object]:
        return traces.caused_span(
            self._name,
            traces.joined(*[entry.causes for entry in batch]),
            attributes={traces.TENANT: tenant.key, "freehold.batch.size": len(batch)},
        )

    def _take(
        self, tenant: _Tenant[Item, Result], *, everything: bool = False
    ) -> list[_Entry[Item, Result]]:
        batch: list[_Entry[Item, Result]] = []
        weight = 0
        half = (tenant.weight + tenant.last_weight + 1) // 2
        weight_max = min(self._call_weight_max, max(_NOT_HALVED, half))
        while tenant.waiting and (
            everything or not batch or weight + tenant.waiting[0].weight <= weight_max
        ):
            entry = tenant.waiting.popleft()
            tenant.weight -= entry.weight
            tenant.in_order -= entry.in_order
            self._weight -= entry.weight
            # A client that gave up has its answer already: its item must not begin any more.
            if not entry.future.done():
                batch.append(entry)
                weight += entry.weight
        tenant.last_weight = weight
        return batch


def _settle(
    entries: Sequence[_Entry[Item, Result]], results: Sequence[Result | BaseException]
) -> None:
    for entry, result in zip(entries, results, strict=True):
        future = entry.future
        if future.done():
            continue
        if isinstance(result, BaseException):
            future.set_exception(result)
        else:
            future.set_result(result)
