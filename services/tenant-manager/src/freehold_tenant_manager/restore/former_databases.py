"""Databases beside tenants' own, dropped: former ones, previews, what failed restores have left."""

import structlog

from freehold.contracts.problems import Problem, unavailable
from freehold.tenancy.catalog import Catalog
from freehold.tenancy.failures import database_failures
from freehold_tenant_manager.catalog.former_databases import (
    find_former,
    is_being_made,
    list_abandoned,
    list_formers,
    remove_former,
)
from freehold_tenant_manager.locks import Lock, locked
from freehold_tenant_manager.restore.beside import Beside

_log = structlog.get_logger(__name__)
_LOCK_TIMEOUT_S = 30.0


class FormerDatabases:
    """Drops them; each is forgotten only when it is gone."""

    def __init__(self, catalog: Catalog, beside: Beside) -> None:
        """Say where they are noted, and what drops them."""
        self._catalog = catalog
        self._beside = beside

    async def drop(self, tenant_id: str, name: str) -> bool:
        """Drop a database beside a tenant's own; answer whether there was one.

        Raises:
            Problem: unavailable, while a restore still works on it, or the server does not answer.
        """
        async with (
            self._catalog.connection() as connection,
            locked(connection, Lock.TENANT, tenant_id, timeout_s=_LOCK_TIMEOUT_S),
        ):
            row = await find_former(connection, tenant_id, name)
            if row is None:
                return False
            if row.kind == "making" and await is_being_made(connection, name):
                raise unavailable("a restore is still making this database")
            with database_failures():
                await self._beside.drop(name)
            await remove_former(connection, name)
        _log.info("former database dropped", tenant_id=tenant_id, database=name)
        return True

    async def drop_all(self, tenant_id: str) -> None:
        """Drop every one of a tenant who leaves.

        Raises:
            Problem: unavailable, where the server does not answer.
        """
        async with self._catalog.connection() as connection:
            rows = await list_formers(connection, tenant_id)
        for row in rows:
            await self.drop_noted(row.database_name)

    async def drop_unfinished(self, tenant_id: str, *, but: str | None) -> None:
        """Drop what a tenant's restores have left that failed or were forgotten, but for one.

        Raises:
            Problem: unavailable, where the server does not answer.
        """
        async with self._catalog.connection() as connection:
            rows = await list_formers(connection, tenant_id)
        for row in rows:
            if row.kind == "making" and row.database_name != but:
                await self.drop_noted(row.database_name)

    async def drop_abandoned(self) -> bool:
        """Drop what restores have left that have ended without it; never asks to go on at once.

        Raises:
            Problem: unavailable, where the catalog does not answer.
        """
        async with self._catalog.connection() as connection:
            rows = await list_abandoned(connection)
        for tenant_id, name in rows:
            try:
                await self.drop(tenant_id, name)
            except Problem as problem:
                _log.warning("database not dropped yet", database=name, fault=problem.detail)
        return False

    async def drop_noted(self, name: str) -> None:
        """Drop a database, and then its note.

        Raises:
            Problem: unavailable, where the server does not answer.
        """
        with database_failures():
            await self._beside.drop(name)
        async with self._catalog.connection() as connection:
            await remove_former(connection, name)
