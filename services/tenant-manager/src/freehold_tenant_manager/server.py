"""tenant-manager's own way into any database of its server. Short conversations, then closed."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import unquote, urlsplit

import asyncpg

from freehold.ledger.client import Connection
from freehold_tenant_manager.dumps.dumping import APPLICATION, Login

_CLOSE_TIMEOUT_S = 2.0
_DEFAULT_PORT = 5432


class Server:
    """A Postgres server, entered with tenant-manager's own role."""

    def __init__(self, dsn: str, *, connect_timeout_s: float, statement_timeout_s: float) -> None:
        """Say where it is.

        Args:
            dsn: Any database of it, with the role and the password.
            connect_timeout_s: Bounds connecting.
            statement_timeout_s: Bounds each statement that has no deadline of its own.
        """
        self._dsn = dsn
        self._connect_timeout_s = connect_timeout_s
        self._statement_timeout_s = statement_timeout_s

    def login(self, database: str) -> Login:
        """Say how Postgres' programs enter one of its databases."""
        parts = urlsplit(self._dsn)
        return Login(
            host=parts.hostname or "localhost",
            port=parts.port or _DEFAULT_PORT,
            database=database,
            role=unquote(parts.username or ""),
            password=unquote(parts.password or ""),
        )

    @asynccontextmanager
    async def connection(
        self, database: str, *, statement_timeout_s: float | None = None, **settings: str
    ) -> AsyncIterator[Connection]:
        """Have a connection to one of its databases for a while.

        Args:
            database: Which one.
            statement_timeout_s: Bounds each statement, where it is not as for the others.
            settings: The session's.

        Raises:
            OSError, TimeoutError, asyncpg.PostgresError: The server does not let us in.
        """
        connection = await asyncpg.connect(
            self._dsn,
            database=database,
            timeout=self._connect_timeout_s,
            command_timeout=statement_timeout_s or self._statement_timeout_s,
            server_settings={"application_name": APPLICATION, **settings},
        )
        try:
            yield connection
        except BaseException:
            connection.terminate()
            raise
        # The work is done; a server slow to say goodbye does not undo it.
        with suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            await connection.close(timeout=_CLOSE_TIMEOUT_S)
