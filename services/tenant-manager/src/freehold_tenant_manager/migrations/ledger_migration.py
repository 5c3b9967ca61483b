"""Migrates one tenant's ledger: its roles, migrations, rights and partitions.

Every step can be repeated, so an interrupted migration is simply run again. Services use the ledger
meanwhile: rights are given in the transaction of the migration that needs them, and no migration
waits long for a lock, since all other statements would queue behind it.
"""

from enum import Enum

import asyncpg
import structlog

from freehold.database.queries import load_queries, load_script
from freehold.ledger.client import Connection
from freehold.ledger.schema import LEDGER_GRANTS, LEDGER_SOURCE, Phase, SchemaSource
from freehold.security.key_ring import KeyRing
from freehold_tenant_manager.credentials.store import add_credentials, find_passwords
from freehold_tenant_manager.migrations.store import (
    MIGRATED,
    is_worked_on,
    record_version,
    require_services,
)
from freehold_tenant_manager.server.locks import Lock, locked_if_free
from freehold_tenant_manager.server.migrator import migrate
from freehold_tenant_manager.server.roles import (
    CUSTOMER,
    SERVICES,
    USUAL_BOUNDS,
    CustomerBounds,
    role_settings,
    verifier_settings,
)
from freehold_tenant_manager.server.server import Server
from freehold_tenant_manager.server.sessions import are_in, keep_out, let_in
from freehold_tenant_manager.server.statements import (
    CUSTOMER_BOUNDS,
    TENANT_MEMBERSHIP,
    TENANT_OPENING,
    TENANT_ROLES,
    execute_formatted,
    execute_with,
)
from freehold_tenant_manager.tenants.store import TenantRow, find_tenant

_PACKAGE = "freehold_tenant_manager.migrations"
_QUERIES = load_queries(_PACKAGE, "queries.sql")
_RIGHTS_REVOKED = load_script(_PACKAGE, "rights_revoked.sql")

_log = structlog.get_logger(__name__)

_TIMEOUT_S = 30.0
_LOST_CLIENT_NOTICED_S = 2


class Migrated(Enum):
    """The outcome."""

    DONE = "done"
    BUSY = "busy"
    """Other work on the tenant is under way; nothing was tried."""
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
        bounds: CustomerBounds = USUAL_BOUNDS,
        ledger: SchemaSource = LEDGER_SOURCE,
    ) -> None:
        """Set the bounds: a migration that waits longer for a lock gives up."""
        self._server = server
        self._key_ring = key_ring
        self._lock_timeout_s = lock_timeout_s
        self._timeout_s = timeout_s
        self._bounds = bounds
        self._source = ledger

    @property
    def version(self) -> int:
        """The newest version."""
        return self._source.version

    async def migrate(self, connection: Connection, tenant_id: str, phase: Phase) -> Migrated:
        """Apply the migrations of a phase to a tenant's ledger.

        Args:
            connection: To the catalog; holds the tenant's lock meanwhile.
            tenant_id: The tenant.
            phase: Of the deploy: before or after it.

        Raises:
            MigrationError: A migration was changed after it had been applied.
            SealingError: A password does not open.
            OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError: A step failed.
                What was done before it stays.
        """
        async with locked_if_free(connection, Lock.TENANT, tenant_id) as held:
            if not held or await is_worked_on(connection, tenant_id):
                return Migrated.BUSY
            tenant = await find_tenant(connection, tenant_id)
            if tenant is None or tenant.status not in MIGRATED:
                return Migrated.GONE
            chosen = self._source.through(phase)
            await self._complete_roles(connection, tenant)
            # Before a migration removes what older services use.
            await require_services(connection, tenant_id, chosen.services_version_min)
            version = await self._apply_undisturbed(connection, tenant, chosen)
            # A tenant restored to another database meanwhile needs another turn.
            if not await record_version(connection, tenant_id, tenant.database_name, version):
                return Migrated.BUSY
        if version != tenant.schema_version:
            _log.info("ledger migrated", tenant_id=tenant_id, version=version)
        return Migrated.DONE

    async def _apply_undisturbed(
        self, connection: Connection, tenant: TenantRow, chosen: SchemaSource
    ) -> int:
        """Apply migrations; where a lock is held, again with the customer's role kept out.

        A customer's session can hold a lock on what it reads as long as it likes. If this process
        dies meanwhile, _complete_roles of the next turn lets the role in again.
        """
        try:
            return await self._apply(connection, tenant, chosen)
        except asyncpg.LockNotAvailableError:
            name = tenant.database_name
            if not await are_in(connection, name, [CUSTOMER]):
                raise
            _log.warning("customer kept out of their database meanwhile", database=name)
            try:
                await keep_out(connection, name, [CUSTOMER])
                return await self._apply(connection, tenant, chosen)
            finally:
                await let_in(connection, name, [CUSTOMER])

    async def _complete_roles(self, connection: Connection, tenant: TenantRow) -> None:
        """Make roles that an earlier release did not make."""
        names = [f"{tenant.database_name}_{service}" for service in SERVICES]
        complete: bool = await connection.fetchval(
            _QUERIES["are_complete"], names, tenant.database_name
        )
        if not complete:
            await add_credentials(connection, self._key_ring, tenant.database_name)
            passwords = await find_passwords(connection, self._key_ring, tenant.database_name)
            await execute_with(
                connection,
                TENANT_ROLES + CUSTOMER_BOUNDS + TENANT_MEMBERSHIP + TENANT_OPENING,
                role_settings(tenant.database_name)
                | verifier_settings(passwords)
                | self._bounds.settings(),
            )

    async def _apply(self, connection: Connection, tenant: TenantRow, chosen: SchemaSource) -> int:
        owner = f"{tenant.database_name}_owner"
        settings = role_settings(tenant.database_name)
        await execute_with(connection, TENANT_MEMBERSHIP, settings)
        async with self._server.connection(
            tenant.database_name,
            search_path=f"{tenant.schema_name}, pg_temp",
            lock_timeout=f"{round(self._lock_timeout_s * 1000)}ms",
            # The session of a killed process must end, and not block the next one.
            client_connection_check_interval=f"{_LOST_CLIENT_NOTICED_S}s",
        ) as ledger:
            await execute_formatted(ledger, "SET ROLE %I", owner)

            async def give_rights(script: str = LEDGER_GRANTS) -> None:
                await execute_with(ledger, script, settings)

            version = await migrate(
                ledger,
                chosen,
                tenant.schema_name,
                closing=give_rights,
                lock_timeout_s=self._lock_timeout_s,
                timeout_s=self._timeout_s,
            )
            # Rights can change without a migration, and partitions are made a year ahead.
            await give_rights(_RIGHTS_REVOKED + LEDGER_GRANTS)
            await ledger.execute("SELECT make_partitions()", timeout=_TIMEOUT_S)
            await ledger.execute("RESET ROLE", timeout=_TIMEOUT_S)
            await execute_formatted(ledger, "REVOKE %I FROM CURRENT_USER", owner)
        return version
