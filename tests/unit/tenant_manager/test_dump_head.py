"""What a later pg_dump sets is taken by earlier servers, and nothing but the head is touched."""

from collections.abc import AsyncIterator

import pytest

from freehold_tenant_manager.dumps.dump_head import taken_by_all
from support.streams import collect, stream

# As pg_dump 18.4 writes it; 15 and 16 leave out the one line.
HEAD = rb"""--
-- PostgreSQL database dump
--

\restrict 6zFMRqJaGLdR0oVKAd7vrbwvmbEvlZxov8pqLrF39Ovr3bkhQU0Hr4sPiT6QPjM

-- Dumped from database version 18.4
-- Dumped by pg_dump version 18.4

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
"""
LINE = b"SET transaction_timeout = 0;\n"
REST = b"""SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;

COPY ledger.notes (note) FROM stdin;
SET transaction_timeout = 0;
SET client_encoding = 'UTF8';
SET transaction_timeout = 0;
\\.
"""
LATER = HEAD + LINE + REST


async def test_the_setting_is_said_so_that_all_servers_take_it_however_the_dump_is_split() -> None:
    wanted = await collect(taken_by_all(stream([LATER])))
    assert wanted.startswith(HEAD + b"SELECT ")
    assert wanted.endswith(b" WHERE name = 'transaction_timeout';\n" + REST)
    assert LINE not in wanted[: -len(REST)]
    for place in range(len(LATER) + 1):
        assert await collect(taken_by_all(stream([LATER[:place], LATER[place:]]))) == wanted
    single = [LATER[place : place + 1] for place in range(len(LATER))]
    assert await collect(taken_by_all(stream(single))) == wanted


@pytest.mark.parametrize(
    "dump",
    [
        HEAD + REST,
        HEAD + REST * 10_000,
        # Nothing that we know: it passes as it is.
        b"",
        HEAD + LINE,
        b"-" * 100_000 + LATER,
        b"--\n" + REST + LATER,
    ],
)
async def test_all_else_passes_as_it_is(dump: bytes) -> None:
    for size in (1_000, 250_000):
        pieces = [dump[begin : begin + size] for begin in range(0, len(dump), size)]
        assert await collect(taken_by_all(stream(pieces))) == dump


async def test_a_dump_that_breaks_off_does_so_here_too() -> None:
    async def breaking_off(after: bytes) -> AsyncIterator[bytes]:
        yield after
        raise ConnectionResetError

    for after in (HEAD, LATER):
        with pytest.raises(ConnectionResetError):
            await collect(taken_by_all(breaking_off(after)))
