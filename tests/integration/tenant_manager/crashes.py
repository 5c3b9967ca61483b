"""Processes that die before a statement they send: for tests that have them do so at every one.

Dying means that its connections break at once, nothing is rolled back, released or tidied up by it.
"""

import asyncio
from collections.abc import Coroutine
from contextvars import ContextVar
from typing import Any

import asyncpg
import pytest

from freehold.ledger.client import Connection

SENDERS = ("execute", "executemany", "fetch", "fetchrow", "fetchval")


class Crash(BaseException):
    """The process is dead."""


class Countdown:
    """Dies before one of the statements that its task sends."""

    def __init__(self, statements: int) -> None:
        self.left = statements


_countdown: ContextVar[Countdown | None] = ContextVar("countdown", default=None)


def _mortal(send: Any) -> Any:
    async def send_or_die(connection: Connection, *arguments: Any, **named: Any) -> Any:
        countdown = _countdown.get()
        if countdown is not None:
            countdown.left -= 1
            if countdown.left < 0:
                connection.terminate()
                raise Crash
        return await send(connection, *arguments, **named)

    return send_or_die


async def dies(work: Coroutine[Any, Any, Any], statements: int) -> bool:
    """Say whether the work dies if it may send so many statements."""
    countdown = Countdown(statements)

    async def run() -> None:
        _countdown.set(countdown)
        await work

    with pytest.MonkeyPatch.context() as patch:
        for sender in SENDERS:
            patch.setattr(asyncpg.Connection, sender, _mortal(getattr(asyncpg.Connection, sender)))
        # In a task of its own, so that nothing but the work itself dies.
        (ended,) = await asyncio.gather(asyncio.create_task(run()), return_exceptions=True)
    if countdown.left < 0:
        return True
    if ended is not None:
        raise ended
    return False
