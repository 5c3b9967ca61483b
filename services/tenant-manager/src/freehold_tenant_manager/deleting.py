"""Deletion: a tenant leaves, and nothing of theirs is left here but what they may come back for.

First nothing is let in any more, so that the ledger stands still; then all of it is exported and
backed up; only then keys, passwords, database and roles go. A process that dies in between is
followed by one that goes on: each step may be repeated, and what it needs is still there.
"""

from collections.abc import Sequence
from typing import Any

import asyncpg
import structlog

from freehold.contracts.problems import NOT_FOUND, Problem, unavailable
from freehold.ledger import client as ledger
from freehold.ledger.client import Connection
from freehold.tenancy.catalog import Catalog
from freehold.tenancy.failures import database_failures
from freehold_tenant_manager.catalog.deletion import (
    FinalExport,
    begin_deletion,
    end_deletion,
    find_final_export,
    keep_final_export,
    withdraw,
)
from freehold_tenant_manager.catalog.tenants import TenantRow, find_tenant, no_tenant
from freehold_tenant_manager.dumps.backups import Backups
from freehold_tenant_manager.dumps.final_exports import FinalExports
from freehold_tenant_manager.dumps.scratch import new_scratch_name
from freehold_tenant_manager.locks import Lock, locked
from freehold_tenant_manager.operations import Running
from freehold_tenant_manager.provisioning.roles import role_settings
from freehold_tenant_manager.provisioning.tenant_databases import TenantDatabases
from freehold_tenant_manager.restore.former_databases import FormerDatabases
from freehold_tenant_manager.server import Server
from freehold_tenant_manager.sessions import until_nobody_is_in
from freehold_tenant_manager.statements import (
    TENANT_LOCKOUT,
    TENANT_MEMBERSHIP,
    execute_formatted,
    execute_with,
)

DELETE = "delete"
"""The kind of the operation."""

_log = structlog.get_logger(__name__)

_STATEMENT_TIMEOUT_S = 30.0
_PROJECT_EVENTS_MAX = 10_000
_END_SESSION_TIMEOUT_S = 5.0
_WRITERS = ("ingest", "projector", "query")
_READERS = ("auditor", "backup")


class Deletion:
    """Deletes tenants, as an operation."""

    def __init__(
        self,
        catalog: Catalog,
        server: Server,
        exports: FinalExports,
        backups: Backups,
        former: FormerDatabases,
    ) -> None:
        """Say where they are, and who keeps what is left of them."""
        self._catalog = catalog
        self._server = server
        self._databases = TenantDatabases(server)
        self._exports = exports
        self._backups = backups
        self._former = former

    async def delete(self, running: Running) -> dict[str, Any]:
        """Delete a tenant, from wherever the deletion has come to.

        Raises:
            Problem: Something stands in the way; what is done stays, and it can be gone on with.
        """
        async with self._catalog.connection() as connection:
            final = await find_final_export(connection, running.tenant)
            if final is None:
                await _require_database(connection, running.tenant)
            tenant = await begin_deletion(connection, running.tenant)
        # From then on there may be nothing left that could be exported.
        if final is None:
            final = await self._keep(running, tenant)
        await running.note(0.9, "removing keys, database and roles")
        await self._remove(tenant, final)
        _log.info("tenant deleted", tenant_id=tenant.tenant_id, database=tenant.database_name)
        return {"backup_id": str(final.backup_id), "export_bytes": final.size_bytes}

    async def _keep(self, running: Running, tenant: TenantRow) -> FinalExport:
        """Export and back up a ledger that nothing is added to any more."""
        await running.note(0.05, "ending what is under way")
        async with self._catalog.connection() as connection:
            await _lock_out(connection, tenant, _WRITERS)
            await _join_owner(connection, tenant)
        await self._project(tenant)
        # Named by the operation: whoever goes on with it finds it made.
        backup_id = running.operation_id
        backup = await self._backups.make(
            tenant.tenant_id, backup_id, running.part(0.05, 0.35, "final backup")
        )
        if backup.verified_at is None:
            # Noted before it is made: whoever goes on in our place drops it first.
            scratch = running.state.get("scratch") or new_scratch_name()
            await running.note(0.35, "final backup: verifying", scratch=scratch)
            tell = running.part(0.35, 0.6, "final backup")
            await self._backups.verify(tenant.tenant_id, backup_id, scratch, tell)
        earlier = await self._exports.list_tries(tenant.tenant_id)
        # Fails where another process goes on with the deletion: so none of them is that one's.
        await running.note(0.6, "final export")
        await self._exports.remove(earlier)
        return await self._exports.make(tenant.tenant_id, backup_id)

    async def _project(self, tenant: TenantRow) -> None:
        """Bring the state up to the ledger's end, as its owner: projector cannot any more.

        A ledger that cannot be projected is exported as it is, and can be made anew from itself.
        """
        try:
            with database_failures():
                async with self._server.connection(
                    tenant.database_name, search_path=f"{tenant.schema_name}, pg_temp"
                ) as connection:
                    await execute_formatted(
                        connection, "SET ROLE %I", _owner(tenant), timeout_s=_STATEMENT_TIMEOUT_S
                    )
                    while (await ledger.project(connection, _PROJECT_EVENTS_MAX)).applied:
                        pass
        except asyncpg.PostgresError as error:
            _log.warning("not projected", tenant_id=tenant.tenant_id, fault=repr(error))

    async def _remove(self, tenant: TenantRow, final: FinalExport) -> None:
        """Take everything away. The catalog's row is the last to say so."""
        await self._former.drop_all(tenant.tenant_id)
        async with (
            self._catalog.connection() as connection,
            # Whoever makes the roles again must not do so in between.
            locked(connection, Lock.TENANT, tenant.tenant_id, timeout_s=_STATEMENT_TIMEOUT_S),
        ):
            async with connection.transaction():
                await keep_final_export(connection, tenant.tenant_id, final)
                await withdraw(connection, tenant.tenant_id)
            await _lock_out(connection, tenant, (*_WRITERS, *_READERS))
            await self._databases.remove(connection, tenant.database_name)
            await end_deletion(connection, tenant.tenant_id)


async def _require_database(connection: Connection, tenant_id: str) -> None:
    """Stop before anything is changed where the ledger that was to be kept is lost.

    Raises:
        Problem: not-found.
    """
    tenant = await find_tenant(connection, tenant_id)
    if tenant is None:
        raise no_tenant()
    there: bool = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", tenant.database_name
    )
    if not there:
        raise Problem(
            NOT_FOUND, "the tenant's database is lost; restore it, then delete the tenant"
        )


async def _lock_out(connection: Connection, tenant: TenantRow, services: Sequence[str]) -> None:
    """Keep some of the tenant's roles out, and end the sessions that they have.

    Raises:
        Problem: unavailable, where a session does not end.
    """
    settings = role_settings(tenant.database_name) | {"freehold.locked_out": ",".join(services)}
    await execute_with(connection, TENANT_LOCKOUT, settings, timeout_s=_STATEMENT_TIMEOUT_S)

    async def is_empty() -> bool:
        ended = await connection.fetch(
            "SELECT pg_terminate_backend(pid, $2) FROM pg_stat_activity WHERE usename = ANY ($1)",
            [f"{tenant.database_name}_{service}" for service in services],
            round(_END_SESSION_TIMEOUT_S * 1000),
            timeout=_STATEMENT_TIMEOUT_S,
        )
        if not all(row[0] for row in ended):
            raise unavailable("sessions of the tenant's roles do not end")
        return not ended

    await until_nobody_is_in(is_empty, timeout_s=_STATEMENT_TIMEOUT_S)


async def _join_owner(connection: Connection, tenant: TenantRow) -> None:
    """Become a member of the owner's role: only so may we enter the database."""
    settings = role_settings(tenant.database_name)
    await execute_with(connection, TENANT_MEMBERSHIP, settings, timeout_s=_STATEMENT_TIMEOUT_S)


def _owner(tenant: TenantRow) -> str:
    return f"{tenant.database_name}_owner"
