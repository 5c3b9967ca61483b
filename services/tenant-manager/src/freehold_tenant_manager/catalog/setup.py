"""Sets the catalog up at every start: database, schema, services' logins, this server's row.

Several replicas may do so at once. Nothing here runs as a superuser.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import astuple, dataclass

import asyncpg
import structlog

from freehold.database.queries import load_queries, load_script
from freehold.ledger.client import Connection
from freehold.tenants.catalog import CATALOG_SCHEMA
from freehold_tenant_manager.catalog.source import CATALOG_SOURCE
from freehold_tenant_manager.provisioning.templates import ensure_template
from freehold_tenant_manager.server.locks import Lock, locked
from freehold_tenant_manager.server.migrator import migrate
from freehold_tenant_manager.server.scram import scram_verifier
from freehold_tenant_manager.server.server import Server
from freehold_tenant_manager.server.statements import (
    create_database,
    database_exists,
    execute_formatted,
    execute_with,
)

_PACKAGE = "freehold_tenant_manager.catalog"
_QUERIES = load_queries(_PACKAGE, "queries.sql")
_GRANTS = load_script(_PACKAGE, "sql/grants.sql")
_SERVICE_LOGIN = load_script(_PACKAGE, "service_login.sql")
OPEN_RIGHTS = load_script(_PACKAGE, "open_rights.sql")

_log = structlog.get_logger(__name__)

_MAINTENANCE_DATABASE = "postgres"
# Errors if the maintenance database is closed to us. Then an administrator made the catalog.
_CLOSED = (
    asyncpg.InsufficientPrivilegeError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
)
_WAIT_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Cluster:
    """The server of the tenants' databases, and where services reach it."""

    name: str
    region: str
    host: str
    port: int


class CatalogSetup:
    """Sets a server up for this release."""

    def __init__(self, server: Server, cluster: Cluster, passwords: Mapping[str, str]) -> None:
        """Set what it writes; `passwords` are those of the services' logins in the catalog."""
        self._server = server
        self._passwords = passwords
        self.cluster = cluster

    async def run(self) -> None:
        """Set everything up.

        Raises:
            UnfitServerError: Freehold cannot rely on this server.
            OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, MigrationError: A
                step failed; what is done stays, and another try continues.
        """
        name = self._server.catalog_name
        await self.make_database()
        for doubt in await self._server.examine(name, holds_text=True):
            _log.warning("the server is doubtful", reason=doubt)
        await self._examine_services_way()
        # Other replicas wait for the lock; then everything is done.
        async with (
            self._server.catalog() as connection,
            locked(connection, Lock.SETUP, timeout_s=_WAIT_TIMEOUT_S),
        ):
            await execute_formatted(connection, "REVOKE ALL ON DATABASE %I FROM PUBLIC", name)
            await migrate(connection, CATALOG_SOURCE, CATALOG_SCHEMA)
            await self._make_logins(connection)
            await connection.execute(_QUERIES["write_cluster"], *astuple(self.cluster))
            await ensure_template(connection, self._server)
            await _warn_of_open_databases(connection)
            await _warn_of_open_rights(connection)

    async def make_database(self) -> None:
        """Make the catalog's database, unless there is one.

        Raises:
            OSError, TimeoutError, asyncpg.PostgresError: The server refuses.
            UnfitServerError: Freehold cannot rely on this server.
        """
        # Looked up in the maintenance database: connecting to a missing one would log an error.
        try:
            await self._server.examine(_MAINTENANCE_DATABASE)
            async with self._server.connection(_MAINTENANCE_DATABASE) as connection:
                if await database_exists(connection, self._server.catalog_name):
                    return
        except _CLOSED:
            return
        # Another replica was faster: DuplicateDatabase, or UniqueViolation if both were at it.
        with suppress(asyncpg.DuplicateDatabaseError, asyncpg.UniqueViolationError):
            async with self._server.connection(_MAINTENANCE_DATABASE) as connection:
                await create_database(connection, self._server.catalog_name)

    async def _examine_services_way(self) -> None:
        """Examine the server at the services' address as well, if that differs and answers."""
        host, port = self.cluster.host, self.cluster.port
        login = self._server.login(self._server.catalog_name)
        if (host, port) != (login.host, login.port):
            with suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await self._server.examine(self._server.catalog_name, host=host, port=port)

    async def _make_logins(self, connection: Connection) -> None:
        for service, password in self._passwords.items():
            role, verifier = f"freehold_{service}", scram_verifier(password)
            settings = {"freehold.role": role, "freehold.verifier": verifier}
            await execute_with(connection, _SERVICE_LOGIN, settings)
        await connection.execute(_GRANTS)


async def _warn_of_open_databases(connection: Connection) -> None:
    """Warn of databases that tenants' roles can connect to: their owners must close them."""
    rows = await connection.fetch(_QUERIES["list_open_databases"])
    if rows:
        _log.warning(
            "every role can connect to these databases; their owners should revoke that",
            databases=[row["datname"] for row in rows],
        )


async def _warn_of_open_rights(connection: Connection) -> None:
    """Warn of rights that customers have because the server's bootstrap did not run fully."""
    rows = await connection.fetch(OPEN_RIGHTS)
    if rows:
        _log.warning(
            "customers can do more on this server than they should; deploy/README.md says how its"
            " bootstrap closes that",
            open=[row["name"] for row in rows],
        )
