"""Brings one tenant's ledger to a version: their roles, the migrations, rights, partitions.

Every step can be repeated, so whatever was cut short is done by doing it all again. Services work
in the ledger meanwhile: rights are given in the transaction of the migration that needs them, and
no migration waits long for a lock, since all others would queue behind it.
"""

from collections.abc import Sequence
from enum import Enum

import structlog

from freehold.contracts.migrations import Phase
from freehold.ledger.client import Connection
from freehold.ledger.schema import (
    LEDGER_GRANTS,
    LEDGER_MIGRATIONS,
    Migration,
    migrations_of,
    services_version_min,
)
from freehold.security.sealing import KeyRing
from freehold_tenant_manager.catalog.credentials import (
    SERVICES,
    add_credentials,
    find_passwords,
)
from freehold_tenant_manager.catalog.ledger_migrations import (
    MIGRATED,
    is_worked_on,
    record_version,
    require_services,
)
from freehold_tenant_manager.catalog.tenants import TenantRow, find_tenant
from freehold_tenant_manager.locks import Lock, locked_if_free
from freehold_tenant_manager.migration.migrating import migrate
from freehold_tenant_manager.provisioning.roles import role_settings, verifier_settings
from freehold_tenant_manager.server import Server
from freehold_tenant_manager.statements import (
    TENANT_MEMBERSHIP,
    TENANT_OPENING,
    TENANT_RIGHTS_REVOKED,
    TENANT_ROLES,
    execute_formatted,
    execute_with,
)

_log = structlog.get_logger(__name__)

_TIMEOUT_S = 30.0
_LOST_CLIENT_NOTICED_S = 2


class Migrated(Enum):
    """What came of it."""

    DONE = "done"
    BUSY = "busy"
    """Something else is being done to the tenant: nothing was tried."""
    GONE = "gone"
    """The tenant has no ledger any more."""


class LedgerMigration:
    """Migrates single ledgers."""

    def __init__(
        self,
        server: Server,
        key_ring: KeyRing,
        *,
        lock_timeout_s: float,
        timeout_s: float,
        migrations: Sequence[Migration] = LEDGER_MIGRATIONS,
    ) -> None:
        """Say how it is done.

        Args:
            server: Where tenants' databases are.
            key_ring: Seals and opens the passwords of their roles.
            lock_timeout_s: A migration gives up rather than wait longer for a lock.
            timeout_s: Bounds a single migration.
            migrations: All there are.
        """
        self._server = server
        self._key_ring = key_ring
        self._lock_timeout_s = lock_timeout_s
        self._timeout_s = timeout_s
        self._migrations = migrations

    @property
    def version(self) -> int:
        """The last migration there is."""
        return max((one.version for one in self._migrations), default=0)

    async def migrate(self, connection: Connection, tenant_id: str, phase: Phase) -> Migrated:
        """Apply what a phase has for a tenant's ledger.

        Args:
            connection: To the catalog; it holds the tenant's lock meanwhile.
            tenant_id: Whose ledger it is.
            phase: Which migrations are applied.

        Raises:
            MigrationError: A migration was changed after it had been applied.
            SealingError: A password does not open.
            OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError: A step failed.
                What was done before it stays.
        """
        async with locked_if_free(connection, Lock.TENANT, tenant_id, timeout_s=_TIMEOUT_S) as held:
            if not held or await is_worked_on(connection, tenant_id):
                return Migrated.BUSY
            tenant = await find_tenant(connection, tenant_id)
            if tenant is None or tenant.status not in MIGRATED:
                return Migrated.GONE
            chosen = migrations_of(self._migrations, phase)
            await self._complete_roles(connection, tenant)
            # Before anything is taken away that they still use.
            await require_services(connection, tenant_id, services_version_min(chosen))
            version = await self._apply(connection, tenant, chosen)
            # Restored to another database meanwhile, they need another turn.
            if not await record_version(connection, tenant_id, tenant.database_name, version):
                return Migrated.BUSY
        if version != tenant.schema_version:
            _log.info("ledger migrated", tenant_id=tenant_id, version=version)
        return Migrated.DONE

    async def _complete_roles(self, connection: Connection, tenant: TenantRow) -> None:
        """Make the roles that an earlier release did not give its tenants."""
        names = [f"{tenant.database_name}_{service}" for service in SERVICES]
        complete: bool = await connection.fetchval(
            "SELECT bool_and(r.oid IS NOT NULL AND has_database_privilege(r.oid, $2, 'CONNECT'))"
            " FROM unnest($1::text[]) AS n (role_name)"
            " LEFT JOIN pg_roles AS r ON r.rolname = n.role_name",
            names,
            tenant.database_name,
        )
        if not complete:
            await add_credentials(
                connection, self._key_ring, tenant.tenant_id, tenant.database_name
            )
            passwords = await find_passwords(connection, self._key_ring, tenant.tenant_id)
            await execute_with(
                connection,
                TENANT_ROLES + TENANT_MEMBERSHIP + TENANT_OPENING,
                role_settings(tenant.database_name) | verifier_settings(passwords),
                timeout_s=_TIMEOUT_S,
            )

    async def _apply(
        self, connection: Connection, tenant: TenantRow, chosen: Sequence[Migration]
    ) -> int:
        owner = f"{tenant.database_name}_owner"
        settings = role_settings(tenant.database_name)
        await execute_with(connection, TENANT_MEMBERSHIP, settings, timeout_s=_TIMEOUT_S)
        async with self._server.connection(
            tenant.database_name,
            search_path=f"{tenant.schema_name}, pg_temp",
            lock_timeout=f"{round(self._lock_timeout_s * 1000)}ms",
            # A session whose process was killed must not go on, and keep the next one waiting.
            client_connection_check_interval=f"{_LOST_CLIENT_NOTICED_S}s",
        ) as ledger:
            await execute_formatted(ledger, "SET ROLE %I", owner, timeout_s=_TIMEOUT_S)

            async def give_rights(script: str = LEDGER_GRANTS) -> None:
                await execute_with(ledger, script, settings, timeout_s=_TIMEOUT_S)

            version = await migrate(
                ledger,
                chosen,
                tenant.schema_name,
                closing=give_rights,
                lock_timeout_s=self._lock_timeout_s,
                timeout_s=self._timeout_s,
            )
            # Rights may have changed without a migration, and the year ahead comes nearer.
            await give_rights(TENANT_RIGHTS_REVOKED + LEDGER_GRANTS)
            await ledger.execute("SELECT make_partitions()", timeout=_TIMEOUT_S)
            await ledger.execute("RESET ROLE", timeout=_TIMEOUT_S)
            await execute_formatted(
                ledger, "REVOKE %I FROM CURRENT_USER", owner, timeout_s=_TIMEOUT_S
            )
        return version
