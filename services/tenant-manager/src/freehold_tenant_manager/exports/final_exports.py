"""The final export: a deleted tenant's whole ledger as plain SQL, kept in the vault.

It is made once nothing is added to the ledger any more, and given out after the database is gone.
"""

import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

from freehold.contracts.errors import Unavailable
from freehold.database.queries import load_queries
from freehold.http.bodies import field_errors
from freehold.ledger.client import Connection
from freehold.security.key_ring import KeyRing
from freehold.tenants.catalog import Catalog
from freehold_tenant_manager.dumps.dumps import DumpError, Dumps, Form
from freehold_tenant_manager.dumps.sources import find_source
from freehold_tenant_manager.storage.objects import Storage, StorageError
from freehold_tenant_manager.storage.vault import DamagedError, Vault

_QUERIES = load_queries("freehold_tenant_manager.exports", "queries.sql")


@dataclass(frozen=True, slots=True)
class FinalExport:
    """A final export's object, and the final backup of the same ledger."""

    path: str
    size_bytes: int
    sha256: str
    backup_id: UUID


class FinalExports:
    """Makes final exports and gives them out."""

    def __init__(
        self, catalog: Catalog, key_ring: KeyRing, dumps: Dumps, storage: Storage, vault: Vault
    ) -> None:
        self._catalog = catalog
        self._key_ring = key_ring
        self._dumps = dumps
        self._storage = storage
        self._vault = vault

    async def list_tries(self, tenant_id: str) -> list[str]:
        """List the objects that earlier tries have stored; the catalog does not know them yet.

        Raises:
            Unavailable: The storage does not say.
        """
        try:
            return [entry.path async for entry in self._storage.list(_folder(tenant_id))]
        except StorageError as error:
            raise Unavailable(f"earlier final exports are not listed: {error}") from error

    async def remove(self, paths: Sequence[str]) -> None:
        """Remove objects of earlier tries.

        Raises:
            Unavailable: The storage does not delete it.
        """
        try:
            for path in paths:
                await self._vault.delete(path)
        except StorageError as error:
            raise Unavailable(f"an earlier final export is not removed: {error}") from error

    async def make(self, tenant_id: str, backup_id: UUID) -> FinalExport:
        """Export a ledger into the vault.

        Raises:
            Unavailable: It cannot be dumped or stored now.
        """
        # Each try has its own path: a worker that was taken for dead may still be writing.
        path = f"{_folder(tenant_id)}{secrets.token_hex(4)}.sql"
        home, version = await find_source(self._catalog, self._key_ring, tenant_id)
        try:
            async with self._dumps.dump(
                home, "sql", server_version=version, is_compressed_later=True
            ) as pieces:
                stored = await self._vault.put(tenant_id, path, pieces)
        except (DumpError, StorageError) as error:
            raise Unavailable(f"the final export failed: {error}") from error
        return FinalExport(path, stored.bytes, stored.sha256, backup_id)

    async def find(self, tenant_id: str) -> FinalExport | None:
        """Find a tenant's final export; None if their database still exists."""
        async with self._catalog.connection() as connection:
            return await find_final_export(connection, tenant_id)

    @asynccontextmanager
    async def open(
        self, tenant_id: str, found: FinalExport, form: Form
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Give a final export.

        Yields:
            The dump in pieces; they end with DumpError if the object is not whole.

        Raises:
            ValidationFailed: It is wanted in another form than it has.
        """
        if form != "sql":
            raise field_errors(
                [("/format", "format must be sql: of a deleted tenant there is nothing else")]
            )
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


async def keep_final_export(connection: Connection, tenant_id: str, export: FinalExport) -> None:
    """Record a tenant's final export; a repeated one replaces the earlier."""
    await connection.execute(
        _QUERIES["keep_final_export"],
        tenant_id,
        export.path,
        export.size_bytes,
        export.sha256,
        export.backup_id,
    )


async def find_final_export(connection: Connection, tenant_id: str) -> FinalExport | None:
    """Find a deleted tenant's final export; None if there is none."""
    row = await connection.fetchrow(_QUERIES["find_final_export"], tenant_id)
    return None if row is None else FinalExport(*row)


def _folder(tenant_id: str) -> str:
    return f"tenants/{tenant_id}/final-exports/"
