"""The continuous archive: each tenant's new events are stored as segments within seconds.

A doorbell says that a ledger has grown. It is acknowledged once the ledger is archived, so after a
crash the broker delivers it again. A sweep also finds ledgers that no doorbell announced. Segments
that are stored twice or overlap do no harm, so two processes may archive the same tenant.
"""

import asyncio
import random
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field

import asyncpg
import structlog
from pydantic import ValidationError

from freehold.aio.backoff import backoff_s
from freehold.aio.keyed_worker import KeyedWorkers, Worker
from freehold.contracts.errors import DomainError
from freehold.contracts.messages import Appended
from freehold.ledger.schema import LEDGER_VERSION_MIN
from freehold.messaging.broker import Delivery, acknowledge
from freehold.observability.logs import serve_tenant
from freehold.security.key_ring import KeyRing, SealingError
from freehold.tenants.catalog import Catalog
from freehold.tenants.connections import TenantConnections
from freehold.tenants.homes import Home
from freehold_tenant_manager.archive.epochs import (
    claim_due,
    claim_epoch,
    list_never_archived,
    record_archived,
    release_epoch,
)
from freehold_tenant_manager.archive.segments import Position, SegmentError, find_segment, take
from freehold_tenant_manager.archive.store import Archive
from freehold_tenant_manager.credentials.store import find_home
from freehold_tenant_manager.metrics import (
    ARCHIVE_BEHIND_SECONDS,
    ARCHIVE_DELAY_SECONDS,
    ARCHIVE_FAILURES,
    ARCHIVED_BYTES,
    ARCHIVED_EVENTS,
    ARCHIVED_SEGMENTS,
)
from freehold_tenant_manager.storage.objects import StorageError

_log = structlog.get_logger(__name__)

_LEASE_S = 15.0
_RETRY_FIRST_S = 1.0
_RETRY_MAX_S = 30.0
_ATTEMPTS_MAX = 20
"""With the pauses in between some minutes, well below the broker's limit for an acknowledgement."""
_DUE_MAX = 50


class ClaimedError(Exception):
    """Another process is archiving this tenant."""


class Archiver:
    """Archives one tenant's ledger up to its end."""

    def __init__(
        self,
        catalog: Catalog,
        key_ring: KeyRing,
        connections: TenantConnections,
        archive: Archive,
        *,
        events_max: int,
        sweep_s: float,
    ) -> None:
        """Set up.

        Args:
            catalog: Knows the tenants' homes, and how far each is archived.
            key_ring: Opens their credentials.
            connections: Lends connections to their databases.
            archive: Stores the segments.
            events_max: How many events a segment has at most; an append is never cut in two.
            sweep_s: After this time a tenant is due again.
        """
        self._catalog = catalog
        self._key_ring = key_ring
        self._connections = connections
        self._archive = archive
        self._events_max = events_max
        self._sweep_s = sweep_s
        self._owner = uuid.uuid4()

    async def archive(self, tenant_id: str, *, even_if_claimed: bool = False) -> Position | None:
        """Archive all that a tenant's ledger has; give its end, None for no such tenant.

        Args:
            tenant_id: The tenant.
            even_if_claimed: Do so although another process has claimed the tenant, and may have
                died: both store the same.

        Raises:
            ClaimedError: Another process has leased the tenant.
            SegmentError: The ledger differs from what was archived of it.
            StorageError: The storage does not take it, or the data key cannot be had.
            Unavailable, Overloaded: While a database does not answer.
        """
        async with self._catalog.connection() as connection:
            home = await find_home(connection, self._key_ring, tenant_id, "backup")
            if home is None:
                return None
            position = await claim_epoch(
                connection,
                tenant_id,
                home.epoch,
                self._owner,
                _LEASE_S,
                even_if_claimed=even_if_claimed,
            )
        if position is None:
            raise ClaimedError
        if home.schema_version < LEDGER_VERSION_MIN:
            await self._release(home, "the ledger is to be migrated first", self._sweep_s)
            return position
        async with self._released_after(home):
            return await self._archive_all(home, position)

    async def _archive_all(self, home: Home, position: Position) -> Position:
        while True:
            end = await self._archive_segment(home, position)
            if end is None:
                return position
            async with self._catalog.connection() as connection:
                await record_archived(
                    connection, home.tenant_id, home.epoch, end, self._owner, _LEASE_S
                )
            is_last = end.seq - position.seq < self._events_max
            position = end
            if is_last:
                return position

    async def _archive_segment(self, home: Home, after: Position) -> Position | None:
        failure: StorageError | None = None
        try:
            async with (
                self._connections.use(home) as connection,
                connection.transaction(isolation="repeatable_read", readonly=True),
            ):
                segment = await find_segment(
                    connection, home.tenant_id, home.epoch, after, self._events_max
                )
                if segment is None:
                    return None
                async with aclosing(take(connection, segment)) as pieces:
                    try:
                        stored = await self._archive.put(
                            home.tenant_id, home.epoch, segment.name, pieces
                        )
                    except StorageError as error:
                        failure = error
                        raise
                    except DomainError as error:
                        failure = StorageError(error.detail)
                        raise
        except DomainError:
            # A connection left in the middle of a COPY fails too, and would hide the cause.
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise asyncio.CancelledError from None
            if failure is not None:
                raise failure from None
            raise
        ARCHIVED_SEGMENTS.inc()
        ARCHIVED_EVENTS.inc(segment.events)
        ARCHIVED_BYTES.inc(stored.bytes)
        if segment.first_recorded_at is not None:
            delay_s = time.time() - segment.first_recorded_at.timestamp()
            ARCHIVE_DELAY_SECONDS.observe(max(0, delay_s))
        return segment.end

    @asynccontextmanager
    async def _released_after(self, home: Home) -> AsyncIterator[None]:
        """Release the tenant at the end, and record what went wrong."""
        fault: str | None = None
        try:
            yield
        except (SegmentError, StorageError) as error:
            fault = str(error)
            raise
        except DomainError as error:
            fault = error.detail
            raise
        except BaseException:
            fault = "it was broken off"
            raise
        finally:
            # Jitter, so that tenants do not all come due together.
            due_in_s = self._sweep_s * random.uniform(0.8, 1.2)  # noqa: S311 (no secret)
            if fault is not None:
                due_in_s = min(due_in_s, _RETRY_MAX_S)
            await self._release(home, fault, due_in_s)

    async def _release(self, home: Home, fault: str | None, due_in_s: float) -> None:
        async with self._catalog.connection() as connection:
            await release_epoch(
                connection, home.tenant_id, home.epoch, self._owner, fault=fault, due_in_s=due_in_s
            )


@dataclass(slots=True, eq=False)
class _Tenant(Worker[str]):
    since: float = 0.0
    """When it was rung for, or became due, by the monotonic clock."""
    rung: bool = False
    waiting: list[Delivery] = field(default_factory=list)
    failures: int = 0

    @property
    def pending(self) -> bool:
        return self.rung


class Archiving:
    """Archives the tenants that doorbells name or that are due, several at once."""

    def __init__(
        self,
        archiver: Archiver,
        catalog: Catalog,
        *,
        pause_s: float,
        in_flight_max: int,
        sweep_s: float,
    ) -> None:
        """Set up.

        Args:
            archiver: Archives one tenant.
            catalog: Knows which tenants are due.
            pause_s: The shortest time between two segments of a tenant, so that they are not tiny.
            in_flight_max: How many tenants are archived at once.
            sweep_s: The longest time between two looks at a tenant without a doorbell.
        """
        self._archiver = archiver
        self._catalog = catalog
        self._pause_s = pause_s
        self._sweep_s = sweep_s
        self._in_flight = asyncio.Semaphore(in_flight_max)
        self._tenants = KeyedWorkers(_Tenant, self._serve)
        ARCHIVE_BEHIND_SECONDS.set_function(self._behind_s)

    async def on_delivery(self, delivery: Delivery) -> None:
        """Take a doorbell; returns at once."""
        try:
            doorbell = Appended.model_validate_json(delivery.body)
        except ValidationError:
            # The projector parks it and logs the reason.
            await acknowledge([delivery])
            return
        tenant = self._ring(doorbell.subject)
        # The newest stands for the older ones: the broker limits how many may be unacknowledged.
        older, tenant.waiting = tenant.waiting, [delivery]
        await acknowledge(older)

    async def sweep(self) -> bool:
        """Archive the tenants that are due; answer whether there may be more.

        Raises:
            Unavailable: The catalog does not answer.
        """
        async with self._catalog.connection() as connection:
            due = await claim_due(connection, tenants_max=_DUE_MAX, again_s=self._sweep_s)
            new = await list_never_archived(
                connection, tenants_max=_DUE_MAX, older_than_s=self._sweep_s
            )
        for tenant_id in due + new:
            self._ring(tenant_id)
        return len(due) == _DUE_MAX

    async def close(self) -> None:
        """Stop. Doorbells of what was not archived come again."""
        await self._tenants.close(0)

    def _ring(self, tenant_id: str) -> _Tenant:
        tenant = self._tenants.wake(tenant_id)
        if not tenant.rung:
            tenant.rung, tenant.since = True, time.monotonic()
        return tenant

    async def _serve(self, tenant: _Tenant) -> None:
        serve_tenant(tenant.key)
        async with self._in_flight:
            taken, tenant.waiting, tenant.rung = tenant.waiting, [], False
            done = await self._archive(tenant)
        if done:
            tenant.failures = 0
            await acknowledge(taken)
            await tenant.pause(self._pause_s)
            return
        tenant.failures += 1
        if tenant.failures < _ATTEMPTS_MAX:
            tenant.rung, tenant.waiting = True, [*taken, *tenant.waiting]
            pause_s = backoff_s(tenant.failures, first_s=_RETRY_FIRST_S, max_s=_RETRY_MAX_S)
            await tenant.pause(pause_s)
        else:
            # Given up: from now on the sweep tries.
            given_up, tenant.waiting = [*taken, *tenant.waiting], []
            tenant.rung, tenant.failures = False, 0
            await acknowledge(given_up)

    async def _archive(self, tenant: _Tenant) -> bool:
        try:
            await self._archiver.archive(tenant.key)
        except ClaimedError:
            return False
        except (SegmentError, StorageError, SealingError) as error:
            fault = str(error)
        except DomainError as error:
            fault = error.detail
        except asyncpg.PostgresError as error:
            fault = repr(error)
        except Exception:  # noqa: BLE001 (retried, and counted like every other failure)
            _log.exception("archiving failed")
            fault = ""
        else:
            return True
        ARCHIVE_FAILURES.inc()
        if fault:
            _log.warning("not archived", fault=fault, tries=tenant.failures + 1)
        return False

    def _behind_s(self) -> float:
        waiting = [tenant.since for tenant in self._tenants if tenant.rung]
        return time.monotonic() - min(waiting) if waiting else 0.0
