"""The operators' console for tests: asked by a client, or open in a real browser."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import uvicorn
from fastapi import FastAPI
from playwright.async_api import Browser, Page

from freehold.http.server import DECISIONS
from support.browser import sound_page
from support.operators import make_operator

SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}


@asynccontextmanager
async def visiting(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Have a browser without a session."""
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://127.0.0.1", timeout=60
    ) as visitor:
        yield visitor


@asynccontextmanager
async def signed_in(
    app: FastAPI, manager: httpx.AsyncClient, role: str
) -> AsyncIterator[httpx.AsyncClient]:
    """Have a new operator of a role signed in."""
    token = (await make_operator(manager, role))["token"]
    async with visiting(app) as console:
        entered = await console.post("/console/sign-in", data={"token": token}, headers=SAME_ORIGIN)
        assert entered.status_code == 303, entered.text
        yield console


@asynccontextmanager
async def listening(app: FastAPI) -> AsyncIterator[str]:
    """Have an application that runs already listen to a port; give its origin."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with serving(app, listener):
            yield origin_of(listener)


def origin_of(listener: socket.socket) -> str:
    """Give the origin of what a socket will serve."""
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


@asynccontextmanager
async def serving(app: FastAPI, listener: socket.socket) -> AsyncIterator[None]:
    """Have an application that runs already serve a socket for a while."""
    # The caller starts and stops the application itself.
    decisions = {**DECISIONS, "lifespan": "off"}
    server = uvicorn.Server(uvicorn.Config(app, **decisions))
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield
    finally:
        server.should_exit = True
        await task


@asynccontextmanager
async def open_console(
    browser: Browser, origin: str, manager: httpx.AsyncClient, role: str = "owner"
) -> AsyncIterator[Page]:
    """Have the console open, with a new operator of a role signed in."""
    token = (await make_operator(manager, role))["token"]
    async with sound_page(browser, f"{origin}/console") as page:
        await page.get_by_label("Operator's token").fill(token)
        await page.get_by_role("button", name="Sign in").click()
        await page.wait_for_url(f"{origin}/console/tenants")
        yield page
