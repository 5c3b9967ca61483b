"""Makes tenants: roles, database, credentials, first key. What is cut short can be gone on with.

Where a database is ready in the pool, its tenant is there in one transaction. Where none is, the
catalog's row comes first and turns active last, in the transaction that makes the first key; so
a creation either was answered for, or can be finished or undone without anybody missing anything.
Every step in between may be repeated, and one replica at a time works on a tenant.
"""

import asyncio
import time

import structlog

from freehold.contracts.problems import TENANT_EXISTS, Problem
from freehold.contracts.tenants import NewTenant, ProvisionedTenant
from freehold.ledger.client import Connection
from freehold.security.api_keys import Scope
from freehold.security.sealing import KeyRing
from freehold.tenancy.catalog import Catalog
from freehold_tenant_manager.catalog.api_keys import add_api_key
from freehold_tenant_manager.catalog.credentials import add_credentials, find_passwords
from freehold_tenant_manager.catalog.pool import hand_over
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
from freehold_tenant_manager.provisioning.pool import Pool
from freehold_tenant_manager.provisioning.tenant_databases import TenantDatabases, new_database_name

_log = structlog.get_logger(__name__)

_TIMEOUT_S = 30.0


class Provisioner:
    """Makes tenants, and undoes what was left half-made."""

    def __init__(
        self,
        catalog: Catalog,
        databases: TenantDatabases,
        pool: Pool,
        key_ring: KeyRing,
        *,
        cluster: str,
        in_flight_max: int,
    ) -> None:
        """Say where tenants are made, and how many at once that no database is ready for."""
        self._catalog = catalog
        self._databases = databases
        self._pool = pool
        self._key_ring = key_ring
        self._cluster = cluster
        self._in_flight = asyncio.Semaphore(in_flight_max)

    async def create(self, wanted: NewTenant) -> ProvisionedTenant:
        """Make a tenant, or go on with making them. Without a key where they existed already.

        Raises:
            Problem: tenant-exists, where they exist with other settings or did so once;
                unavailable.
        """
        created = await self._create_from_pool(wanted)
        if created is None:
            created = await self._create_whole(wanted)
        return created

    async def _create_from_pool(self, wanted: NewTenant) -> ProvisionedTenant | None:
        """Make a tenant whom nobody has asked for yet, in a database that is ready for them.

        All of it is one transaction. None where there is no such database, or anything else of
        this name: that is looked into at leisure.
        """
        async with (
            self._catalog.connection() as connection,
            locked_if_free(connection, Lock.TENANT, wanted.tenant_id, timeout_s=_TIMEOUT_S) as held,
        ):
            if not held or await find_tenant(connection, wanted.tenant_id) is not None:
                return None
            started = time.perf_counter()
            async with connection.transaction():
                database_name = await self._pool.claim(connection)
                if database_name is None:
                    return None
                tenant = await add_tenant(connection, wanted, self._cluster, database_name)
                await hand_over(connection, database_name, tenant.tenant_id)
                created = await self._activate(connection, tenant)
            PROVISIONING_SECONDS.observe(time.perf_counter() - started)
        TENANTS_PROVISIONED.inc()
        _log.info("tenant given a database", tenant_id=wanted.tenant_id, database=database_name)
        return created

    async def _create_whole(self, wanted: NewTenant) -> ProvisionedTenant:
        """Make a tenant and their database, or go on with that."""
        with self._pool.standing_back():
            return await self._create_whole_within(wanted)

    async def _create_whole_within(self, wanted: NewTenant) -> ProvisionedTenant:
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
                if tenant is not None and not (
                    tenant.is_as_asked(wanted) and tenant.is_of_this_release()
                ):
                    # Begun otherwise and never answered for: nobody can miss it.
                    await self._undo(connection, tenant)
                    tenant = None
                if tenant is None:
                    tenant = await self._record(connection, wanted)
                passwords = await find_passwords(connection, self._key_ring, tenant.tenant_id)
                await self._databases.make(
                    connection, tenant.database_name, tenant.schema_name, passwords
                )
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
            tenant = await add_tenant(connection, wanted, self._cluster, new_database_name())
            await add_credentials(
                connection, self._key_ring, tenant.tenant_id, tenant.database_name
            )
        return tenant

    async def _activate(self, connection: Connection, tenant: TenantRow) -> ProvisionedTenant:
        async with connection.transaction():
            active = await activate_tenant(connection, tenant.tenant_id)
            key = await add_api_key(connection, tenant.tenant_id, Scope)
        return ProvisionedTenant(tenant=active.shown(), api_key=key.api_key)

    async def _undo(self, connection: Connection, tenant: TenantRow) -> None:
        """Remove a tenant who was never active. The catalog's row goes last."""
        await self._databases.remove(connection, tenant.database_name)
        await remove_tenant(connection, tenant.tenant_id)
        TENANTS_UNDONE.inc()
        _log.warning("creation undone", tenant_id=tenant.tenant_id, database=tenant.database_name)
