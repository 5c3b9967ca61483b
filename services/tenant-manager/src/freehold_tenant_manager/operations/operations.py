"""Operations: work that takes longer than a request may, done in the background.

A request is answered at once with the operation. The process at work holds a lease. When the lease
ends, another process runs the handler again with the last saved state, so every handler can be
repeated. One operation per tenant runs at a time.
"""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any
from uuid import UUID

import structlog

from freehold.aio.backoff import backoff_s
from freehold.aio.tasks import end
from freehold.contracts.errors import DomainError, Outage
from freehold.database.leases import LeaseLostError, kept
from freehold.ledger.client import Connection
from freehold.tenants.catalog import Catalog
from freehold_tenant_manager.contracts.operations import Operation
from freehold_tenant_manager.metrics import OPERATION_SECONDS, OPERATIONS_RUNNING
from freehold_tenant_manager.operations.store import (
    OperationRow,
    ask_for_operation,
    claim_operation,
    end_operation,
    forget_operations,
    give_operations_back,
    hold_operation,
    renew_operation,
    save_progress,
)
from freehold_tenant_manager.operators.acts import current_act

_log = structlog.get_logger(__name__)

_LOOK_S = 1.0
_GIVE_BACK_TIMEOUT_S = 3.0
_RETRIES_MAX = 10
_RETRY_FIRST_S = 0.5
_RETRY_MAX_S = 30.0
_KEPT_S = 90 * 86_400.0
_FORGET_EVERY_LOOKS = 3_600


Report = Callable[[float, str], Awaitable[None]]
"""Takes the progress of a piece of work, from 0 to 1, and what is being done."""


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
        """The operation's tenant.

        Raises:
            ValueError: The operation has none.
        """
        if self.tenant_id is None:
            raise ValueError(f"an operation {self.kind} is no tenant's")
        return self.tenant_id

    async def save(self, progress: float, message: str, **state: Any) -> None:
        """Save the progress, and what another process needs to continue.

        Args:
            progress: From 0 to 1.
            message: What is being done, for a person.
            state: Added to the state; values as JSON has them.

        Raises:
            LeaseLostError: Another process works on it; stop at once.
            Unavailable: The catalog does not answer.
        """
        self.progress = progress
        self.state = {**self.state, **state}
        async with self._catalog.connection() as connection:
            if not await save_progress(
                connection, self._worker, self.operation_id, progress, message, self.state
            ):
                raise LeaseLostError

    async def hold(self, connection: Connection) -> None:
        """Keep the lease until a transaction in the catalog ends, however long that takes.

        Raises:
            LeaseLostError: Another process works on it; stop at once.
        """
        if not await hold_operation(connection, self._worker, self.operation_id):
            raise LeaseLostError

    def part(self, begin: float, end: float, what: str = "") -> Report:
        """Make a function that saves the progress of a part as that of the whole.

        Args:
            begin: The progress of the whole when the part begins.
            end: What it is when the part has ended.
            what: A prefix of the messages.
        """
        prefix = f"{what}: " if what else ""

        async def report(progress: float, message: str) -> None:
            await self.save(begin + (end - begin) * progress, prefix + message)

        return report


Handler = Callable[[Running], Awaitable[dict[str, Any]]]
"""Does the work of one kind and returns its result. May be run again from its start at any time.

The operation's message is the detail of a DomainError; other errors are logged only.
"""


class Operations:
    """Accepts operations, and works on those of the kinds that have a handler."""

    def __init__(self, catalog: Catalog, *, in_flight_max: int, silent_s: float) -> None:
        """Set the bounds; a process silent for `silent_s`, the same in all, is taken for dead."""
        self._catalog = catalog
        self._in_flight_max = in_flight_max
        self._silent_s = silent_s
        self._worker = uuid.uuid4()
        self._handlers: dict[str, Handler] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._asked = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None

    def handle(self, kind: str, handler: Handler) -> None:
        """Set the handler of a kind, before `open`."""
        self._handlers[kind] = handler

    async def submit(
        self, kind: str, tenant_id: str | None = None, parameters: dict[str, Any] | None = None
    ) -> Operation:
        """Request an operation; return the existing one if the same is queued or running.

        Where an operator's act asks for it, the audit log also hears how it ended.

        Raises:
            Unavailable: The catalog does not answer.
        """
        act = current_act()
        async with self._catalog.connection() as connection:
            row = await ask_for_operation(
                connection, kind, tenant_id, parameters or {}, None if act is None else act.stated
            )
        if act is not None:
            act.outcome["operation_id"] = str(row.operation_id)
        self._asked.set()
        return row.shown()

    async def open(self) -> None:
        """Begin to work."""
        self._looking = asyncio.create_task(self._look_repeatedly())

    async def close(self) -> None:
        """Stop, and release unfinished operations to other processes at once."""
        if self._looking is None:
            return
        await end(self._looking, *self._tasks)
        with suppress(DomainError, TimeoutError):
            async with asyncio.timeout(_GIVE_BACK_TIMEOUT_S), self._catalog.connection() as held:
                await give_operations_back(held, self._worker)

    async def _look_repeatedly(self) -> None:
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
            except DomainError as error:
                _log.warning("operations wait", fault=error.detail)
            except Exception:  # noqa: BLE001 (any fault: the next look may succeed)
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
        # The tenant's next operation may have waited for this one.
        self._asked.set()

    async def _run(self, row: OperationRow) -> None:
        log = _log.bind(operation_id=str(row.operation_id), kind=row.kind, tenant_id=row.tenant_id)
        log.info("operation begun")
        running = Running(self._catalog, self._worker, row)

        async def renew() -> bool:
            async with self._catalog.connection() as connection:
                return await renew_operation(
                    connection, self._worker, row.operation_id, self._silent_s
                )

        message, result = "", None
        try:
            with (
                OPERATIONS_RUNNING.labels(row.kind).track_inprogress(),
                OPERATION_SECONDS.labels(row.kind).time(),
            ):
                async with kept(renew, lease_s=self._silent_s):
                    result = await self._work(running)
            message = "done"
            log.info("operation done")
        except LeaseLostError:
            log.warning("operation lost to another process")
            return
        except DomainError as error:
            message = error.detail
            log.warning("operation failed", fault=error.detail)
        except Exception:
            message = "it failed; the log has the operation's id"
            log.exception("operation failed")
        await self._end(row.operation_id, message, result)

    async def _work(self, running: Running) -> dict[str, Any]:
        """Run the handler, and run it again if something that it needs is unavailable."""
        for tries in range(1, _RETRIES_MAX + 1):
            try:
                return await self._handlers[running.kind](running)
            except Outage as error:
                pause_s = backoff_s(tries, first_s=_RETRY_FIRST_S, max_s=_RETRY_MAX_S)
                _log.warning(
                    "operation waits",
                    operation_id=str(running.operation_id),
                    fault=error.detail,
                    retry_in_s=pause_s,
                )
                with suppress(DomainError):
                    # Fails if the catalog is what is unavailable.
                    await running.save(running.progress, f"waits: {error.detail}")
            await asyncio.sleep(pause_s)
        return await self._handlers[running.kind](running)

    async def _end(self, operation_id: UUID, message: str, result: dict[str, Any] | None) -> None:
        """Save the end, and try until it is saved: the work is done."""
        while True:
            try:
                async with self._catalog.connection() as connection:
                    await end_operation(
                        connection, self._worker, operation_id, message=message, result=result
                    )
            except DomainError as error:
                _log.warning(
                    "operation's end not saved yet",
                    operation_id=str(operation_id),
                    fault=error.detail,
                )
                await asyncio.sleep(_LOOK_S)
            else:
                return
