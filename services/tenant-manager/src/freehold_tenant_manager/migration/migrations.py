"""Migrates the ledgers of all tenants, or of some: several at a time, each with their own outcome.

A ledger that cannot be migrated keeps no other from it and is not passed over in silence: what may
pass is tried again after a pause, and in the end the operation fails and names who is left.
"""

import asyncio
import time
from contextlib import AbstractAsyncContextManager
from typing import Any
from uuid import UUID

import structlog

from freehold.contracts.migrations import Phase
from freehold.contracts.problems import INTERNAL, Problem
from freehold.ledger.client import Connection
from freehold.ledger.schema import LEDGER_VERSION
from freehold.tenancy.catalog import CATALOG_SCHEMA, Catalog
from freehold.tenancy.failures import database_failures, is_passing
from freehold_tenant_manager.catalog.ledger_migrations import (
    Count,
    Turn,
    claim_turn,
    count_statuses,
    count_turns,
    end_turn,
    enlist_tenants,
    list_failed,
    put_turn_off,
    strike_off,
)
from freehold_tenant_manager.metrics import LEDGER_MIGRATIONS_DONE
from freehold_tenant_manager.migration.ledger_migration import LedgerMigration, Migrated
from freehold_tenant_manager.operations import Running
from freehold_tenant_manager.server import Server

_log = structlog.get_logger(__name__)

MIGRATION = "migration"
"""The kind of operation."""

_LOOK_S = 0.2
_TELL_EVERY_S = 0.5
_BUSY_S = 2.0
_RETRY_FIRST_S = 0.5
_RETRY_MAX_S = 15.0
_NAMED_MAX = 10
_ERROR_CHARACTERS_MAX = 500


class Migrations:
    """Does operations of the kind `migration`."""

    def __init__(
        self,
        server: Server,
        ledger_migration: LedgerMigration,
        *,
        catalog_name: str,
        in_flight_max: int,
        attempts_max: int,
    ) -> None:
        """Say how it is done.

        Args:
            server: Where the catalog is.
            ledger_migration: What migrates one ledger.
            catalog_name: The catalog's database.
            in_flight_max: Ledgers migrated at once, each with two connections.
            attempts_max: Turns of a ledger whose failures may pass.
        """
        self._server = server
        self._ledger_migration = ledger_migration
        self._catalog_name = catalog_name
        self._in_flight_max = in_flight_max
        self._attempts_max = attempts_max
        self._told_at = 0.0

    async def run(self, running: Running) -> dict[str, Any]:
        """Migrate the tenants of an operation, or go on with it.

        Raises:
            Problem: internal, naming tenants who could not be migrated, or where another release
                was asked; unavailable or overloaded, where the catalog does not answer, and then it
                can be gone on with.
        """
        phase: Phase = running.parameters["phase"]
        known, asked_for = self._ledger_migration.version, running.parameters["ledger_version"]
        if known != asked_for:
            # Replicas of two releases are at work: this one would call done what is not.
            raise Problem(
                INTERNAL,
                f"a tenant-manager that knows the ledger's version {known} took up what was asked"
                f" of one that knows {asked_for}; ask again when all are of one release",
            )
        with database_failures("the catalog"):
            async with self._catalog() as connection:
                await enlist_tenants(
                    connection, running.operation_id, phase, running.parameters["tenants"]
                )
            await self._take_turns(running, phase)
            async with self._catalog() as connection:
                count = await count_turns(connection, running.operation_id)
                failed = await list_failed(connection, running.operation_id, _NAMED_MAX)
        if count.failed:
            raise Problem(INTERNAL, _incomplete(count, failed))
        return {"phase": phase, "ledger_version": known, "tenants": count.succeeded}

    async def _take_turns(self, running: Running, phase: Phase) -> None:
        workers = [
            asyncio.create_task(self._work(running, phase)) for _ in range(self._in_flight_max)
        ]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def _work(self, running: Running, phase: Phase) -> None:
        """Take one turn after the other, until nobody waits for one.

        On a connection of its own: a ledger may take long, and the routes need theirs.
        """
        async with self._catalog() as connection:
            while True:
                turn = await claim_turn(connection, running.operation_id)
                if turn is None:
                    count = await count_turns(connection, running.operation_id)
                    if not count.waiting:
                        return
                    await asyncio.sleep(_LOOK_S)
                else:
                    await self._take(connection, running.operation_id, phase, turn)
                await self._tell(connection, running)

    async def _take(
        self, connection: Connection, operation_id: UUID, phase: Phase, turn: Turn
    ) -> None:
        try:
            outcome = await self._ledger_migration.migrate(connection, turn.tenant_id, phase)
        except Exception as error:
            if connection.is_closed():
                # It was the catalog that failed: the turn comes again with the operation.
                raise
            await self._note_failure(connection, operation_id, turn, error)
            return
        LEDGER_MIGRATIONS_DONE.labels(outcome.value).inc()
        match outcome:
            case Migrated.DONE:
                await end_turn(connection, operation_id, turn.tenant_id, error=None)
            case Migrated.GONE:
                await strike_off(connection, operation_id, turn.tenant_id)
            case Migrated.BUSY:
                await put_turn_off(
                    connection,
                    operation_id,
                    Turn(turn.tenant_id, turn.attempts - 1),
                    pause_s=_BUSY_S,
                    error="something else is being done to the tenant",
                )

    async def _note_failure(
        self, connection: Connection, operation_id: UUID, turn: Turn, error: Exception
    ) -> None:
        told = _told(error)
        if is_passing(error) and turn.attempts < self._attempts_max:
            pause_s = min(_RETRY_FIRST_S * 2 ** (turn.attempts - 1), _RETRY_MAX_S)
            _log.warning(
                "ledger not migrated yet",
                tenant_id=turn.tenant_id,
                fault=told,
                attempts=turn.attempts,
                retry_in_s=pause_s,
            )
            await put_turn_off(connection, operation_id, turn, pause_s=pause_s, error=told)
            LEDGER_MIGRATIONS_DONE.labels("retried").inc()
        else:
            _log.error("ledger not migrated", tenant_id=turn.tenant_id, exc_info=error)
            await end_turn(connection, operation_id, turn.tenant_id, error=told)
            LEDGER_MIGRATIONS_DONE.labels("failed").inc()

    async def _tell(self, connection: Connection, running: Running) -> None:
        """Note how far it is, now and then."""
        if time.monotonic() < self._told_at + _TELL_EVERY_S:
            return
        self._told_at = time.monotonic()
        count = await count_turns(connection, running.operation_id)
        await running.note(
            (count.succeeded + count.failed) / max(count.total, 1),
            f"{count.succeeded} of {count.total} tenants migrated, {count.failed} failed",
        )

    def _catalog(self) -> AbstractAsyncContextManager[Connection]:
        return self._server.connection(self._catalog_name, search_path=CATALOG_SCHEMA)


async def warn_of_those_behind(catalog: Catalog) -> None:
    """Tell in the log how many ledgers lack a migration: nothing is migrated without being asked.

    Raises:
        Problem: unavailable, where the catalog does not answer.
    """
    async with catalog.connection() as connection:
        statuses = await count_statuses(connection, LEDGER_VERSION)
    behind = sum(statuses.values()) - statuses.get("current", 0)
    if behind:
        _log.warning(
            "ledgers lack migrations; POST /v1/migrations applies them",
            tenants=behind,
            ledger_version=LEDGER_VERSION,
        )


def _incomplete(count: Count, failed: list[str]) -> str:
    more = ", …" if count.failed > len(failed) else ""
    return (
        f"{count.failed} of {count.total} tenants were not migrated: {', '.join(failed)}{more};"
        " GET /v1/migrations?status=failed says why, and another migration tries them again"
    )


def _told(error: Exception) -> str:
    """Say what went wrong, in one line and without the values that Postgres adds as details."""
    # The first argument is the server's message alone; str() would add the details.
    message = str(error.args[0]) if error.args else ""
    notes = "".join(f", {note}" for note in getattr(error, "__notes__", ()))
    line = " ".join(message.split()) or "no more is known"
    return f"{line[:_ERROR_CHARACTERS_MAX]} ({type(error).__name__}{notes})"
