"""The databases that restores leave: retired ones, previews, and those still being made.

The catalog names each before it is made, and until it is dropped. So none is lost sight of.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

import structlog

from freehold.contracts.errors import DomainError, Unavailable
from freehold.database.failures import database_failures
from freehold.database.queries import load_queries
from freehold.ledger.client import Connection
from freehold.security.key_ring import KeyRing
from freehold.tenants.catalog import Catalog
from freehold_tenant_manager.contracts.restores import FormerDatabase
from freehold_tenant_manager.credentials.store import add_credentials
from freehold_tenant_manager.restore.restore_databases import RestoreDatabases
from freehold_tenant_manager.server.locks import Lock, locked

_log = structlog.get_logger(__name__)

_QUERIES = load_queries("freehold_tenant_manager.restore", "queries.sql")


class RetiredDatabases:
    """Drops them; the catalog forgets each once it is gone."""

    def __init__(self, catalog: Catalog, databases: RestoreDatabases) -> None:
        self._catalog = catalog
        self._databases = databases

    async def drop(self, tenant_id: str, name: str) -> bool:
        """Drop one of a tenant's retired databases; give whether there was one.

        Raises:
            Unavailable: A restore works on it or the server does not answer.
        """
        async with (
            self._catalog.connection() as connection,
            locked(connection, Lock.TENANT, tenant_id),
        ):
            is_in_use = await connection.fetchval(_QUERIES["is_in_use"], tenant_id, name)
            if is_in_use is None:
                return False
            if is_in_use:
                raise Unavailable("a restore is still making this database")
            await self.drop_registered(name)
        _log.info("former database dropped", tenant_id=tenant_id, database=name)
        return True

    async def drop_all(self, tenant_id: str) -> None:
        """Drop all of a tenant that is being deleted.

        Raises:
            Unavailable: The server does not answer.
        """
        async with self._catalog.connection() as connection:
            rows = await list_retired(connection, tenant_id)
        for row in rows:
            await self.drop_registered(row.database_name)

    async def drop_unfinished(self, tenant_id: str, *, but: str | None) -> None:
        """Drop what a tenant's failed restores have left, except for one database.

        Raises:
            Unavailable: The server does not answer.
        """
        async with self._catalog.connection() as connection:
            rows = await list_retired(connection, tenant_id)
        for row in rows:
            if row.kind == "making" and row.database_name != but:
                await self.drop_registered(row.database_name)

    async def drop_abandoned(self) -> bool:
        """Drop what all tenants' ended restores have left; False: there is no more now.

        Raises:
            Unavailable: The catalog does not answer.
        """
        for row in await self._catalog.fetch(_QUERIES["list_abandoned"]):
            name = row["database_name"]
            try:
                await self.drop(row["tenant_id"], name)
            except DomainError as error:
                _log.warning("database not dropped yet", database=name, fault=error.detail)
        return False

    async def drop_registered(self, name: str) -> None:
        """Drop a database, then its row in the catalog.

        Raises:
            Unavailable: The server does not answer.
        """
        with database_failures():
            await self._databases.drop(name)
        await self._catalog.execute(_QUERIES["forget_database"], name)


@dataclass(frozen=True, slots=True)
class RetiredRow:
    """A retired database's row in the catalog."""

    database_name: str
    kind: Literal["making", "preview", "former"]
    epoch: int
    restored_to: datetime | None
    created_at: datetime

    def shown(self) -> FormerDatabase:
        """Give what the API shows of it."""
        return FormerDatabase(
            name=self.database_name,
            kind=self.kind,
            epoch=self.epoch,
            restored_to=self.restored_to,
            created_at=self.created_at,
        )


async def register_database(
    connection: Connection,
    key_ring: KeyRing,
    database_name: str,
    tenant_id: str,
    epoch: int,
    operation_id: UUID,
) -> None:
    """Name a database, and make passwords for its roles, before it is made."""
    async with connection.transaction():
        await connection.execute(
            _QUERIES["register_database"], database_name, tenant_id, epoch, operation_id
        )
        await add_credentials(connection, key_ring, database_name)


async def list_retired(
    connection: Connection, tenant_id: str, *, after: str | None = None, rows_max: int = 1000
) -> list[RetiredRow]:
    """List a tenant's retired databases, the oldest first."""
    rows = await connection.fetch(_QUERIES["list_retired"], tenant_id, after, rows_max)
    return [RetiredRow(**row) for row in rows]


async def keep_preview(connection: Connection, database_name: str, restored_to: datetime) -> None:
    """Record that a database is made, and stays as a preview."""
    await connection.execute(_QUERIES["keep_preview"], database_name, restored_to)
