"""tenant-manager's own connections to any database of its server, each for a short while."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

import asyncpg

from freehold.database.fitness import examine
from freehold.database.tls import Tls
from freehold.ledger.client import SESSION_SETTINGS, Connection
from freehold.tenants.catalog import CATALOG_SCHEMA
from freehold.tenants.homes import Home

APPLICATION = "freehold-tenant-manager"
"""The application_name of this service's sessions."""
_CLOSE_TIMEOUT_S = 2.0
_DEFAULT_PORT = 5432
_DEFAULT_CATALOG = "freehold_catalog"


def catalog_name(dsn: str) -> str:
    """Give the name of the catalog's database."""
    return unquote(urlsplit(dsn).path.removeprefix("/")) or _DEFAULT_CATALOG


@dataclass(frozen=True, slots=True)
class Login:
    """A database, and the role and password that open it."""

    host: str
    port: int
    database: str
    role: str
    password: str

    @classmethod
    def at(cls, home: Home) -> "Login":
        """Give the login of a tenant's home."""
        return cls(home.host, home.port, home.database, home.role, home.password)


class Server:
    """A Postgres server, entered with tenant-manager's own role."""

    def __init__(self, dsn: str, *, connect_timeout_s: float, statement_timeout_s: float) -> None:
        """Set where the server is: `dsn` names the catalog's database, the role and the password.

        The timeouts bound connecting, and each statement that has no deadline of its own.
        """
        self._dsn = dsn
        self.tls = Tls.of(dsn)
        self.catalog_name = catalog_name(dsn)
        self._connect_timeout_s = connect_timeout_s
        self._statement_timeout_s = statement_timeout_s

    def login(self, database: str) -> Login:
        """Give the login to one of its databases for Postgres' own programs."""
        parts = urlsplit(self._dsn)
        return Login(
            host=parts.hostname or "localhost",
            port=parts.port or _DEFAULT_PORT,
            database=database,
            role=unquote(parts.username or ""),
            password=unquote(parts.password or ""),
        )

    async def examine(self, database: str, **choices: Any) -> list[str]:
        """Examine whether Freehold can rely on it; see `fitness.examine` for the arguments."""
        return await examine(
            self._dsn, timeout_s=self._connect_timeout_s, database=database, **choices
        )

    def catalog(
        self, *, statement_timeout_s: float | None = None
    ) -> AbstractAsyncContextManager[Connection]:
        """Have a connection to the catalog for long work: routes need those of its pool.

        Raises:
            OSError, TimeoutError, asyncpg.PostgresError: The server refuses the connection.
        """
        return self.connection(
            self.catalog_name, statement_timeout_s=statement_timeout_s, search_path=CATALOG_SCHEMA
        )

    @asynccontextmanager
    async def connection(
        self, database: str, *, statement_timeout_s: float | None = None, **settings: str
    ) -> AsyncIterator[Connection]:
        """Have a connection to one of its databases for a while.

        Args:
            database: Its name.
            statement_timeout_s: Bounds each statement, instead of the usual bound.
            settings: The session's.

        Raises:
            OSError, TimeoutError, asyncpg.PostgresError: The server refuses the connection.
        """
        connection = await asyncpg.connect(
            self._dsn,
            database=database,
            timeout=self._connect_timeout_s,
            command_timeout=statement_timeout_s or self._statement_timeout_s,
            server_settings={**SESSION_SETTINGS, "application_name": APPLICATION, **settings},
        )
        try:
            yield connection
        except BaseException:
            connection.terminate()
            raise
        # The work is done, so a failure to close the connection is of no matter.
        with suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            await connection.close(timeout=_CLOSE_TIMEOUT_S)
