"""How an import's body and its answer go on beside each other.

The imports are of empty lines, which need no ledger.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import pytest
from starlette.responses import Response
from starlette.types import Message, Send

from freehold.tenants.homes import Home
from freehold_ingest import import_routes
from freehold_ingest.appender import Appender
from freehold_ingest.imports import Import
from freehold_ingest.limits import Limits
from support.homes import new_home

PIECES = 20
PATIENCE_S = 5


async def test_the_answer_waits_for_the_client_and_reading_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(import_routes, "_PROGRESS_S", 0.01)
    all_sent = asyncio.Event()
    sent: list[bytes] = []

    async def pieces() -> AsyncGenerator[bytes, None]:
        for _ in range(PIECES):
            yield b"\n"
            await asyncio.sleep(0.01)
        all_sent.set()

    async def send(message: Message) -> None:
        # No byte of the answer is read before the last byte of the body has been sent.
        await all_sent.wait()
        sent.append(message.get("body", b""))

    async with asyncio.timeout(PATIENCE_S):
        await answer_to(pieces())({"type": "http"}, nothing_more, send)
    last = json.loads(sent[-2])
    assert (last["done"], last["lines"]) == (False, PIECES)
    assert "no event" in last["error"]["detail"]
    assert sent[-1] == b""


async def test_a_service_answers_running_imports_before_it_ends() -> None:
    sent: list[bytes] = []
    begun = asyncio.Event()

    async def pieces() -> AsyncGenerator[bytes, None]:
        yield b"\n"
        await asyncio.Event().wait()

    async def send(message: Message) -> None:
        begun.set()
        sent.append(message.get("body", b""))

    answering = asyncio.create_task(answering_with(answer_to(pieces()), send))
    async with asyncio.timeout(PATIENCE_S):
        await begun.wait()
        # As uvicorn does it, where the time for a graceful end is over.
        answering.cancel()
        await answering
    last = json.loads(sent[-2])
    assert last["done"] is False
    assert last["error"]["type"] == "/problems/unavailable"


def answer_to(pieces: AsyncGenerator[bytes, None]) -> Response:
    async def caller() -> Home:
        return new_home()

    @asynccontextmanager
    async def beginning() -> AsyncIterator[Import]:
        yield Import(
            cast("Appender", None),
            Limits(events_per_s=PIECES, requests_max=1),
            caller,
            tenant_id="acme",
            patience_s=PATIENCE_S,
        )

    return import_routes._ImportResponse(beginning(), pieces, PATIENCE_S, is_quiet=False)


async def answering_with(answer: Response, send: Send) -> None:
    await answer({"type": "http"}, nothing_more, send)


async def nothing_more() -> Message:
    raise AssertionError("the body is read by way of its pieces")
