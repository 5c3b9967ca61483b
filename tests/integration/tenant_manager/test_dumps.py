"""Dumps by Postgres' own programs: whole or an error, and nothing secret where others look."""

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

import asyncpg
import pytest

from freehold.contracts.errors import DomainError
from freehold.ledger import client
from freehold.ledger.client import Connection
from freehold.tenants.homes import Home
from freehold_tenant_manager.dumps.dumps import DumpError, Dumps
from freehold_tenant_manager.server.server import Login
from support.builders import append, append_request, new_event
from support.homes import new_home
from support.ledgers import Ledger
from support.streams import collect, stream
from support.waiting import PATIENCE_S

PASSWORD = "canary-" + secrets.token_hex(8)
GB = 2**30


@pytest.fixture
def connection(own_connection: Connection) -> Connection:
    return own_connection


@pytest.fixture
async def server_version(connection: Connection) -> int:
    return connection.get_server_version().major


@pytest.fixture
async def home(ledger: Ledger, connection: Connection) -> AsyncIterator[Home]:
    """A ledger with some events, and a role that may read it and write nothing."""
    events = [new_event(f"cus_{n % 50}", n + 1, metadata={"n": "x" * 200}) for n in range(2_000)]
    await append(connection, [append_request(*events)])
    role = f"test_reader_{secrets.token_hex(4)}"
    await connection.execute(
        f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}';"
        f"GRANT USAGE ON SCHEMA ledger TO {role};"
        f"GRANT SELECT ON ALL TABLES IN SCHEMA ledger TO {role};"
    )
    yield new_home(ledger.url, role=role, password=PASSWORD)
    await connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role};")


@asynccontextmanager
async def _empty_database(ledger: Ledger) -> AsyncIterator[tuple[Login, str]]:
    """Have an empty database for a while, a way into it, and its owner, who cannot log in."""
    parts = urlsplit(ledger.url)
    name = f"freehold_test_{secrets.token_hex(6)}"
    connection = await ledger.connect()
    try:
        await connection.execute(f"CREATE ROLE {name}_owner NOLOGIN")
        await connection.execute(f"CREATE DATABASE {name} OWNER {name}_owner TEMPLATE template0")
        yield (
            Login(
                parts.hostname or "",
                parts.port or 5432,
                name,
                parts.username or "",
                unquote(parts.password or ""),
            ),
            f"{name}_owner",
        )
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await connection.execute(f"DROP ROLE {name}_owner")
    finally:
        await connection.close()


async def _enter(login: Login) -> Connection:
    return await asyncpg.connect(
        host=login.host,
        port=login.port,
        user=login.role,
        password=login.password,
        database=login.database,
        server_settings={"search_path": "ledger"},
    )


def _dumping(*, timeout_s: float = 60, bytes_per_s: int = GB) -> Dumps:
    return Dumps(timeout_s=timeout_s, bytes_per_s=bytes_per_s)


async def test_a_dump_restores_as_its_owners(
    ledger: Ledger, connection: Connection, home: Home, server_version: int
) -> None:
    dumping = _dumping()
    async with (
        _empty_database(ledger) as (login, owner),
        dumping.dump(home, "custom", server_version=server_version) as pieces,
    ):
        await dumping.restore(login, owner, pieces, server_version=server_version)
        restored = await _enter(login)
        verification = await client.verify(restored)
        assert verification.ok
        assert await client.head(restored) == await client.head(connection)
        owners = await restored.fetch(
            "SELECT DISTINCT relowner::regrole::text FROM pg_class"
            " WHERE relnamespace = 'ledger'::regnamespace"
        )
        assert [tuple(row) for row in owners] == [(owner,)]
        await restored.close()


async def test_a_dump_is_of_the_snapshot_that_it_is_given(
    ledger: Ledger, connection: Connection, home: Home, server_version: int
) -> None:
    async with ledger.connection() as other, other.transaction(isolation="repeatable_read"):
        snapshot = await other.fetchval("SELECT pg_export_snapshot()")
        before = await client.head(other)
        await append(connection, [append_request(new_event("cus_late"))])
        async with _dumping().dump(
            home, "sql", server_version=server_version, snapshot=snapshot
        ) as pieces:
            text = await collect(pieces)
    assert before.hash.hex().encode() in text
    assert b"cus_late" not in text


async def test_no_password_is_in_a_command_line(home: Home, server_version: int) -> None:
    async with _dumping(bytes_per_s=50_000).dump(
        home, "sql", server_version=server_version
    ) as pieces:
        await anext(pieces)
        commands = await asyncio.to_thread(_commands)
    assert any(b"pg_dump" in command for command in commands)
    assert not any(PASSWORD.encode() in command for command in commands)


async def test_a_reader_that_leaves_ends_the_dump(
    connection: Connection, home: Home, server_version: int
) -> None:
    async with _dumping(bytes_per_s=1_000).dump(
        home, "sql", server_version=server_version
    ) as pieces:
        await anext(pieces)
    async with asyncio.timeout(PATIENCE_S):
        while await connection.fetchval(  # noqa: ASYNC110 (the server does not notify)
            "SELECT count(*) FROM pg_stat_activity WHERE usename = $1", home.role
        ):
            await asyncio.sleep(0.02)


def _commands() -> list[bytes]:
    commands = []
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(FileNotFoundError, ProcessLookupError):
            commands.append(command.read_bytes())
    return commands


async def test_an_incomplete_dump_is_not_taken_for_a_complete_one(
    connection: Connection, home: Home, server_version: int
) -> None:
    # More than pipes and sockets hold, so that the server is still at it.
    events = [new_event("cus_long", 1, metadata={"n": "x" * 500}) for _ in range(10_000)]
    await append(connection, [append_request(*events)])
    async with _dumping(bytes_per_s=10**6).dump(
        home, "sql", server_version=server_version
    ) as pieces:
        await anext(pieces)
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1", home.role
        )
        with pytest.raises(DumpError, match="pg_dump") as caught:
            await collect(pieces)
    assert PASSWORD not in str(caught.value)


async def test_a_dump_that_takes_too_long_is_ended(home: Home, server_version: int) -> None:
    begun = time.monotonic()
    with pytest.raises(DumpError, match=r"longer than 0\.5 s"):
        async with _dumping(timeout_s=0.5, bytes_per_s=1_000).dump(
            home, "sql", server_version=server_version
        ) as pieces:
            await collect(pieces)
    assert time.monotonic() - begun < 5


async def test_a_dump_is_read_no_faster_than_said(home: Home, server_version: int) -> None:
    begun = time.monotonic()
    async with _dumping(bytes_per_s=500_000).dump(
        home, "sql", server_version=server_version
    ) as pieces:
        whole = await collect(pieces)
    assert time.monotonic() - begun > len(whole) / 500_000 * 0.9


async def test_a_role_that_may_not_read_everything_makes_no_dump(
    connection: Connection, home: Home, server_version: int
) -> None:
    await connection.execute(f"REVOKE SELECT ON ledger_head FROM {home.role}")
    with pytest.raises(DumpError, match="permission denied"):
        async with _dumping().dump(home, "sql", server_version=server_version) as pieces:
            await collect(pieces)


async def test_a_server_that_is_too_new_is_named(home: Home) -> None:
    with pytest.raises(DomainError, match="PostgreSQL 99 or later is needed"):
        async with _dumping().dump(home, "sql", server_version=99):
            pass


async def test_what_is_no_dump_is_refused(ledger: Ledger, server_version: int) -> None:
    async with _empty_database(ledger) as (login, owner):
        with pytest.raises(DumpError, match="pg_restore"):
            await _dumping().restore(
                login, owner, stream([b"no dump" * 100_000]), server_version=server_version
            )


async def test_a_restore_from_an_incomplete_source_leaves_nothing(
    ledger: Ledger, home: Home, server_version: int
) -> None:
    dumping = _dumping()

    async def breaking_off() -> AsyncGenerator[bytes]:
        async with dumping.dump(home, "custom", server_version=server_version) as pieces:
            whole = await collect(pieces)
        yield whole[: len(whole) // 2]
        raise ConnectionResetError("the source is lost")

    async with _empty_database(ledger) as (login, owner), aclosing(breaking_off()) as pieces:
        with pytest.raises(ConnectionResetError, match="the source is lost"):
            await dumping.restore(login, owner, pieces, server_version=server_version)
        left = await _enter(login)
        assert not await left.fetchval("SELECT to_regnamespace('ledger') IS NOT NULL")
        await left.close()
