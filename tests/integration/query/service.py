"""Query as it is, on a port of this machine, for clients that stay connected."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import uvicorn

from freehold.http.server import DECISIONS
from freehold_query.application import make_application
from freehold_query.settings import Settings
from integration.query.tenants import Tenant
from integration.tenant_manager.installation import CREDENTIAL_KEYS
from support.builders import new_event
from support.live import Live, listening_at
from support.waiting import eventually


@dataclass
class Service:
    """Query, while it runs."""

    url: str
    server: uvicorn.Server
    running: asyncio.Task[None]
    tenant: Tenant

    @asynccontextmanager
    async def listening(self, **more: Any) -> AsyncIterator[Live]:
        async with listening_at(self.url, self.tenant.authorization, **more) as live:
            yield live

    async def get(self, path: str) -> httpx.Response:
        async with httpx.AsyncClient(
            base_url=self.url, headers=self.tenant.authorization, trust_env=False
        ) as http:
            return await http.get(path)

    async def streams(self) -> int:
        """How many streams are open."""
        metrics = (await self.get("/metrics")).text.splitlines()
        (line,) = [line for line in metrics if line.startswith("freehold_query_streams ")]
        return int(float(line.split()[1]))

    async def have_ended(self) -> None:
        """Wait until no stream is open."""

        async def none() -> bool:
            return await self.streams() == 0

        await eventually(none, "all streams have ended")


@asynccontextmanager
async def running(
    dsn: str, tenant: Tenant, *, port: int | None = None, **choices: Any
) -> AsyncIterator[Service]:
    """Run query, on a given port or any."""
    settings = Settings(catalog_dsn=dsn, credential_keys=CREDENTIAL_KEYS, **choices)
    with socket.create_server(("127.0.0.1", port or 0)) as at:
        config = uvicorn.Config(make_application(settings), **DECISIONS)
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve(sockets=[at]))
        try:
            yield Service(f"http://127.0.0.1:{at.getsockname()[1]}", server, task, tenant)
        finally:
            server.should_exit = True
            await task


async def change(tenant: Tenant, *accounts: str, amount_minor: int = 1) -> None:
    await tenant.append(*[new_event(account, amount_minor) for account in accounts])
    await tenant.project()
