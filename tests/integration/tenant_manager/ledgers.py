"""Tenants whose ledgers have something in them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from fastapi import FastAPI

from freehold.contracts.events import NewEvent
from freehold.ledger import client
from freehold.ledger.client import Connection
from freehold.tenants.catalog import Catalog
from freehold.tenants.homes import Home
from freehold_tenant_manager.credentials.store import find_home
from freehold_tenant_manager.http.components import Components
from integration.tenant_manager.installation import KEY_RING, components_of, connected, new_tenant
from support.builders import append, append_request, new_event


async def filled_tenant(
    app: FastAPI, manager: httpx.AsyncClient, *, events: int = 100
) -> tuple[str, str]:
    """Make a tenant with some events, applied to their balances; give their id and key."""
    wanted = new_tenant()
    made = await manager.post("/v1/tenants", json=wanted)
    assert made.status_code == 201, made.text
    tenant_id = str(wanted["tenant_id"])
    await append_some(app, tenant_id, events)
    return tenant_id, made.json()["api_key"]


async def append_some(app: FastAPI, tenant_id: str, events: int, **changes: str) -> None:
    """Append events to a tenant's ledger, and apply them."""
    async with connection_of(app, tenant_id, "ingest") as connection:
        for begin in range(0, events, 10_000):
            numbers = range(begin, min(begin + 10_000, events))
            await append(connection, [append_request(*(_event(n, **changes) for n in numbers))])
    async with connection_of(app, tenant_id, "projector") as connection:
        while (await client.project(connection, 10_000)).applied:
            pass


@asynccontextmanager
async def connection_of(app: FastAPI, tenant_id: str, service: str) -> AsyncIterator[Connection]:
    """Have one of a tenant's roles' connection to their database for a while."""
    async with connected(await home_of(components_of(app), tenant_id, service)) as connection:
        yield connection


async def home_of(parts: Components, tenant_id: str, service: str) -> Home:
    """Give a tenant's current home, with a role's password."""
    async with parts.find(Catalog).connection() as catalog:
        home = await find_home(catalog, KEY_RING, tenant_id, service)
    assert home is not None
    return home


def _event(n: int, **metadata: str) -> NewEvent:
    return new_event(f"cus_{n % 50}", n + 1, metadata={"plan": "pro", **metadata})
