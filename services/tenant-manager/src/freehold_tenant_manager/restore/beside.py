"""Databases made beside tenants' own, and everything that is done to a database as a whole.

All of it can be repeated: what was cut short by a crash is gone on with, or dropped.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from freehold.ledger.client import Connection
from freehold.ledger.schema import LEDGER_GRANTS, LEDGER_SCHEMA
from freehold.tenancy.catalog import Catalog
from freehold_tenant_manager.archive.segments import COPY_SETTINGS
from freehold_tenant_manager.dumps.dumping import Login
from freehold_tenant_manager.provisioning.roles import role_settings
from freehold_tenant_manager.provisioning.tenant_databases import TenantDatabases
from freehold_tenant_manager.server import Server
from freehold_tenant_manager.sessions import until_nobody_is_in
from freehold_tenant_manager.statements import (
    TENANT_FENCE,
    TENANT_MEMBERSHIP,
    TENANT_MEMBERSHIP_ENDED,
    TENANT_UNFENCE,
    execute_formatted,
    execute_with,
)

_log = structlog.get_logger(__name__)

_TIMEOUT_S = 30.0
_FENCE_S = 10.0


class Beside:
    """Makes, fences and drops databases."""

    def __init__(self, catalog: Catalog, server: Server) -> None:
        """Say where roles and databases are made."""
        self._catalog = catalog
        self._server = server
        self._databases = TenantDatabases(server)

    async def make(self, name: str, passwords: dict[str, str], *, empty: bool) -> None:
        """Make a database and its roles afresh; what there is of an earlier try is dropped.

        Args:
            name: The database's, and the prefix of its roles.
            passwords: Of its login roles, by service.
            empty: Whether it is for a dump; otherwise it has an empty ledger already.
        """
        await self.drop(name)
        async with self._catalog.connection() as connection:
            if not empty:
                await self._databases.make(connection, name, LEDGER_SCHEMA, passwords)
                return
            await self._databases.make_empty(connection, name, passwords)
        async with self._server.connection(name) as inside:
            await execute_formatted(inside, "SET ROLE %I", f"{name}_owner", timeout_s=_TIMEOUT_S)
            await inside.execute("DROP SCHEMA IF EXISTS public")

    async def drop(self, name: str) -> None:
        """Drop a database and its roles, as far as there are any, whoever of those is in it.

        Raises:
            Problem: unavailable, where somebody else is in it and does not leave.
        """
        async with self._catalog.connection() as connection:
            await self._databases.remove(connection, name)

    async def exists(self, name: str) -> bool:
        """Say whether there is such a database."""
        found = await self._catalog.fetchrow("SELECT FROM pg_database WHERE datname = $1", name)
        return found is not None

    def login(self, name: str) -> Login:
        """Say how Postgres' programs enter a database, as a member of its owner."""
        return self._server.login(name)

    @asynccontextmanager
    async def as_owner(self, name: str, *, timeout_s: float) -> AsyncIterator[Connection]:
        """Have a connection to a database as its owner, whose member we are from now on."""
        async with self._catalog.connection() as catalog:
            await execute_with(
                catalog, TENANT_MEMBERSHIP, role_settings(name), timeout_s=_TIMEOUT_S
            )
        async with self._server.connection(
            name,
            search_path=f"{LEDGER_SCHEMA}, pg_temp",
            # Nobody is told of anything before the swap, which waits for the disk.
            synchronous_commit="off",
            jit="off",
            datestyle=COPY_SETTINGS["datestyle"],
            timezone=COPY_SETTINGS["timezone"],
            bytea_output=COPY_SETTINGS["bytea_output"],
        ) as connection:
            await execute_formatted(connection, "SET ROLE %I", f"{name}_owner", timeout_s=timeout_s)
            yield connection

    async def hand_over(self, name: str) -> None:
        """Give the services their rights, and leave the owner's role."""
        async with self._server.connection(
            name, search_path=f"{LEDGER_SCHEMA}, pg_temp"
        ) as connection:
            async with connection.transaction():
                await execute_formatted(
                    connection, "SET LOCAL ROLE %I", f"{name}_owner", timeout_s=_TIMEOUT_S
                )
                await execute_with(
                    connection, LEDGER_GRANTS, role_settings(name), timeout_s=_TIMEOUT_S
                )
            await execute_with(
                connection, TENANT_MEMBERSHIP_ENDED, role_settings(name), timeout_s=_TIMEOUT_S
            )

    async def fence(self, name: str) -> None:
        """Keep the services out of a database; when this returns, none of them is in it.

        Raises:
            TimeoutError: Some of them do not leave.
        """
        async with self._catalog.connection() as connection:
            await execute_with(
                connection, TENANT_MEMBERSHIP, role_settings(name), timeout_s=_TIMEOUT_S
            )

            async def close() -> None:
                await execute_with(
                    connection, TENANT_FENCE, role_settings(name), timeout_s=_TIMEOUT_S
                )

            async def is_empty() -> bool:
                if not await self._services_in(connection, name):
                    return True
                await close()
                return False

            await close()
            await until_nobody_is_in(is_empty, timeout_s=_FENCE_S)
            await execute_with(
                connection, TENANT_MEMBERSHIP_ENDED, role_settings(name), timeout_s=_TIMEOUT_S
            )
        _log.info("database fenced", database=name)

    async def unfence(self, name: str) -> None:
        """Let the services in again."""
        async with self._catalog.connection() as connection:
            script = TENANT_MEMBERSHIP + TENANT_UNFENCE + TENANT_MEMBERSHIP_ENDED
            await execute_with(connection, script, role_settings(name), timeout_s=_TIMEOUT_S)

    async def _services_in(self, connection: Connection, name: str) -> bool:
        return bool(
            await connection.fetchval(
                "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = $1"
                " AND usename = ANY ($2::text[]))",
                name,
                [f"{name}_{service}" for service in ("ingest", "projector", "query")],
            )
        )
