"""The databases that restores make: made, filled as their owner, handed over, fenced, dropped.

Every step can be repeated, so after a crash a restore continues or drops what there is.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import structlog

from freehold.ledger.client import Connection
from freehold.ledger.schema import LEDGER_GRANTS, LEDGER_SCHEMA
from freehold.tenants.catalog import Catalog
from freehold_tenant_manager.provisioning.tenant_databases import TenantDatabases
from freehold_tenant_manager.server.roles import (
    SERVING,
    USUAL_BOUNDS,
    CustomerBounds,
    role_settings,
)
from freehold_tenant_manager.server.server import Login, Server
from freehold_tenant_manager.server.sessions import keep_out, let_in
from freehold_tenant_manager.server.statements import (
    TENANT_MEMBERSHIP,
    TENANT_MEMBERSHIP_ENDED,
    database_exists,
    execute_formatted,
    execute_with,
)

_log = structlog.get_logger(__name__)

_SEARCH_PATH = f"{LEDGER_SCHEMA}, pg_temp"


class RestoreDatabases:
    """Does to a database as a whole what a restore needs."""

    def __init__(
        self, catalog: Catalog, server: Server, bounds: CustomerBounds = USUAL_BOUNDS
    ) -> None:
        """Set up; `bounds` limits the sessions of the customers' own roles."""
        self._catalog = catalog
        self._server = server
        self._databases = TenantDatabases(server, bounds)

    async def make(self, name: str, passwords: Mapping[str, str], *, empty: bool) -> None:
        """Make a database and its roles; drop what an earlier try made.

        Args:
            name: The database's name, and its roles' prefix.
            passwords: Those of its login roles, by service.
            empty: Whether a dump will fill it; otherwise it gets an empty ledger.
        """
        await self.drop(name)
        async with self._catalog.connection() as connection:
            if not empty:
                await self._databases.make(connection, name, LEDGER_SCHEMA, passwords)
                return
            await self._databases.make_empty(connection, name, passwords)
        async with self._server.connection(name) as inside:
            await execute_formatted(inside, "SET ROLE %I", f"{name}_owner")
            await inside.execute("DROP SCHEMA IF EXISTS public")

    async def drop(self, name: str) -> None:
        """Drop a database and its roles, if they exist, and end its roles' sessions.

        Raises:
            Unavailable: Another role stays connected to it.
        """
        async with self._catalog.connection() as connection:
            await self._databases.remove(connection, name)

    async def exists(self, name: str) -> bool:
        """Say whether there is such a database."""
        async with self._catalog.connection() as connection:
            return await database_exists(connection, name)

    def login(self, name: str) -> Login:
        """Give the login for Postgres' programs, as a member of the owner."""
        return self._server.login(name)

    @asynccontextmanager
    async def as_owner(self, name: str, *, timeout_s: float) -> AsyncIterator[Connection]:
        """Connect to a database as its owner; our role becomes a member of the owner.

        `timeout_s` bounds each statement.
        """
        async with self._catalog.connection() as catalog:
            await execute_with(catalog, TENANT_MEMBERSHIP, role_settings(name))
        async with self._server.connection(
            name,
            search_path=_SEARCH_PATH,
            # Commits need not wait for the disk: the swap does so at the end.
            synchronous_commit="off",
            jit="off",
            statement_timeout_s=timeout_s,
        ) as connection:
            await execute_formatted(connection, "SET ROLE %I", f"{name}_owner")
            yield connection

    async def hand_over(self, name: str) -> None:
        """Grant the services their rights, and leave the owner's role."""
        settings = role_settings(name)
        async with self._server.connection(name, search_path=_SEARCH_PATH) as connection:
            async with connection.transaction():
                await execute_formatted(connection, "SET LOCAL ROLE %I", f"{name}_owner")
                await execute_with(connection, LEDGER_GRANTS, settings)
            await execute_with(connection, TENANT_MEMBERSHIP_ENDED, settings)

    async def fence(self, name: str) -> None:
        """Keep the services out of a database; when this returns, none is connected.

        Raises:
            TimeoutError: A session does not end.
        """
        async with self._catalog.connection() as connection:
            await keep_out(connection, name, SERVING)
        _log.info("database fenced", database=name)

    async def unfence(self, name: str) -> None:
        """Let the services in again."""
        async with self._catalog.connection() as connection:
            await let_in(connection, name, SERVING)
