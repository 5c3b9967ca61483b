"""The continuous archive: each tenant's new events are stored as segments, seconds behind.

A doorbell says whose ledger has grown. It is kept until that ledger was archived, so whatever dies
on the way, the broker rings again; and each tenant is looked at now and then without any. A segment
stored twice, or two that overlap, do no harm, so no process need be sure to be the only one.
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

from freehold.contracts.messages import Appended
from freehold.contracts.problems import Problem
from freehold.ledger.client import Connection
from freehold.messaging.broker import Delivery, acknowledge
from freehold.security.sealing import KeyRing, SealingError
from freehold.service.logs import serve_tenant
from freehold.tenancy.catalog import Catalog
from freehold.tenancy.connections import TenantConnections
from freehold.tenancy.failures import database_failures
from freehold.tenancy.homes import Home
from freehold_tenant_manager.archive.segments import (
    COPY_SETTINGS,
    LEDGER_VERSION_MIN,
    Position,
    Segment,
    SegmentError,
    find_segment,
    take,
)
from freehold_tenant_manager.archive.store import Archive
from freehold_tenant_manager.catalog.credentials import find_home
from freehold_tenant_manager.catalog.epochs import (
    claim_due,
    claim_epoch,
    list_never_archived,
    note_archived,
    release_epoch,
)
from freehold_tenant_manager.metrics import (
    ARCHIVE_BEHIND_SECONDS,
    ARCHIVE_DELAY_SECONDS,
    ARCHIVE_FAILURES,
    ARCHIVED_BYTES,
    ARCHIVED_EVENTS,
    ARCHIVED_SEGMENTS,
)
from freehold_tenant_manager.restore.history import EpochRow
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
    """Archives one tenant at a time, as often as it is told to."""

    def __init__(
        self,
        catalog: Catalog,
        key_ring: KeyRing,
        connections: TenantConnections,
        archive: Archive,
        *,
        events_max: int,
        timeout_s: float,
        sweep_s: float,
    ) -> None:
        """Set up.

        Args:
            catalog: Knows where tenants live, and how far they are archived.
            key_ring: Opens their credentials.
            connections: Lends connections to their databases.
            archive: Where segments go.
            events_max: How many events a segment has, but for the rest of an append.
            timeout_s: Bounds each statement.
            sweep_s: A tenant is looked at again after so long, at the latest.
        """
        self._catalog = catalog
        self._key_ring = key_ring
        self._connections = connections
        self._archive = archive
        self._events_max = events_max
        self._timeout_s = timeout_s
        self._sweep_s = sweep_s
        self._claim = uuid.uuid4()

    async def archive(self, tenant_id: str, *, even_if_claimed: bool = False) -> Position | None:
        """Archive all that a tenant's ledger has; answer how far that is, None for no such tenant.

        Args:
            tenant_id: Whose.
            even_if_claimed: Whether to do so although another process is at it, or has died over
                it: what both store is the same.

        Raises:
            ClaimedError: Another process is at it.
            SegmentError: The ledger is not what was archived of it before.
            StorageError: The storage does not take it, or the key for it cannot be had.
            Problem: unavailable or overloaded, where a database does not answer.
        """
        async with self._catalog.connection() as connection:
            home = await find_home(connection, self._key_ring, tenant_id, "backup")
            if home is None:
                return None
            epoch = await claim_epoch(
                connection,
                tenant_id,
                home.epoch,
                self._claim,
                _LEASE_S,
                even_if_claimed=even_if_claimed,
            )
        if epoch is None:
            raise ClaimedError
        if home.schema_version < LEDGER_VERSION_MIN:
            await self._release(home, "the ledger is to be migrated first", self._sweep_s)
            return epoch.archived
        async with self._noting(home):
            return await self._archive_all(home, epoch)

    async def _archive_all(self, home: Home, epoch: EpochRow) -> Position:
        position = epoch.archived
        while True:
            end = await self._archive_segment(home, position)
            if end is None:
                return position
            async with self._catalog.connection() as connection:
                await note_archived(
                    connection, home.tenant_id, home.epoch, end, self._claim, _LEASE_S
                )
            is_last = end.seq - position.seq < self._events_max
            position = end
            if is_last:
                return position

    async def _archive_segment(self, home: Home, after: Position) -> Position | None:
        failure: StorageError | None = None
        segment: Segment | None = None
        try:
            with database_failures():
                async with (
                    self._connections.use(home) as connection,
                    connection.transaction(isolation="repeatable_read", readonly=True),
                ):
                    segment = await self._find(connection, home, after)
                    if segment is None:
                        return None
                    async with aclosing(
                        take(connection, segment, timeout_s=self._timeout_s)
                    ) as pieces:
                        try:
                            stored = await self._archive.put(
                                home.tenant_id, home.epoch, segment.name, pieces
                            )
                        except StorageError as error:
                            failure = error
                            raise
                        except Problem as problem:
                            failure = StorageError(problem.detail)
                            raise
        except Problem:
            # A connection that was left in the middle of a copy is of no use, and says so too.
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

    async def _find(self, connection: Connection, home: Home, after: Position) -> Segment | None:
        await connection.execute(
            "SELECT set_config(name, value, true)"
            " FROM unnest($1::text[], $2::text[]) AS settings (name, value)",
            list(COPY_SETTINGS),
            list(COPY_SETTINGS.values()),
        )
        return await find_segment(connection, home.tenant_id, home.epoch, after, self._events_max)

    @asynccontextmanager
    async def _noting(self, home: Home) -> AsyncIterator[None]:
        """Let go of the tenant in the end, and note what was wrong."""
        fault: str | None = None
        try:
            yield
        except (SegmentError, StorageError) as error:
            fault = str(error)
            raise
        except Problem as problem:
            fault = problem.detail
            raise
        except BaseException:
            fault = "it was broken off"
            raise
        finally:
            # Spread out, so that tenants do not all come up for a look together.
            due_in_s = self._sweep_s * random.uniform(0.8, 1.2)  # noqa: S311 (no secret)
            if fault is not None:
                due_in_s = min(due_in_s, _RETRY_MAX_S)
            await self._release(home, fault, due_in_s)

    async def _release(self, home: Home, fault: str | None, due_in_s: float) -> None:
        async with self._catalog.connection() as connection:
            await release_epoch(
                connection,
                home.tenant_id,
                home.epoch,
                self._claim,
                fault=fault,
                due_in_s=due_in_s,
            )


@dataclass(slots=True)
class _Tenant:
    tenant_id: str
    since: float
    waiting: list[Delivery] = field(default_factory=list)
    rung: bool = True
    attempts: int = 0


class Archiving:
    """Archives whoever is rung for or due, several at once, and none of them too often."""

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
            archiver: Does it.
            catalog: Says who is due.
            pause_s: A tenant's segments are at least this far apart, so that they are not tiny.
            in_flight_max: How many tenants are archived at once.
            sweep_s: How long a tenant waits for a look that no doorbell asks for.
        """
        self._archiver = archiver
        self._catalog = catalog
        self._pause_s = pause_s
        self._sweep_s = sweep_s
        self._in_flight = asyncio.Semaphore(in_flight_max)
        self._tenants: dict[str, _Tenant] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        ARCHIVE_BEHIND_SECONDS.set_function(self._behind_s)

    async def on_delivery(self, delivery: Delivery) -> None:
        """Take a doorbell; returns at once."""
        try:
            doorbell = Appended.model_validate_json(delivery.body)
        except ValidationError:
            # The projector parks it and says so.
            await acknowledge([delivery])
            return
        tenant = self._ring(doorbell.subject)
        # The newest stands for those before it, of which the broker lets us hold only so many.
        older, tenant.waiting = tenant.waiting, [delivery]
        await acknowledge(older)

    async def sweep(self) -> bool:
        """Look at those who are due; answer whether there may be more.

        Raises:
            Problem: unavailable, where the catalog does not answer.
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
        """Stop; what was not archived is rung for again."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _ring(self, tenant_id: str) -> _Tenant:
        tenant = self._tenants.get(tenant_id)
        if tenant is None:
            tenant = self._tenants[tenant_id] = _Tenant(tenant_id, time.monotonic())
            task = asyncio.create_task(self._serve(tenant))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif not tenant.rung:
            tenant.since = time.monotonic()
        tenant.rung = True
        return tenant

    async def _serve(self, tenant: _Tenant) -> None:
        serve_tenant(tenant.tenant_id)
        try:
            while tenant.rung:
                async with self._in_flight:
                    taken, tenant.waiting, tenant.rung = tenant.waiting, [], False
                    done = await self._archive(tenant)
                if done:
                    tenant.attempts = 0
                    await acknowledge(taken)
                    await asyncio.sleep(self._pause_s)
                else:
                    tenant.attempts += 1
                    tenant.rung = tenant.attempts < _ATTEMPTS_MAX
                    tenant.waiting[:0] = taken
                    await asyncio.sleep(self._retry_s(tenant.attempts))
        finally:
            # No await between seeing nothing rung and leaving: no doorbell is overlooked.
            del self._tenants[tenant.tenant_id]
        # Given up: from now on it is the sweep that tries.
        await acknowledge(tenant.waiting)

    async def _archive(self, tenant: _Tenant) -> bool:
        try:
            await self._archiver.archive(tenant.tenant_id)
        except ClaimedError:
            return False
        except (SegmentError, StorageError, SealingError) as error:
            fault = str(error)
        except Problem as problem:
            fault = problem.detail
        except asyncpg.PostgresError as error:
            fault = repr(error)
        except Exception:  # noqa: BLE001 (one tenant's fault must not end the others' archive)
            _log.exception("archiving failed", tenant_id=tenant.tenant_id)
            fault = ""
        else:
            return True
        ARCHIVE_FAILURES.inc()
        if fault:
            _log.warning(
                "not archived", tenant_id=tenant.tenant_id, fault=fault, tries=tenant.attempts + 1
            )
        return False

    def _retry_s(self, attempts: int) -> float:
        pause_s = min(_RETRY_FIRST_S * 2.0 ** min(attempts - 1, 30), _RETRY_MAX_S)
        return pause_s * random.uniform(0.5, 1.0)  # noqa: S311 (no secret)

    def _behind_s(self) -> float:
        waiting = [tenant.since for tenant in self._tenants.values() if tenant.rung]
        return time.monotonic() - min(waiting) if waiting else 0.0
