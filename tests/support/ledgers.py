"""Fresh ledgers for tests: each a database of its own, cloned from a template made once.

The clones' names are random, so that several sessions can share a server.
"""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from freehold.ledger.client import Connection
from freehold.ledger.schema import LEDGER_SCHEMA, LEDGER_SOURCE
from freehold_tenant_manager.server.migrator import migrate


@dataclass(frozen=True, slots=True)
class Ledger:
    """An empty tenant database, reached as its superuser."""

    url: str

    async def connect(self, **settings: str) -> Connection:
        """Open a connection with the ledger's schema as its search path. The caller closes it."""
        return await asyncpg.connect(
            self.url, server_settings={"search_path": LEDGER_SCHEMA, **settings}
        )

    @asynccontextmanager
    async def connection(self, **settings: str) -> AsyncIterator[Connection]:
        """Open a connection for a while."""
        connection = await self.connect(**settings)
        try:
            yield connection
        finally:
            await connection.close()


@asynccontextmanager
async def rolled_back(connection: Connection) -> AsyncIterator[None]:
    """Undo everything that is done meanwhile, so that tests can share a ledger."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        yield
    finally:
        await transaction.rollback()


class Ledgers:
    """Makes and drops ledgers on one server. Bound to no event loop."""

    def __init__(self, server_url: str) -> None:
        self._server_url = server_url
        self._template = _random_name()

    async def make_template(self) -> None:
        """Apply the migrations to the database that every ledger is a copy of."""
        await self._on_server(f"CREATE DATABASE {self._template}")
        connection = await asyncpg.connect(_with_database(self._server_url, self._template))
        try:
            await migrate(connection, LEDGER_SOURCE, LEDGER_SCHEMA)
        finally:
            await connection.close()

    async def drop_template(self) -> None:
        """Leave nothing behind on the server."""
        await self._on_server(f"DROP DATABASE {self._template} WITH (FORCE)")

    @asynccontextmanager
    async def fresh(self) -> AsyncIterator[Ledger]:
        """Have an empty ledger for a while."""
        async with self._database(self._template) as ledger:
            yield ledger

    @asynccontextmanager
    async def unmade(self) -> AsyncIterator[Ledger]:
        """Have a database for a while in which no migration was applied yet."""
        async with self._database("template0") as ledger:
            yield ledger

    @asynccontextmanager
    async def _database(self, template: str) -> AsyncIterator[Ledger]:
        name = _random_name()
        await self._on_server(f"CREATE DATABASE {name} TEMPLATE {template}")
        try:
            yield Ledger(_with_database(self._server_url, name))
        finally:
            await self._on_server(f"DROP DATABASE {name} WITH (FORCE)")

    async def _on_server(self, statement: str) -> None:
        connection = await asyncpg.connect(self._server_url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


def _random_name() -> str:
    return f"freehold_test_{secrets.token_hex(6)}"


def _with_database(url: str, database: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{database}"))
