"""What only a person at a terminal meets: questions, and bars."""

import asyncio
import os
import termios
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from support.commands import FREEHOLD, Ended
from support.scripted import chunks, document, scripted
from support.waiting import POLL_S

TENANT = {"type": "/problems/not-found", "title": "-", "status": 404, "detail": "no such tenant"}


async def test_a_token_that_is_missing_is_asked_for_and_not_shown() -> None:
    async with scripted(document(200, {"data": [], "next_cursor": None})) as server:
        ended = await at_a_terminal(
            "tenants",
            "list",
            asked="token:",
            typed="a-secret\n",
            is_hidden=True,
            environment={"FREEHOLD_TENANT_MANAGER_URL": server.url},
        )
        assert server.asked == ["GET /v1/tenants?limit=1000"]
    assert ended.code == 0, ended.err
    assert "Operator token" in ended.err
    assert "a-secret" not in ended.err


async def test_a_tenant_is_deleted_only_where_their_id_is_typed() -> None:
    async with scripted(document(404, TENANT)) as server:
        words = ("tenants", "delete", "acme")
        ended = await at_a_terminal(
            *words, asked="type acme:", typed="acne\n", environment=server.operator
        )
        assert ended.code == 2
        assert server.asked == []
        ended = await at_a_terminal(
            *words, asked="type acme:", typed="acme\n", environment=server.operator
        )
        assert ended.code == 3
        assert server.asked == ["DELETE /v1/tenants/acme?confirm=acme"]


async def test_an_export_shows_a_bar_and_leaves_none(tmp_path: Path) -> None:
    async with scripted(chunks(b"x" * 3_000_000, ended=True)) as server:
        file = tmp_path / "acme.sql"
        ended = await at_a_terminal("export", "acme", "-o", str(file), environment=server.operator)
    assert ended.code == 0, ended.err
    assert "3.0 MB" in ended.err


async def at_a_terminal(
    *words: str,
    asked: str = "",
    typed: str = "",
    is_hidden: bool = False,
    environment: Mapping[str, str],
) -> Ended:
    """Run the command with a terminal for what is typed, once asked for, and for what it says."""
    terminal, its_own = os.openpty()
    os.set_blocking(terminal, False)
    shown = bytearray()

    def read() -> None:
        # Nothing to read, or the terminal's other end is closed: both are errors to Linux.
        with suppress(OSError):
            while piece := os.read(terminal, 65_536):
                shown.extend(piece)

    async def type_in() -> None:
        # What is typed before the question, or before what is typed is hidden, is thrown away.
        while asked.encode() not in shown or (  # noqa: ASYNC110 (as others do)
            is_hidden and _echoes(terminal)
        ):
            await asyncio.sleep(POLL_S)
        os.write(terminal, typed.encode())

    process = await asyncio.create_subprocess_exec(
        FREEHOLD,
        *words,
        stdin=its_own,
        stdout=asyncio.subprocess.PIPE,
        stderr=its_own,
        cwd="/",
        env={"PATH": "/usr/bin:/bin", "TERM": "xterm", **environment},
        start_new_session=True,
    )
    os.close(its_own)
    loop = asyncio.get_running_loop()
    loop.add_reader(terminal, read)
    typing = asyncio.create_task(type_in()) if typed else None
    try:
        async with asyncio.timeout(30):
            out, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        if typing is not None:
            typing.cancel()
            await asyncio.gather(typing, return_exceptions=True)
        loop.remove_reader(terminal)
        read()
        os.close(terminal)
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), shown.decode())


def _echoes(terminal: int) -> bool:
    """Whether what is typed at a terminal is shown (termios(3))."""
    local_modes: int = termios.tcgetattr(terminal)[3]
    return bool(local_modes & termios.ECHO)
