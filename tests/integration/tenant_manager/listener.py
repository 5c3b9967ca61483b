"""tenant-manager behind a real socket: how a connection ends is for its client to see."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import uvicorn
from fastapi import FastAPI

from freehold.http.server import DECISIONS
from integration.tenant_manager.installation import OPERATOR_TOKEN


@asynccontextmanager
async def listening(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Serve an application that runs already, and yield the operator's client of it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(app, **{**DECISIONS, "lifespan": "off"})
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            async with httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{listener.getsockname()[1]}",
                headers={"Authorization": f"Bearer {OPERATOR_TOKEN}"},
                timeout=30,
                trust_env=False,
            ) as http:
                yield http
        finally:
            server.should_exit = True
            await task
