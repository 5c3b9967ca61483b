"""The final export: all of a tenant's ledger as plain SQL, kept in the vault for when they ask.

It is made while nothing is added to the ledger any more, and given out after the database is gone.
"""

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

from freehold.contracts.problems import NOT_FOUND, Problem, unavailable
from freehold.security.sealing import KeyRing
from freehold.tenancy.catalog import Catalog
from freehold_tenant_manager.catalog.credentials import find_home
from freehold_tenant_manager.catalog.deletion import FinalExport, find_final_export
from freehold_tenant_manager.dumping import DumpError, Dumping
from freehold_tenant_manager.storage import StorageError
from freehold_tenant_manager.vault import Vault


class FinalExports:
    """Makes final exports and gives them out."""

    def __init__(self, catalog: Catalog, key_ring: KeyRing, dumping: Dumping, vault: Vault) -> None:
        """Say where tenants are found, and where their exports go."""
        self._catalog = catalog
        self._key_ring = key_ring
        self._dumping = dumping
        self._vault = vault

    async def make(self, tenant_id: str) -> FinalExport:
        """Export a ledger into the vault; one that is there already is replaced.

        Raises:
            Problem: unavailable, where it cannot be dumped or stored now; not-found, where there is
                nothing to be exported.
        """
        path = f"tenants/{tenant_id}/final-export.sql"
        async with self._catalog.connection() as connection:
            home = await find_home(connection, self._key_ring, tenant_id, "backup")
            version = connection.get_server_version().major
        if home is None:
            raise Problem(NOT_FOUND, "the tenant has no database that could be exported")
        try:
            async with self._dumping.dump(
                home, "sql", server_version=version, is_compressed_later=True
            ) as pieces:
                stored = await self._vault.put(tenant_id, path, pieces)
        except (DumpError, StorageError) as error:
            raise unavailable(f"the final export failed: {error}") from error
        return FinalExport(path, stored.bytes, stored.sha256)

    @asynccontextmanager
    async def open(self, tenant_id: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """Give out the final export of a deleted tenant.

        Raises:
            Problem: not-found, where there is none.
        """
        async with self._catalog.connection() as connection:
            found = await find_final_export(connection, tenant_id)
        if found is None:
            raise Problem(NOT_FOUND, "the tenant has no final export")
        async with aclosing(self._vault.get(tenant_id, found.path, digest=found.sha256)) as pieces:
            yield pieces
