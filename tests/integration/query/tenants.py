"""A catalog and tenants for query to serve, made without tenant-manager."""

import base64
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.resources import files
from urllib.parse import urlsplit

import asyncpg

from freehold.contracts.events import NewEvent
from freehold.ledger import client
from freehold.ledger.client import Connection, Record, Reversal
from freehold.ledger.schema import LEDGER_GRANTS, LEDGER_SCHEMA, LEDGER_VERSION, load_migrations
from freehold.security.api_keys import ApiKey, Scope, new_api_key
from freehold.security.sealing import KeyRing
from support.builders import append_request
from support.ledgers import Ledgers

CREDENTIAL_KEYS = "test:" + base64.b64encode(bytes(range(32))).decode()
_PASSWORD = secrets.token_urlsafe(12)
_SERVICES = ("ingest", "projector", "query", "auditor")
_CATALOG = files("freehold_tenant_manager.catalog")


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant, a superuser's connection to their ledger, and a key that may read."""

    tenant_id: str
    ledger: Connection
    key: ApiKey
    database: str

    @property
    def authorization(self) -> dict[str, str]:
        """The header that asks as this tenant."""
        return {"Authorization": f"Bearer {self.key.text()}"}

    async def append(self, *events: NewEvent | Reversal) -> list[Record]:
        """Add events to the ledger, in one request."""
        (answer,) = await client.append(self.ledger, [append_request(*events)])
        return answer.events

    async def project(self) -> None:
        """Bring the state up to the ledger."""
        await client.project(self.ledger, 1_000_000)


class Catalog:
    """A catalog database, reached as its superuser."""

    def __init__(self, connection: Connection, dsn: str, ledgers: Ledgers) -> None:
        self.dsn = dsn
        """For the query service's own role."""
        self._connection = connection
        self._ledgers = ledgers
        self._key_ring = KeyRing(CREDENTIAL_KEYS)

    @asynccontextmanager
    async def tenant(
        self, tenant_id: str, *, host: str | None = None, port: int | None = None
    ) -> AsyncIterator[Tenant]:
        """Have a tenant with an empty ledger for a while; the address is where query finds it."""
        async with self._ledgers.fresh() as fresh, fresh.connection() as ledger:
            address = urlsplit(fresh.url)
            database = address.path[1:]
            for service in (*_SERVICES, "owner"):
                await ledger.execute(
                    f"CREATE ROLE {database}_{service} LOGIN PASSWORD '{_PASSWORD}'"
                )
            await ledger.execute(f"SET freehold.role_prefix TO {database}")
            await ledger.execute(LEDGER_GRANTS)
            await self._enter(tenant_id, host or address.hostname, port or address.port, database)
            try:
                yield Tenant(tenant_id, ledger, await self.key(tenant_id, Scope.READ), database)
            finally:
                await self._forget(tenant_id)
                for service in (*_SERVICES, "owner"):
                    await ledger.execute(f"DROP OWNED BY {database}_{service}")
                    await ledger.execute(f"DROP ROLE {database}_{service}")

    async def key(self, tenant_id: str, *scopes: Scope) -> ApiKey:
        """Give a tenant one more key."""
        key = new_api_key()
        await self._connection.execute(
            "INSERT INTO api_keys (key_id, tenant_id, secret_hash, scopes) VALUES ($1, $2, $3, $4)",
            key.key_id,
            tenant_id,
            key.secret_hash(),
            list(scopes),
        )
        return key

    async def revoke(self, key: ApiKey) -> None:
        """Take a key back."""
        await self._connection.execute(
            "UPDATE api_keys SET revoked_at = now() WHERE key_id = $1", key.key_id
        )

    async def count_restore(self, tenant_id: str) -> None:
        """Do what a restore does here: begin another epoch."""
        await self._connection.execute(
            "UPDATE tenants SET epoch = epoch + 1 WHERE tenant_id = $1", tenant_id
        )

    async def _enter(self, tenant_id: str, host: str | None, port: int | None, name: str) -> None:
        await self._connection.execute(
            "INSERT INTO clusters VALUES ($1, 'local', $2, $3)", tenant_id, host, port or 5432
        )
        await self._connection.execute(
            "INSERT INTO tenants (tenant_id, name, region, isolation, status, cluster,"
            " database_name, schema_name, schema_version)"
            " VALUES ($1, $1, 'local', 'database', 'active', $1, $2, $3, $4)",
            tenant_id,
            name,
            LEDGER_SCHEMA,
            LEDGER_VERSION,
        )
        for service in _SERVICES:
            role = f"{name}_{service}"
            sealed = self._key_ring.seal(_PASSWORD, role)
            await self._connection.execute(
                "INSERT INTO tenant_credentials VALUES ($1, $2, $3, $4, $5)",
                tenant_id,
                service,
                role,
                sealed.key_id,
                sealed.box,
            )

    async def _forget(self, tenant_id: str) -> None:
        for table in ("api_keys", "tenant_credentials", "tenants"):
            await self._connection.execute(f"DELETE FROM {table} WHERE tenant_id = $1", tenant_id)
        await self._connection.execute("DELETE FROM clusters WHERE cluster = $1", tenant_id)


@asynccontextmanager
async def new_catalog(server_url: str, ledgers: Ledgers) -> AsyncIterator[Catalog]:
    """Make a catalog database for a while."""
    database = f"freehold_test_catalog_{secrets.token_hex(6)}"
    address = urlsplit(server_url)
    server = await asyncpg.connect(server_url)
    connection = None
    try:
        for service in ("ingest", "projector", "query"):
            # Roles belong to the whole server: another test may have made them.
            if not await server.fetch(
                "SELECT FROM pg_roles WHERE rolname = $1", f"freehold_{service}"
            ):
                await server.execute(f"CREATE ROLE freehold_{service} LOGIN")
        await server.execute(f"ALTER ROLE freehold_query LOGIN PASSWORD '{_PASSWORD}'")
        await server.execute(f"CREATE DATABASE {database}")
        connection = await asyncpg.connect(
            address._replace(path=f"/{database}").geturl(),
            server_settings={"search_path": "catalog"},
        )
        await connection.execute("CREATE SCHEMA catalog")
        for migration in load_migrations(_CATALOG / "migrations"):
            await connection.execute(migration.sql)
        await connection.execute((_CATALOG / "grants.sql").read_text())
        dsn = (
            f"postgresql://freehold_query:{_PASSWORD}@{address.hostname}:{address.port}/{database}"
        )
        yield Catalog(connection, dsn, ledgers)
    finally:
        if connection:
            await connection.close()
        await server.execute(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")
        await server.close()
