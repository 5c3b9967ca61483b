"""A guard stands first, and what a later pg_dump sets is taken by earlier servers. No more."""

from collections.abc import AsyncIterator

import pytest

from freehold_tenant_manager.dumps.dump_head import DUMP_GUARD, guarded
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
GUARD = b"\\set ON_ERROR_STOP on\n\n" + DUMP_GUARD.encode() + b"\n"


async def test_the_setting_is_rewritten_however_the_dump_is_split() -> None:
    wanted = await collect(guarded(stream([LATER])))
    # Before pg_dump's \\restrict: psql takes no command of ours after it.
    assert wanted.startswith(GUARD + HEAD + b"SELECT ")
    assert wanted.endswith(b" WHERE name = 'transaction_timeout';\n" + REST)
    assert LINE not in wanted[: -len(REST)]
    for place in range(len(LATER) + 1):
        assert await collect(guarded(stream([LATER[:place], LATER[place:]]))) == wanted
    single = [LATER[place : place + 1] for place in range(len(LATER))]
    assert await collect(guarded(stream(single))) == wanted


@pytest.mark.parametrize(
    "dump",
    [
        HEAD + REST,
        HEAD + REST * 10_000,
        # Nothing that we know: it passes as it is.
        HEAD + LINE,
        b"-" * 100_000 + LATER,
        b"--\n" + REST + LATER,
    ],
)
async def test_all_else_passes_as_it_is(dump: bytes) -> None:
    for size in (1_000, 250_000):
        pieces = [dump[begin : begin + size] for begin in range(0, len(dump), size)]
        assert await collect(guarded(stream(pieces))) == GUARD + dump


async def test_an_empty_dump_stays_empty() -> None:
    assert await collect(guarded(stream([]))) == b""


async def test_an_incomplete_dump_stays_incomplete() -> None:
    async def breaking_off(after: bytes) -> AsyncIterator[bytes]:
        yield after
        raise ConnectionResetError

    for after in (HEAD, LATER):
        with pytest.raises(ConnectionResetError):
            await collect(guarded(breaking_off(after)))
