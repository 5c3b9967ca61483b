"""The final export: all of a tenant's ledger as plain SQL, kept in the vault for when they ask.

It is made while nothing is added to the ledger any more, and given out after the database is gone.
"""

import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from uuid import UUID

from freehold.contracts.problems import unavailable
from freehold.security.sealing import KeyRing
from freehold.service.bodies import field_errors
from freehold.tenancy.catalog import Catalog
from freehold_tenant_manager.catalog.deletion import FinalExport, find_final_export
from freehold_tenant_manager.catalog.sources import find_source
from freehold_tenant_manager.dumps.dumping import DumpError, Dumping, Form
from freehold_tenant_manager.storage.objects import Storage, StorageError
from freehold_tenant_manager.storage.vault import DamagedError, Vault


class FinalExports:
    """Makes final exports and gives them out."""

    def __init__(
        self,
        catalog: Catalog,
        key_ring: KeyRing,
        dumping: Dumping,
        storage: Storage,
        vault: Vault,
    ) -> None:
        """Say where tenants are found, and where their exports are listed and go."""
        self._catalog = catalog
        self._key_ring = key_ring
        self._dumping = dumping
        self._storage = storage
        self._vault = vault

    async def list_tries(self, tenant_id: str) -> list[str]:
        """List what tries so far have stored, of which the catalog knows nothing yet.

        Raises:
            Problem: unavailable, where the storage does not say.
        """
        try:
            return [entry.path async for entry in self._storage.list(_folder(tenant_id))]
        except StorageError as error:
            raise unavailable(f"earlier final exports are not listed: {error}") from error

    async def remove(self, paths: Sequence[str]) -> None:
        """Remove what tries have stored that were cut short.

        Raises:
            Problem: unavailable, where the storage does not delete it.
        """
        try:
            for path in paths:
                await self._vault.delete(path)
        except StorageError as error:
            raise unavailable(f"an earlier final export is not removed: {error}") from error

    async def make(self, tenant_id: str, backup_id: UUID) -> FinalExport:
        """Export a ledger into the vault.

        Args:
            tenant_id: Whose ledger it is.
            backup_id: The backup that was made of the same ledger.

        Raises:
            Problem: unavailable, where it cannot be dumped or stored now.
        """
        # Each try has a place of its own: one that was taken for dead may still be writing.
        path = f"{_folder(tenant_id)}{secrets.token_hex(4)}.sql"
        home, version = await find_source(self._catalog, self._key_ring, tenant_id)
        try:
            async with self._dumping.dump(
                home, "sql", server_version=version, is_compressed_later=True
            ) as pieces:
                stored = await self._vault.put(tenant_id, path, pieces)
        except (DumpError, StorageError) as error:
            raise unavailable(f"the final export failed: {error}") from error
        return FinalExport(path, stored.bytes, stored.sha256, backup_id)

    async def find(self, tenant_id: str) -> FinalExport | None:
        """Say where the final export of a tenant is; None where nothing of theirs was removed."""
        async with self._catalog.connection() as connection:
            return await find_final_export(connection, tenant_id)

    @asynccontextmanager
    async def open(
        self, tenant_id: str, found: FinalExport, form: Form
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Give a final export out.

        Yields:
            The dump in pieces; they end with DumpError where what is stored is not whole.

        Raises:
            Problem: validation-failed, where it is wanted in another form than it has.
        """
        if form != "sql":
            raise field_errors([("/format", "of a deleted tenant there is plain SQL only")])
        async with aclosing(self._pieces(tenant_id, found)) as pieces:
            yield pieces

    async def _pieces(self, tenant_id: str, found: FinalExport) -> AsyncGenerator[bytes, None]:
        try:
            stored = self._vault.get(tenant_id, found.path, digest=found.sha256)
            async with aclosing(stored) as pieces:
                async for piece in pieces:
                    yield piece
        except (StorageError, DamagedError) as error:
            raise DumpError(f"the final export: {error}") from error


def _folder(tenant_id: str) -> str:
    return f"tenants/{tenant_id}/final-exports/"
