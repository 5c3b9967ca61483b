"""Operations: work that takes longer than a request may, done in the background and gone on with.

Whoever asks is answered at once with the operation to look at. A process that dies is missed by its
heartbeat, and another runs the handler again with the state that was noted last; so every handler
can be repeated. Of a tenant one operation runs at a time.
"""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any
from uuid import UUID

import structlog

from freehold.contracts.operations import Operation
from freehold.contracts.problems import OVERLOADED, UNAVAILABLE, Problem
from freehold.ledger.client import Connection
from freehold.tenancy.catalog import Catalog
from freehold_tenant_manager.catalog.operations import (
    OperationRow,
    ask_for_operation,
    claim_operation,
    end_operation,
    forget_operations,
    give_operations_back,
    hold_operation,
    note_progress,
    note_seen,
)
from freehold_tenant_manager.metrics import OPERATION_SECONDS, OPERATIONS_RUNNING

_log = structlog.get_logger(__name__)

_LOOK_S = 1.0
_HEARTBEATS = 5
"""So many fit into the time after which a worker is taken for dead: one may well be missed."""
_GIVE_BACK_TIMEOUT_S = 3.0
_RETRIES_MAX = 10
_RETRY_FIRST_S = 0.5
_RETRY_MAX_S = 30.0
_KEPT_S = 90 * 86_400.0
_FORGET_EVERY_LOOKS = 3_600


Tell = Callable[[float, str], Awaitable[None]]
"""Hears how far something is, from 0 to 1, and what is being done."""


class OperationLostError(Exception):
    """The operation is no longer ours: we were silent for too long, and another goes on with it."""


class Running:
    """An operation that a handler works on."""

    def __init__(self, catalog: Catalog, worker: UUID, row: OperationRow) -> None:
        self._catalog = catalog
        self._worker = worker
        self.operation_id = row.operation_id
        self.kind = row.kind
        self.tenant_id = row.tenant_id
        self.parameters = row.parameters
        self.state = row.state
        self.progress = row.progress

    @property
    def tenant(self) -> str:
        """The tenant, of an operation that has one.

        Raises:
            ValueError: It has none.
        """
        if self.tenant_id is None:
            raise ValueError(f"an operation {self.kind} is no tenant's")
        return self.tenant_id

    async def note(self, progress: float, message: str, **state: Any) -> None:
        """Note how far it is, and what whoever goes on with it needs to know.

        Args:
            progress: From 0 to 1.
            message: What is being done, for a person.
            state: Added to the state; values as JSON has them.

        Raises:
            OperationLostError: Another process goes on with it; stop at once.
            Problem: unavailable, where the catalog does not answer.
        """
        self.progress = progress
        self.state = {**self.state, **state}
        async with self._catalog.connection() as connection:
            if not await note_progress(
                connection, self._worker, self.operation_id, progress, message, self.state
            ):
                raise OperationLostError

    async def hold(self, connection: Connection) -> None:
        """Keep the operation ours until a transaction in the catalog ends, however long that takes.

        Raises:
            OperationLostError: Another process goes on with it; stop at once.
        """
        if not await hold_operation(connection, self._worker, self.operation_id):
            raise OperationLostError

    def part(self, begin: float, end: float, what: str = "") -> Tell:
        """Give what hears of the progress of a part, and notes it as that of the whole.

        Args:
            begin: The progress of the whole when the part begins.
            end: What it is when the part has ended.
            what: Stands before what is told, where that does not say enough.
        """
        prefix = f"{what}: " if what else ""

        async def tell(progress: float, message: str) -> None:
            await self.note(begin + (end - begin) * progress, prefix + message)

        return tell


Handler = Callable[[Running], Awaitable[dict[str, Any]]]
"""Does the work of one kind and returns its result. May be run again from its start at any time.

A Problem that it raises is told by its detail; anything else by the log alone.
"""


class Operations:
    """Takes operations in, and works on those that it knows how to do."""

    def __init__(self, catalog: Catalog, *, in_flight_max: int, silent_s: float) -> None:
        """Say where they are kept.

        Args:
            catalog: Keeps them.
            in_flight_max: How many this process works on at once.
            silent_s: A process unheard of for so long is taken for dead; the same in all of them.
        """
        self._catalog = catalog
        self._in_flight_max = in_flight_max
        self._silent_s = silent_s
        self._heartbeat_s = silent_s / _HEARTBEATS
        self._worker = uuid.uuid4()
        self._handlers: dict[str, Handler] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._asked = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None

    def handle(self, kind: str, handler: Handler) -> None:
        """Have operations of a kind done by a handler. Before `open`."""
        self._handlers[kind] = handler

    async def submit(
        self, kind: str, tenant_id: str | None = None, parameters: dict[str, Any] | None = None
    ) -> Operation:
        """Have something done; where the same is asked for or done already, give that operation.

        Raises:
            Problem: unavailable, where the catalog does not answer.
        """
        async with self._catalog.connection() as connection:
            row = await ask_for_operation(connection, kind, tenant_id, parameters or {})
        self._asked.set()
        return row.shown()

    async def open(self) -> None:
        """Begin to work."""
        self._looking = asyncio.create_task(self._look_again_and_again())

    async def close(self) -> None:
        """Stop, and let others go on at once with what is left undone."""
        if self._looking is None:
            return
        tasks = [self._looking, *self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with suppress(Problem, TimeoutError):
            async with asyncio.timeout(_GIVE_BACK_TIMEOUT_S), self._catalog.connection() as held:
                await give_operations_back(held, self._worker)

    async def _look_again_and_again(self) -> None:
        looks = 0
        while True:
            self._asked.clear()
            try:
                while len(self._tasks) < self._in_flight_max and await self._begin_one():
                    pass
                looks += 1
                if looks % _FORGET_EVERY_LOOKS == 1:
                    async with self._catalog.connection() as connection:
                        await forget_operations(connection, _KEPT_S)
            except Problem as problem:
                _log.warning("operations wait", fault=problem.detail)
            except Exception:  # noqa: BLE001 (whatever it is, the next look may do better)
                _log.exception("looking for operations failed")
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await self._asked.wait()

    async def _begin_one(self) -> bool:
        async with self._catalog.connection() as connection:
            row = await claim_operation(
                connection, self._worker, list(self._handlers), self._silent_s
            )
        if row is None:
            return False
        task = asyncio.create_task(self._run(row))
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return True

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        # The next one of the same tenant may have waited for this.
        self._asked.set()

    async def _run(self, row: OperationRow) -> None:
        log = _log.bind(operation_id=str(row.operation_id), kind=row.kind, tenant_id=row.tenant_id)
        log.info("operation begun")
        running = Running(self._catalog, self._worker, row)
        work = asyncio.create_task(self._work(running))
        heart = asyncio.create_task(self._beat(row.operation_id))
        message, result = "", None
        try:
            with (
                OPERATIONS_RUNNING.labels(row.kind).track_inprogress(),
                OPERATION_SECONDS.labels(row.kind).time(),
            ):
                await asyncio.wait({work, heart}, return_when=asyncio.FIRST_COMPLETED)
                if not work.done():
                    log.warning("operation lost to another process")
                    return
                result = work.result()
            message = "done"
            log.info("operation done")
        except OperationLostError:
            log.warning("operation lost to another process")
            return
        except Problem as problem:
            message = problem.detail
            log.warning("operation failed", fault=problem.detail)
        except Exception:
            message = "it failed; the log has the operation's id"
            log.exception("operation failed")
        finally:
            for task in (work, heart):
                task.cancel()
            await asyncio.gather(work, heart, return_exceptions=True)
        await self._end(row.operation_id, message, result)

    async def _work(self, running: Running) -> dict[str, Any]:
        """Run the handler, and again where something that it needs was away."""
        pause_s = _RETRY_FIRST_S
        for _ in range(_RETRIES_MAX):
            try:
                return await self._handlers[running.kind](running)
            except Problem as problem:
                if problem.kind not in (UNAVAILABLE, OVERLOADED):
                    raise
                _log.warning(
                    "operation waits",
                    operation_id=str(running.operation_id),
                    fault=problem.detail,
                    retry_in_s=pause_s,
                )
                with suppress(Problem):
                    # Where it is the catalog that is away, nobody can be told.
                    await running.note(running.progress, f"waits: {problem.detail}")
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _RETRY_MAX_S)
        return await self._handlers[running.kind](running)

    async def _end(self, operation_id: UUID, message: str, result: dict[str, Any] | None) -> None:
        """Note the end, for as long as it takes: all is done but this."""
        while True:
            try:
                async with self._catalog.connection() as connection:
                    await end_operation(
                        connection, self._worker, operation_id, message=message, result=result
                    )
            except Problem as problem:
                _log.warning(
                    "operation's end not noted yet",
                    operation_id=str(operation_id),
                    fault=problem.detail,
                )
                await asyncio.sleep(_LOOK_S)
            else:
                return

    async def _beat(self, operation_id: UUID) -> None:
        """Say that we are at work, until we have been silent for too long or were replaced."""
        loop = asyncio.get_running_loop()
        heard_at = loop.time()
        while loop.time() - heard_at < self._silent_s - self._heartbeat_s:
            await asyncio.sleep(self._heartbeat_s)
            with suppress(Problem):
                async with self._catalog.connection() as connection:
                    if not await note_seen(connection, self._worker, operation_id):
                        return
                heard_at = loop.time()
