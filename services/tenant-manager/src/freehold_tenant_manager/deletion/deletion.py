"""Deletes a tenant, and keeps a final export and a final backup.

First, services are locked out, so that the ledger does not change any more. Then it is exported and
backed up. Only then keys, passwords, database and roles are removed. When the process dies, another
one continues: each step can be repeated, and what it needs is still there.
"""

from collections.abc import Sequence
from typing import Any

import asyncpg
import structlog

from freehold.contracts.errors import NotFound, Unavailable
from freehold.database.failures import database_failures
from freehold.database.queries import load_script
from freehold.ledger import client as ledger
from freehold.ledger.client import Connection
from freehold.tenants.catalog import Catalog
from freehold_tenant_manager.backups.backups import Backups
from freehold_tenant_manager.contracts.credentials import Service
from freehold_tenant_manager.deletion.store import begin_deletion, end_deletion, withdraw
from freehold_tenant_manager.dumps.scratch import new_scratch_name
from freehold_tenant_manager.exports.final_exports import (
    FinalExport,
    FinalExports,
    find_final_export,
    keep_final_export,
)
from freehold_tenant_manager.operations.operations import Running
from freehold_tenant_manager.provisioning.tenant_databases import TenantDatabases
from freehold_tenant_manager.restore.retired_databases import RetiredDatabases
from freehold_tenant_manager.server.locks import Lock, locked
from freehold_tenant_manager.server.roles import SERVICES, SERVING, role_settings
from freehold_tenant_manager.server.server import Server
from freehold_tenant_manager.server.sessions import end_sessions, until_empty
from freehold_tenant_manager.server.statements import (
    TENANT_MEMBERSHIP,
    database_exists,
    execute_formatted,
    execute_with,
)
from freehold_tenant_manager.tenants.store import TenantRow, require_tenant

_LOCKOUT = load_script("freehold_tenant_manager.deletion", "lockout.sql")

_log = structlog.get_logger(__name__)

_STATEMENT_TIMEOUT_S = 30.0
_PROJECT_EVENTS_MAX = 10_000
_END_SESSION_S = 5.0


class Deletion:
    """Deletes tenants, as an operation."""

    def __init__(
        self,
        catalog: Catalog,
        server: Server,
        exports: FinalExports,
        backups: Backups,
        retired: RetiredDatabases,
    ) -> None:
        self._catalog = catalog
        self._server = server
        self._databases = TenantDatabases(server)
        self._exports = exports
        self._backups = backups
        self._retired = retired

    async def delete(self, running: Running) -> dict[str, Any]:
        """Delete a tenant, or continue where an earlier try ended.

        Raises:
            DomainError: A step failed; what is done stays, and a later run continues.
        """
        async with self._catalog.connection() as connection:
            final = await find_final_export(connection, running.tenant)
            if final is None:
                await _require_database(connection, running.tenant)
            tenant = await begin_deletion(connection, running.tenant)
        # Once there is a final export, the database may be gone.
        if final is None:
            final = await self._keep(running, tenant)
        await running.save(0.9, "removing keys, database and roles")
        await self._remove(tenant, final)
        _log.info("tenant deleted", tenant_id=tenant.tenant_id, database=tenant.database_name)
        return {"backup_id": str(final.backup_id), "export_bytes": final.size_bytes}

    async def _keep(self, running: Running, tenant: TenantRow) -> FinalExport:
        """Lock the services out, then back the ledger up and export it."""
        await running.save(0.05, "ending what is under way")
        async with self._catalog.connection() as connection:
            await _lock_out(connection, tenant, SERVING)
            # Entering the database requires membership in its owner's role.
            settings = role_settings(tenant.database_name)
            await execute_with(connection, TENANT_MEMBERSHIP, settings)
        await self._project(tenant)
        # The backup has the operation's id, so that a process that continues finds it.
        backup_id = running.operation_id
        backup = await self._backups.make(
            tenant.tenant_id, backup_id, running.part(0.05, 0.35, "final backup")
        )
        if backup.verified_at is None:
            # Saved before the database is made, so that a process that continues drops it.
            scratch = running.state.get("scratch") or new_scratch_name()
            await running.save(0.35, "final backup: verifying", scratch=scratch)
            report = running.part(0.35, 0.6, "final backup")
            await self._backups.verify(tenant.tenant_id, backup_id, scratch, report)
        earlier = await self._exports.list_tries(tenant.tenant_id)
        # Fails if another process took the operation over; so none of these tries is its own.
        await running.save(0.6, "final export")
        await self._exports.remove(earlier)
        return await self._exports.make(tenant.tenant_id, backup_id)

    async def _project(self, tenant: TenantRow) -> None:
        """Project the ledger to its end, as its owner: projector is locked out.

        A ledger that cannot be projected is exported as it is: its events are complete.
        """
        try:
            with database_failures():
                async with self._server.connection(
                    tenant.database_name, search_path=f"{tenant.schema_name}, pg_temp"
                ) as connection:
                    owner = f"{tenant.database_name}_owner"
                    await execute_formatted(connection, "SET ROLE %I", owner)
                    while (await ledger.project(connection, _PROJECT_EVENTS_MAX)).applied:
                        pass
        except asyncpg.PostgresError as error:
            _log.warning("not projected", tenant_id=tenant.tenant_id, fault=repr(error))

    async def _remove(self, tenant: TenantRow, final: FinalExport) -> None:
        """Remove everything. The catalog's row changes last."""
        await self._retired.drop_all(tenant.tenant_id)
        async with (
            self._catalog.connection() as connection,
            # A migration, for example, must not make the roles again meanwhile.
            locked(connection, Lock.TENANT, tenant.tenant_id),
        ):
            async with connection.transaction():
                await keep_final_export(connection, tenant.tenant_id, final)
                await withdraw(connection, tenant.tenant_id)
            await _lock_out(connection, tenant, SERVICES)
            await self._databases.remove(connection, tenant.database_name)
            await end_deletion(connection, tenant.tenant_id)


async def _require_database(connection: Connection, tenant_id: str) -> None:
    """Refuse to delete a tenant whose ledger is lost: it could not be kept.

    Raises:
        NotFound: The ledger is lost.
    """
    tenant = await require_tenant(connection, tenant_id)
    if tenant.recovering:
        raise NotFound("the tenant's ledger is not brought back yet; recover it first")
    if not await database_exists(connection, tenant.database_name):
        raise NotFound("the tenant's database is lost; restore it, then delete the tenant")


async def _lock_out(connection: Connection, tenant: TenantRow, services: Sequence[Service]) -> None:
    """Keep some of the tenant's roles out, and end their sessions.

    Raises:
        Unavailable: A session does not end.
    """
    await execute_with(connection, _LOCKOUT, role_settings(tenant.database_name, services))
    roles = [f"{tenant.database_name}_{service}" for service in services]

    async def is_empty() -> bool:
        ended = await end_sessions(connection, roles, wait_s=_END_SESSION_S)
        if not all(ended):
            raise Unavailable("sessions of the tenant's roles do not end")
        return not ended

    await until_empty(is_empty, timeout_s=_STATEMENT_TIMEOUT_S)
