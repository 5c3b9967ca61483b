"""Makes tenants: roles, database, credentials, first key.

If a database is ready in the pool, one transaction makes the tenant. Otherwise the catalog's row
comes first and becomes active last, in the transaction that makes the first key. So a creation that
was not answered can be finished or undone, and no key to it was handed out. Every step can be
repeated. One replica at a time works on a tenant.
"""

import asyncio
import time

import structlog

from freehold.contracts.errors import TenantExists
from freehold.ledger.client import Connection
from freehold.security.api_keys import Scope
from freehold.security.key_ring import KeyRing
from freehold.tenants.catalog import Catalog
from freehold_tenant_manager.contracts.tenants import NewTenant, ProvisionedTenant
from freehold_tenant_manager.credentials.store import add_credentials, find_passwords
from freehold_tenant_manager.keys.store import add_api_key
from freehold_tenant_manager.metrics import (
    PROVISIONING_SECONDS,
    TENANTS_PROVISIONED,
    TENANTS_UNDONE,
)
from freehold_tenant_manager.provisioning.pool import Pool
from freehold_tenant_manager.provisioning.tenant_databases import TenantDatabases, new_database_name
from freehold_tenant_manager.server.locks import Lock, locked, locked_if_free
from freehold_tenant_manager.tenants.store import (
    TenantRow,
    activate_tenant,
    add_tenant,
    find_tenant,
    list_abandoned,
    remove_tenant,
)

_log = structlog.get_logger(__name__)


class Provisioner:
    """Makes tenants, and undoes unfinished ones."""

    def __init__(
        self,
        catalog: Catalog,
        databases: TenantDatabases,
        pool: Pool,
        key_ring: KeyRing,
        *,
        region: str,
        cluster: str,
        in_flight_max: int,
    ) -> None:
        """Set where tenants are made; `in_flight_max` bounds those made without the pool."""
        self._catalog = catalog
        self._databases = databases
        self._pool = pool
        self._key_ring = key_ring
        self.region = region
        self._cluster = cluster
        self._in_flight = asyncio.Semaphore(in_flight_max)

    async def create(self, wanted: NewTenant) -> ProvisionedTenant:
        """Make a tenant, or continue making it; the answer has no key if it existed before.

        Raises:
            TenantExists: It exists with other settings, or existed once.
            Unavailable: The catalog or the new database does not answer.
        """
        created = await self._create_from_pool(wanted)
        if created is None:
            created = await self._create_whole(wanted)
        return created

    async def _create_from_pool(self, wanted: NewTenant) -> ProvisionedTenant | None:
        """Make a new tenant in a database of the pool, in one transaction.

        None if no database is ready, or if the tenant's id is known: `_create_whole` decides then.
        """
        async with (
            self._catalog.connection() as connection,
            locked_if_free(connection, Lock.TENANT, wanted.tenant_id) as held,
        ):
            if not held or await find_tenant(connection, wanted.tenant_id) is not None:
                return None
            started = time.perf_counter()
            async with connection.transaction():
                database_name = await self._pool.claim(connection)
                if database_name is None:
                    return None
                tenant = await add_tenant(connection, wanted, self._cluster, database_name)
                created = await self._activate(connection, tenant)
            PROVISIONING_SECONDS.observe(time.perf_counter() - started)
        TENANTS_PROVISIONED.inc()
        _log.info("tenant given a database", tenant_id=wanted.tenant_id, database=database_name)
        return created

    async def _create_whole(self, wanted: NewTenant) -> ProvisionedTenant:
        """Make a tenant and its database, or continue with that."""
        with self._pool.standing_back():
            return await self._create_whole_within(wanted)

    async def _create_whole_within(self, wanted: NewTenant) -> ProvisionedTenant:
        async with (
            self._in_flight,
            self._catalog.connection() as connection,
            locked(connection, Lock.TENANT, wanted.tenant_id),
        ):
            tenant = await find_tenant(connection, wanted.tenant_id)
            if tenant is not None and tenant.status != "provisioning":
                if tenant.status in ("deleting", "deleted"):
                    raise TenantExists(
                        f"{wanted.tenant_id} is the id of a tenant who is deleted, or about to be"
                    )
                if not tenant.is_as_asked(wanted):
                    raise TenantExists(f"the tenant {wanted.tenant_id} has other settings")
                return ProvisionedTenant(tenant=tenant.shown())
            with PROVISIONING_SECONDS.time():
                if tenant is not None and not (
                    tenant.is_as_asked(wanted) and tenant.is_of_this_release()
                ):
                    # An earlier request with other settings was never answered.
                    await self._undo(connection, tenant)
                    tenant = None
                if tenant is None:
                    tenant = await self._record(connection, wanted)
                passwords = await find_passwords(connection, self._key_ring, tenant.database_name)
                await self._databases.make(
                    connection, tenant.database_name, tenant.schema_name, passwords
                )
                created = await self._activate(connection, tenant)
        TENANTS_PROVISIONED.inc()
        _log.info("tenant made", tenant_id=wanted.tenant_id, database=tenant.database_name)
        return created

    async def undo_abandoned(self, older_than_s: float) -> None:
        """Undo every creation that is older and that no process works on.

        Its request was never answered. Once it is undone, the same request starts from the
        beginning, and is answered with a key. A creation that cannot be undone now stays for the
        next call.

        Raises:
            Unavailable: The catalog does not answer.
        """
        async with self._catalog.connection() as connection:
            abandoned = await list_abandoned(connection, older_than_s)
        for tenant_id in abandoned:
            try:
                await self.undo_if_abandoned(tenant_id)
            except Exception:  # noqa: BLE001 (any fault: the others do not wait for it)
                _log.exception("creation not undone yet", tenant_id=tenant_id)

    async def undo_if_abandoned(self, tenant_id: str) -> None:
        """Undo the creation of a tenant that no process works on."""
        async with (
            self._in_flight,
            self._catalog.connection() as connection,
            locked_if_free(connection, Lock.TENANT, tenant_id) as held,
        ):
            tenant = await find_tenant(connection, tenant_id) if held else None
            if tenant is not None and tenant.status == "provisioning":
                await self._undo(connection, tenant)

    async def _record(self, connection: Connection, wanted: NewTenant) -> TenantRow:
        """Add the tenant's row, and passwords of its roles."""
        async with connection.transaction():
            tenant = await add_tenant(connection, wanted, self._cluster, new_database_name())
            await add_credentials(connection, self._key_ring, tenant.database_name)
        return tenant

    async def _activate(self, connection: Connection, tenant: TenantRow) -> ProvisionedTenant:
        async with connection.transaction():
            active = await activate_tenant(connection, tenant.tenant_id)
            key = await add_api_key(connection, tenant.tenant_id, Scope)
        return ProvisionedTenant(tenant=active.shown(), api_key=key.api_key)

    async def _undo(self, connection: Connection, tenant: TenantRow) -> None:
        """Remove a tenant that was never active. The catalog's row is deleted last."""
        await self._databases.remove(connection, tenant.database_name)
        await remove_tenant(connection, tenant.tenant_id)
        TENANTS_UNDONE.inc()
        _log.warning("creation undone", tenant_id=tenant.tenant_id, database=tenant.database_name)
