"""Checks of servers, and the bootstrap of Postgres."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import asyncpg

from freehold.database.fitness import UnfitServerError, examine
from freehold.messaging.broker import LOST
from freehold.messaging.fitness import UnfitBrokerError
from freehold.messaging.fitness import examine as examine_rabbitmq
from freehold_local.errors import StackError

MANAGER = "freehold_tenant_manager"
BOOTSTRAP = Path(__file__).resolve().parents[3] / "postgres"
TIMEOUT_S = 10
EXAMINE_TIMEOUT_S = 5
CANNOT_TELL = (OSError, TimeoutError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError)
_BOOTSTRAP_TIMEOUT_S = 60
_BOOTSTRAP_LOCK = 0x46480101

_Answer = TypeVar("_Answer")


def is_answering(url: str) -> bool:
    """Whether a Postgres accepts the login and answers a query."""
    try:
        run_apart(_ask(url))
    except CANNOT_TELL:
        return False
    return True


def bootstrap(superuser_url: str, password: str, *, role: str = MANAGER) -> None:
    """Prepare a server for Freehold, or bring one that is in use up to this release.

    It does what `10-freehold.sh` does with psql, but hardens existing databases once per release.

    Args:
        superuser_url: The superuser's URL, with the database `postgres`.
        password: The new password of tenant-manager's role.
        role: The name of tenant-manager's role.
    """
    settings = {
        "client_min_messages": "warning",
        "freehold.tenant_manager": role,
        "freehold.tenant_manager_password": password,
    }
    run_apart(_bootstrap(superuser_url, settings))


def examine_given(url: str, *, connections: int) -> list[str]:
    """Check that Freehold can use an own Postgres.

    Args:
        url: The URL of the server.
        connections: The most connections that the services open.

    Returns:
        Warnings, a sentence each.

    Raises:
        StackError: It does not answer, is unfit, or its role lacks rights.
    """
    try:
        doubts = run_apart(examine(url, timeout_s=EXAMINE_TIMEOUT_S))
        may_create, allowed = run_apart(_ask_about_role(url))
    except UnfitServerError as error:
        raise StackError(f"The server in FREEHOLD_POSTGRES_URL will not do: {error}.") from error
    except CANNOT_TELL as error:
        reason = str(error) or type(error).__name__
        raise StackError(
            f"The server in FREEHOLD_POSTGRES_URL does not let us in: {reason}"
        ) from error
    if not may_create:
        raise StackError(
            "The role in FREEHOLD_POSTGRES_URL cannot make databases and roles. As a superuser:\n"
            "  ALTER ROLE … CREATEDB CREATEROLE;"
        )
    if connections > allowed:
        doubts.append(
            f"it allows {allowed} connections, and the services may open {connections}: raise its "
            "max_connections, or lower FREEHOLD_CONNECTIONS_MAX"
        )
    return doubts


def examine_broker(url: str, which: str) -> None:
    """Check that Freehold can use a broker.

    Args:
        url: The URL of the broker.
        which: Its description in messages.

    Raises:
        StackError: It does not answer, or is unfit.
    """
    try:
        run_apart(examine_rabbitmq(url, timeout_s=EXAMINE_TIMEOUT_S))
    except UnfitBrokerError as error:
        raise StackError(f"The broker {which} will not do: {error}.") from error
    except LOST as error:
        reason = str(error) or type(error).__name__
        raise StackError(f"The broker {which} does not answer: {reason}") from error


def run_apart(work: Coroutine[Any, Any, _Answer]) -> _Answer:
    """Run a coroutine in a thread of its own: the caller may be inside an event loop."""
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(asyncio.run, work).result()


async def _ask(url: str) -> None:
    async with _connected(url, {}) as connection:
        await connection.execute("SELECT 1", timeout=TIMEOUT_S)


async def _bootstrap(url: str, settings: dict[str, str]) -> None:
    hardening = _script("hardening")
    mark = f"hardened: {sha256(hardening.encode()).hexdigest()}"
    async with _connected(url, settings) as server:
        await server.execute("SELECT pg_advisory_lock($1)", _BOOTSTRAP_LOCK)
        await server.execute(_script("bootstrap"))
        marked: str | None = await server.fetchval(
            "SELECT shobj_description(oid, 'pg_database') FROM pg_database"
            " WHERE datname = 'freehold_base' AND datistemplate"
        )
        if marked == mark:
            return
        for (statement,) in await server.fetch(_script("base")):
            await server.execute(statement)
        for (database,) in await server.fetch(_script("databases")):
            async with _connected(url, settings, database) as inside:
                await inside.execute(hardening)
        # Last, so that an interrupted bootstrap is repeated as a whole.
        await server.execute(f"COMMENT ON DATABASE freehold_base IS '{mark}'")


def _script(name: str) -> str:
    return (BOOTSTRAP / f"{name}.sql").read_text()


@asynccontextmanager
async def _connected(
    url: str, settings: dict[str, str], database: str | None = None
) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await asyncpg.connect(
        url,
        database=database,
        timeout=TIMEOUT_S,
        command_timeout=_BOOTSTRAP_TIMEOUT_S,
        server_settings=settings,
    )
    try:
        yield connection
    finally:
        await connection.close(timeout=TIMEOUT_S)


async def _ask_about_role(url: str) -> tuple[bool, int]:
    async with _connected(url, {}) as connection:
        row = await connection.fetchrow(
            "SELECT rolsuper OR (rolcreatedb AND rolcreaterole) AS may_create,"
            " current_setting('max_connections')::integer"
            " - current_setting('superuser_reserved_connections')::integer AS allowed"
            " FROM pg_roles WHERE rolname = current_user",
            timeout=TIMEOUT_S,
        )
        return (row["may_create"], row["allowed"]) if row else (False, 0)
