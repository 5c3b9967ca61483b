"""Tenants for query to serve, provisioned by tenant-manager and reached as a superuser."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from freehold.ledger import client as ledger
from freehold.ledger.append import Addition, Row
from freehold.ledger.client import Connection
from freehold.ledger.schema import LEDGER_SCHEMA
from freehold.security.api_keys import ApiKey, Scope, parse_api_key
from integration.tenant_manager.installation import (
    Installation,
    client_of,
    new_tenant,
    running,
    service_password,
)
from support.builders import append, append_request


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant with every scope's key, and a superuser's connection to their ledger."""

    tenant_id: str
    name: str
    key: ApiKey
    database: str
    connection: Connection

    @property
    def authorization(self) -> dict[str, str]:
        """The header that asks as this tenant."""
        return bearer(self.key)

    async def append(self, *additions: Addition, transaction: bool = False) -> Sequence[Row]:
        """Add events to the ledger, in one request."""
        request = append_request(*additions, transaction=transaction)
        (answer,) = await append(self.connection, [request])
        return answer.events

    async def project(self) -> None:
        """Bring the state up to the ledger."""
        await ledger.project(self.connection, 1_000_000)


class Landlord:
    """tenant-manager and its catalog, which query reads."""

    def __init__(
        self, installation: Installation, catalog: str, manager: httpx.AsyncClient
    ) -> None:
        self._installation = installation
        self._catalog = catalog
        self._manager = manager

    def dsn(self, *, port: int | None = None) -> str:
        """Query's own way into the catalog, through another port if need be."""
        url = httpx.URL(
            self._installation.url(self._catalog, "freehold_query", service_password("query"))
        )
        return str(url if port is None else url.copy_with(host="127.0.0.1", port=port))

    @asynccontextmanager
    async def tenant(self) -> AsyncIterator[Tenant]:
        """Make a tenant with an empty ledger."""
        answer = await self._manager.post("/v1/tenants", json=new_tenant())
        body = answer.raise_for_status().json()
        tenant_id, name = body["tenant"]["tenant_id"], body["tenant"]["name"]
        key = parse_api_key(body["api_key"])
        assert key is not None
        async with self._installation.superuser(self._catalog) as catalog:
            database = await catalog.fetchval(
                "SELECT database_name FROM catalog.tenants WHERE tenant_id = $1", tenant_id
            )
        async with self._connection(database) as connection:
            yield Tenant(tenant_id, name, key, database, connection)

    @asynccontextmanager
    async def connection(self, tenant: Tenant) -> AsyncIterator[Connection]:
        """Have one more connection to a tenant's ledger, as a superuser."""
        async with self._connection(tenant.database) as connection:
            yield connection

    async def key(self, tenant: Tenant, *scopes: Scope, **settings: Any) -> ApiKey:
        """Give a tenant one more key."""
        answer = await self._manager.post(
            f"/v1/tenants/{tenant.tenant_id}/api-keys", json={"scopes": scopes, **settings}
        )
        key = parse_api_key(answer.raise_for_status().json()["api_key"])
        assert key is not None
        return key

    async def revoke(self, tenant: Tenant, key: ApiKey) -> None:
        """Take a key back."""
        path = f"/v1/tenants/{tenant.tenant_id}/api-keys/{key.key_id}"
        (await self._manager.delete(path)).raise_for_status()

    async def usage(self, tenant: Tenant) -> dict[str, Any]:
        """Give what the catalog says of a tenant's usage."""
        answer = await self._manager.get(f"/v1/tenants/{tenant.tenant_id}/usage")
        usage: dict[str, Any] = answer.raise_for_status().json()
        return usage

    async def suspend(self, tenant: Tenant) -> None:
        """Serve a tenant no more."""
        path = f"/v1/tenants/{tenant.tenant_id}/suspend"
        (await self._manager.post(path)).raise_for_status()

    async def move(self, tenant: Tenant, port: int) -> None:
        """Have services reach the tenant's database on another port of this machine."""
        await self._change(
            "INSERT INTO catalog.clusters VALUES ($1, 'local', '127.0.0.1', $2)",
            tenant.tenant_id,
            port,
        )
        await self._change(
            "UPDATE catalog.tenants SET cluster = $1 WHERE tenant_id = $1", tenant.tenant_id
        )

    async def count_restore(self, tenant: Tenant) -> None:
        """Do what a restore does in the catalog: begin another epoch."""
        await self._change(
            "UPDATE catalog.tenants SET epoch = epoch + 1 WHERE tenant_id = $1", tenant.tenant_id
        )

    @asynccontextmanager
    async def _connection(self, database: str) -> AsyncIterator[Connection]:
        async with self._installation.superuser(database) as connection:
            await connection.execute(f"SET search_path TO {LEDGER_SCHEMA}")
            yield connection

    async def _change(self, statement: str, *arguments: Any) -> None:
        async with self._installation.superuser(self._catalog) as catalog:
            await catalog.execute(statement, *arguments)


@asynccontextmanager
async def new_landlord(installation: Installation, catalog: str) -> AsyncIterator[Landlord]:
    """Run tenant-manager on a catalog of its own."""
    async with running(installation.settings(catalog)) as app, client_of(app) as manager:
        yield Landlord(installation, catalog, manager)


def bearer(key: ApiKey) -> dict[str, str]:
    """Make the header that shows a key."""
    return {"Authorization": f"Bearer {key.text()}"}


async def read_token(query: httpx.AsyncClient, **wanted: Any) -> dict[str, str]:
    """Have a read token made, and make the header that shows it."""
    answer = await query.post("/v1/read-tokens", json=wanted)
    assert answer.status_code == 201, answer.text
    return {"Authorization": f"Bearer {answer.json()['token']}"}
