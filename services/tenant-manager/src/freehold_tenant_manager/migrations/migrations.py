"""Migrates the ledgers of all or some tenants, several at a time, each with its own outcome.

A ledger that cannot be migrated does not stop the others. Failures that may pass are retried after
a pause. In the end, the operation fails if any ledger is left, and names the first of them.
"""

import asyncio
import time
from typing import Any
from uuid import UUID

import structlog

from freehold.aio.backoff import backoff_s
from freehold.contracts.errors import Internal
from freehold.database.failures import database_failures, is_passing
from freehold.ledger.client import Connection
from freehold.ledger.schema import LEDGER_VERSION, Phase
from freehold.tenants.catalog import Catalog
from freehold_tenant_manager.metrics import LEDGER_MIGRATIONS_DONE
from freehold_tenant_manager.migrations.ledger_migration import LedgerMigration, Migrated
from freehold_tenant_manager.migrations.store import (
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
from freehold_tenant_manager.operations.operations import Running
from freehold_tenant_manager.server.server import Server

_log = structlog.get_logger(__name__)

_LOOK_S = 0.2
_REPORT_EVERY_S = 0.5
_BUSY_S = 2.0
_RETRY_FIRST_S = 0.5
_RETRY_MAX_S = 15.0
_NAMED_MAX = 10
_ERROR_CHARACTERS_MAX = 500


class Migrations:
    """The handler of operations of the kind `migration`."""

    def __init__(
        self,
        server: Server,
        ledger_migration: LedgerMigration,
        *,
        in_flight_max: int,
        attempts_max: int,
    ) -> None:
        """Set the bounds: ledgers at once, each with two connections, and turns of each."""
        self._server = server
        self._ledger_migration = ledger_migration
        self._in_flight_max = in_flight_max
        self._attempts_max = attempts_max
        self._reported_at = 0.0

    async def run(self, running: Running) -> dict[str, Any]:
        """Migrate the tenants of an operation, or continue with it.

        Raises:
            Internal: Tenants could not be migrated, or the request went to another release.
            Unavailable, Overloaded: The catalog does not answer; a later run continues.
        """
        phase: Phase = running.parameters["phase"]
        known, asked_for = self._ledger_migration.version, running.parameters["ledger_version"]
        if known != asked_for:
            # Replicas of two releases are running; this one does not know all migrations.
            raise Internal(
                f"a tenant-manager that knows the ledger's version {known} took up what was asked"
                f" of one that knows {asked_for}; ask again when all are of one release"
            )
        with database_failures("the catalog"):
            async with self._server.catalog() as connection:
                await enlist_tenants(
                    connection, running.operation_id, phase, running.parameters["tenants"]
                )
            await self._take_turns(running, phase)
            async with self._server.catalog() as connection:
                count = await count_turns(connection, running.operation_id)
                failed = await list_failed(connection, running.operation_id, _NAMED_MAX)
        if count.failed:
            raise Internal(_incomplete(count, failed))
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
        """Take turns until no tenant waits for one."""
        async with self._server.catalog() as connection:
            while True:
                turn = await claim_turn(connection, running.operation_id)
                if turn is None:
                    count = await count_turns(connection, running.operation_id)
                    if not count.waiting:
                        return
                    await asyncio.sleep(_LOOK_S)
                else:
                    await self._take(connection, running.operation_id, phase, turn)
                await self._report(connection, running)

    async def _take(
        self, connection: Connection, operation_id: UUID, phase: Phase, turn: Turn
    ) -> None:
        try:
            outcome = await self._ledger_migration.migrate(connection, turn.tenant_id, phase)
        except Exception as error:
            if connection.is_closed():
                # The catalog failed: the turn is taken again when the operation continues.
                raise
            await self._save_failure(connection, operation_id, turn, error)
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

    async def _save_failure(
        self, connection: Connection, operation_id: UUID, turn: Turn, error: Exception
    ) -> None:
        description = _described(error)
        if is_passing(error) and turn.attempts < self._attempts_max:
            pause_s = backoff_s(turn.attempts, first_s=_RETRY_FIRST_S, max_s=_RETRY_MAX_S)
            _log.warning(
                "ledger not migrated yet",
                tenant_id=turn.tenant_id,
                fault=description,
                attempts=turn.attempts,
                retry_in_s=pause_s,
            )
            await put_turn_off(connection, operation_id, turn, pause_s=pause_s, error=description)
            LEDGER_MIGRATIONS_DONE.labels("retried").inc()
        else:
            _log.error("ledger not migrated", tenant_id=turn.tenant_id, exc_info=error)
            await end_turn(connection, operation_id, turn.tenant_id, error=description)
            LEDGER_MIGRATIONS_DONE.labels("failed").inc()

    async def _report(self, connection: Connection, running: Running) -> None:
        """Save the progress, at most every _REPORT_EVERY_S."""
        if time.monotonic() < self._reported_at + _REPORT_EVERY_S:
            return
        self._reported_at = time.monotonic()
        count = await count_turns(connection, running.operation_id)
        await running.save(
            (count.succeeded + count.failed) / max(count.total, 1),
            f"{count.succeeded} of {count.total} tenants migrated, {count.failed} failed",
        )


async def warn_of_those_behind(catalog: Catalog) -> None:
    """Log how many ledgers lack a migration: none is migrated without a request.

    Raises:
        Unavailable: The catalog does not answer.
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


def _described(error: Exception) -> str:
    """Describe an error in one line, without the values that Postgres gives as details."""
    # The first argument is the server's message; str() would add the details.
    message = str(error.args[0]) if error.args else ""
    notes = "".join(f", {note}" for note in getattr(error, "__notes__", ()))
    line = " ".join(message.split()) or "no details"
    return f"{line[:_ERROR_CHARACTERS_MAX]} ({type(error).__name__}{notes})"
