"""Makes tenants: roles, database, credentials, first key. What is cut short can be gone on with.

The catalog's row comes first and turns active last, in the transaction that makes the first key; so
a creation either was answered for, or can be finished or undone without anybody missing anything.
Every step in between may be repeated, and one replica at a time works on a tenant.
"""

import asyncio

import asyncpg
import structlog

from freehold.contracts.problems import TENANT_EXISTS, Problem
from freehold.contracts.tenants import NewTenant, ProvisionedTenant
from freehold.ledger.client import Connection
from freehold.ledger.schema import LEDGER_GRANTS, LEDGER_VERSION
from freehold.security.api_keys import Scope
from freehold.security.sealing import KeyRing
from freehold.tenancy.catalog import Catalog
from freehold.tenancy.failures import database_failures
from freehold_tenant_manager.catalog.api_keys import add_api_key
from freehold_tenant_manager.catalog.credentials import add_credentials, find_passwords
from freehold_tenant_manager.catalog.tenants import (
    TenantRow,
    activate_tenant,
    add_tenant,
    find_tenant,
    remove_tenant,
)
from freehold_tenant_manager.locks import Lock, locked, locked_if_free
from freehold_tenant_manager.metrics import (
    PROVISIONING_SECONDS,
    TENANTS_PROVISIONED,
    TENANTS_UNDONE,
)
from freehold_tenant_manager.scram import scram_verifier
from freehold_tenant_manager.server import Server
from freehold_tenant_manager.statements import (
    NEW_TENANT_DATABASE,
    TENANT_HANDOVER,
    TENANT_MEMBERSHIP,
    TENANT_OPENING,
    TENANT_ROLES,
    TENANT_ROLES_DROPPED,
    drop_database,
    execute_formatted,
    execute_with,
)
from freehold_tenant_manager.templates import TEMPLATE, TEMPLATE_OWNER_ROLE, ensure_template

_log = structlog.get_logger(__name__)

_TIMEOUT_S = 30.0
_CLONE_ATTEMPTS = 3
_CLONE_PAUSE_S = 0.2
# How the server marks a database whose dropping was interrupted.
_INVALID = -2


class Provisioner:
    """Makes tenants, and undoes what was left half-made."""

    def __init__(
        self,
        catalog: Catalog,
        server: Server,
        key_ring: KeyRing,
        *,
        cluster: str,
        in_flight_max: int,
    ) -> None:
        """Say where tenants are made, and how many at once."""
        self._catalog = catalog
        self._server = server
        self._key_ring = key_ring
        self._cluster = cluster
        self._in_flight = asyncio.Semaphore(in_flight_max)

    async def create(self, wanted: NewTenant) -> ProvisionedTenant:
        """Make a tenant, or go on with making them. Without a key where they existed already.

        Raises:
            Problem: tenant-exists, where they exist with other settings or did so once;
                unavailable.
        """
        async with (
            self._in_flight,
            self._catalog.connection() as connection,
            locked(connection, Lock.TENANT, wanted.tenant_id, timeout_s=_TIMEOUT_S),
        ):
            tenant = await find_tenant(connection, wanted.tenant_id)
            if tenant is not None and tenant.status != "provisioning":
                if tenant.status in ("deleting", "deleted"):
                    raise Problem(
                        TENANT_EXISTS,
                        f"{wanted.tenant_id} is the id of a tenant who is deleted, or about to be",
                    )
                if not tenant.is_as_asked(wanted):
                    raise Problem(
                        TENANT_EXISTS, f"the tenant {wanted.tenant_id} has other settings"
                    )
                return ProvisionedTenant(tenant=tenant.shown())
            with PROVISIONING_SECONDS.time():
                if tenant is not None and not tenant.is_as_asked(wanted):
                    # Begun with other settings and never answered for: nobody can miss it.
                    await self._undo(connection, tenant)
                    tenant = None
                if tenant is None:
                    tenant = await self._record(connection, wanted)
                await self._make_roles(connection, tenant)
                await self._make_database(connection, tenant)
                await self._open_database(connection, tenant)
                await self._hand_over(tenant)
                created = await self._activate(connection, tenant)
        TENANTS_PROVISIONED.inc()
        _log.info("tenant made", tenant_id=wanted.tenant_id, database=tenant.database_name)
        return created

    async def undo_if_abandoned(self, tenant_id: str) -> None:
        """Remove whatever there is of a tenant who was begun and is not being worked on."""
        async with (
            self._in_flight,
            self._catalog.connection() as connection,
            locked_if_free(connection, Lock.TENANT, tenant_id, timeout_s=_TIMEOUT_S) as held,
        ):
            tenant = await find_tenant(connection, tenant_id) if held else None
            if tenant is not None and tenant.status == "provisioning":
                await self._undo(connection, tenant)

    async def _record(self, connection: Connection, wanted: NewTenant) -> TenantRow:
        """Write down that there is to be a tenant, and their passwords."""
        async with connection.transaction():
            tenant = await add_tenant(connection, wanted, self._cluster)
            await add_credentials(
                connection, self._key_ring, tenant.tenant_id, tenant.database_name
            )
        return tenant

    async def _make_roles(self, connection: Connection, tenant: TenantRow) -> None:
        passwords = await find_passwords(connection, self._key_ring, tenant.tenant_id)
        settings = _settings(tenant) | {
            f"freehold.verifier_{service}": scram_verifier(password)
            for service, password in passwords.items()
        }
        script = TENANT_ROLES + TENANT_MEMBERSHIP
        await execute_with(connection, script, settings, timeout_s=_TIMEOUT_S)

    async def _make_database(self, connection: Connection, tenant: TenantRow) -> None:
        """Copy the template, unless that was done. A copy is there whole or not at all."""
        name = tenant.database_name
        row = await connection.fetchrow(
            "SELECT datconnlimit FROM pg_database WHERE datname = $1", name
        )
        if row is not None and row["datconnlimit"] == _INVALID:
            await execute_formatted(connection, "DROP DATABASE %I", name, timeout_s=_TIMEOUT_S)
            row = None
        if row is not None:
            return
        names = (name, f"{name}_owner", TEMPLATE)
        for attempt in range(1, _CLONE_ATTEMPTS + 1):
            try:
                await execute_formatted(
                    connection, NEW_TENANT_DATABASE, *names, timeout_s=_TIMEOUT_S
                )
            except (asyncpg.ObjectInUseError, asyncpg.InvalidCatalogNameError) as error:
                if attempt == _CLONE_ATTEMPTS:
                    raise
                _log.warning("template not ready", database=TEMPLATE, fault=str(error))
                await ensure_template(connection, self._server)
                await asyncio.sleep(_CLONE_PAUSE_S * attempt)
            else:
                return

    async def _open_database(self, connection: Connection, tenant: TenantRow) -> None:
        await execute_with(connection, TENANT_OPENING, _settings(tenant), timeout_s=_TIMEOUT_S)

    async def _hand_over(self, tenant: TenantRow) -> None:
        """Give everything in the database to its owner, who gives the services their rights.

        Raises:
            Problem: overloaded or unavailable, where the database does not answer as it should.
        """
        with database_failures():
            await self._hand_over_within(tenant)

    async def _hand_over_within(self, tenant: TenantRow) -> None:
        async with (
            self._server.connection(
                tenant.database_name, search_path=f"{tenant.schema_name}, pg_temp"
            ) as connection,
            connection.transaction(),
        ):
            await execute_with(
                connection,
                TENANT_HANDOVER + LEDGER_GRANTS,
                _settings(tenant) | {"freehold.template_owner": TEMPLATE_OWNER_ROLE},
                timeout_s=_TIMEOUT_S,
            )
            await connection.execute("RESET ROLE")
            await execute_formatted(
                connection,
                "REVOKE %I FROM CURRENT_USER",
                f"{tenant.database_name}_owner",
                timeout_s=_TIMEOUT_S,
            )

    async def _activate(self, connection: Connection, tenant: TenantRow) -> ProvisionedTenant:
        async with connection.transaction():
            active = await activate_tenant(connection, tenant.tenant_id, LEDGER_VERSION)
            key = await add_api_key(connection, tenant.tenant_id, Scope)
        return ProvisionedTenant(tenant=active.shown(), api_key=key.api_key)

    async def _undo(self, connection: Connection, tenant: TenantRow) -> None:
        """Remove a tenant who was never active. The catalog's row goes last."""
        settings = _settings(tenant)
        await execute_with(connection, TENANT_MEMBERSHIP, settings, timeout_s=_TIMEOUT_S)
        await drop_database(connection, tenant.database_name, timeout_s=_TIMEOUT_S)
        await execute_with(connection, TENANT_ROLES_DROPPED, settings, timeout_s=_TIMEOUT_S)
        await remove_tenant(connection, tenant.tenant_id)
        TENANTS_UNDONE.inc()
        _log.warning("creation undone", tenant_id=tenant.tenant_id, database=tenant.database_name)


def _settings(tenant: TenantRow) -> dict[str, str]:
    return {"freehold.role_prefix": tenant.database_name}
