"""Short conversations with a Postgres: is it there, may we use it, make tenant-manager's role."""

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import asyncpg

from freehold_local.errors import StackError
from freehold_local.installation import LOWEST_POSTGRES

MANAGER = "freehold_tenant_manager"
BOOTSTRAP = Path(__file__).resolve().parents[3] / "postgres" / "bootstrap.sql"
TIMEOUT_S = 10

_Answer = TypeVar("_Answer")


def is_answering(url: str) -> bool:
    """Whether a Postgres lets us in and answers a query."""
    try:
        _run_apart(_execute(url, "SELECT 1", {}))
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return False
    return True


def make_manager_role(superuser_url: str, password: str) -> None:
    """Make tenant-manager's role on our own Postgres, or give it its password again.

    Args:
        superuser_url: The superuser's way in.
        password: The role's password from now on.
    """
    settings = {"freehold.tenant_manager_password": password}
    _run_apart(_execute(superuser_url, BOOTSTRAP.read_text(), settings))


def examine_given(url: str) -> None:
    """Make sure that a server which somebody gave us will do, before anything relies on it.

    Raises:
        StackError: It does not answer, is too old, or its role may not do what it must.
    """
    try:
        version, may_create = _run_apart(_ask_about_role(url))
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        reason = str(error) or type(error).__name__
        raise StackError(
            f"The server in FREEHOLD_POSTGRES_URL does not let us in: {reason}"
        ) from error
    if version < LOWEST_POSTGRES:
        raise StackError(
            f"The server in FREEHOLD_POSTGRES_URL is PostgreSQL {version}; "
            f"{LOWEST_POSTGRES} or later is needed."
        )
    if not may_create:
        raise StackError(
            "The role in FREEHOLD_POSTGRES_URL cannot make databases and roles. As a superuser:\n"
            "  ALTER ROLE … CREATEDB CREATEROLE;"
        )


def _run_apart(work: Coroutine[Any, Any, _Answer]) -> _Answer:
    # A caller, a test for one, may have an event loop running in its own thread already.
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(asyncio.run, work).result()


async def _execute(url: str, sql: str, settings: dict[str, str]) -> None:
    connection = await asyncpg.connect(url, timeout=TIMEOUT_S, server_settings=settings)
    try:
        await connection.execute(sql, timeout=TIMEOUT_S)
    finally:
        await connection.close(timeout=TIMEOUT_S)


async def _ask_about_role(url: str) -> tuple[int, bool]:
    connection = await asyncpg.connect(url, timeout=TIMEOUT_S)
    try:
        may_create: bool = await connection.fetchval(
            "SELECT rolsuper OR (rolcreatedb AND rolcreaterole)"
            " FROM pg_roles WHERE rolname = current_user",
            timeout=TIMEOUT_S,
        )
        return connection.get_server_version().major, may_create
    finally:
        await connection.close(timeout=TIMEOUT_S)
