"""Customers' sessions that hold up others: each is ended, and the others go on."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import timedelta

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from freehold.ledger.client import Connection
from freehold.tenants.catalog import Catalog
from freehold_tenant_manager.server import customer_sessions
from freehold_tenant_manager.server.customer_sessions import CustomerSessions
from freehold_tenant_manager.server.roles import CUSTOMER, USUAL_BOUNDS, CustomerBounds
from integration.tenant_manager.installation import Installation, components_of
from integration.tenant_manager.ledgers import connection_of
from support.waiting import eventually

SHORT = CustomerBounds(transaction_s=1, idle_in_transaction_s=1, idle_s=1)


@pytest.fixture
async def session(app: FastAPI, tenant_id: str) -> AsyncIterator[Connection]:
    """A customer's session, which may be ended."""
    async with entered(app, tenant_id) as connection:
        yield connection


@asynccontextmanager
async def entered(app: FastAPI, tenant_id: str) -> AsyncIterator[Connection]:
    with suppress(asyncpg.PostgresError, asyncpg.InterfaceError):
        async with connection_of(app, tenant_id, CUSTOMER) as connection:
            yield connection


def watch_of(app: FastAPI, bounds: CustomerBounds, sessions_max: int = 100) -> CustomerSessions:
    return CustomerSessions(components_of(app).find(Catalog), bounds, sessions_max=sessions_max)


async def is_ended(watch: CustomerSessions, session: Connection) -> None:
    async def gone() -> bool:
        await watch.watch()
        return session.is_closed()

    await eventually(gone, "the session is ended")


@pytest.mark.parametrize("entitled", [True, False])
@pytest.mark.parametrize(
    "bounds", [CustomerBounds(transaction_s=1), CustomerBounds(idle_in_transaction_s=1)]
)
async def test_a_transaction_that_does_not_end_is_ended(
    app: FastAPI,
    session: Connection,
    installation: Installation,
    bounds: CustomerBounds,
    *,
    entitled: bool,
) -> None:
    for setting in ("statement_timeout", "idle_in_transaction_session_timeout"):
        await session.execute(f"SET {setting} TO 0")
    await session.execute("BEGIN; LOCK TABLE ledger_events IN ACCESS SHARE MODE")
    async with installation.superuser() as superuser:
        if not entitled:
            await superuser.execute(f"REVOKE pg_signal_backend FROM {installation.role}")
        try:
            await is_ended(watch_of(app, bounds), session)
        finally:
            await superuser.execute(f"GRANT pg_signal_backend TO {installation.role}")
    async with components_of(app).find(Catalog).connection() as catalog:
        joined = await catalog.fetchval(
            "SELECT count(*) FROM pg_auth_members AS m INNER JOIN pg_roles AS r ON r.oid = m.roleid"
            " WHERE m.member = to_regrole(current_user) AND r.rolname LIKE '%\\_auditor'"
            " AND pg_has_role(r.oid, 'USAGE')"
        )
    assert joined == 0


async def test_a_statement_that_does_not_end_is_ended(app: FastAPI, session: Connection) -> None:
    await session.execute("SET statement_timeout TO 0")
    asked = asyncio.create_task(session.execute("SELECT pg_sleep(600)"))
    await is_ended(watch_of(app, SHORT), session)
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await asked


async def test_an_idle_session_is_ended(app: FastAPI, session: Connection) -> None:
    await session.execute("SET idle_session_timeout TO 0")
    await watch_of(app, USUAL_BOUNDS).watch()
    assert not session.is_closed()
    await is_ended(watch_of(app, SHORT), session)


async def test_a_change_of_the_role_that_is_kept_open_is_ended(
    app: FastAPI, session: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once = customer_sessions._QUERIES["end_sessions"].replace("'10 s'", "'0 s'")
    monkeypatch.setitem(customer_sessions._QUERIES, "end_sessions", at_once)
    await session.execute("BEGIN; ALTER ROLE CURRENT_USER SET work_mem TO '1MB'")
    await is_ended(watch_of(app, USUAL_BOUNDS), session)


async def test_a_session_that_blocks_connections_to_another_database_is_ended_and_locked_out(
    app: FastAPI, tenant_id: str, session: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = components_of(app).find(Catalog)
    async with catalog.connection() as connection:
        other = await connection.fetchval("SELECT current_database()")
    watch = watch_of(app, USUAL_BOUNDS)
    await session.execute(
        f'BEGIN; ALTER ROLE CURRENT_USER IN DATABASE "{other}" RESET work_mem; SELECT 1'
    )
    async with entered(app, tenant_id) as second:
        asked = asyncio.create_task(second.execute(f'DROP DATABASE "{other}"'))
        await is_ended(watch, second)
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
            await asked
    await is_ended(watch, session)
    with pytest.raises(asyncpg.InvalidPasswordError):
        async with connection_of(app, tenant_id, CUSTOMER):
            pass
    await watch.watch()
    with pytest.raises(asyncpg.InvalidPasswordError):
        async with connection_of(app, tenant_id, CUSTOMER):
            pass
    monkeypatch.setattr(customer_sessions, "_LOCKED_OUT", timedelta(0))
    await watch.watch()
    async with connection_of(app, tenant_id, CUSTOMER) as again:
        assert await again.fetchval("SELECT 1") == 1


async def test_a_role_that_keeps_changing_its_settings_is_locked_out(
    app: FastAPI, session: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = watch_of(app, USUAL_BOUNDS)
    for number in range(10):
        await watch.watch()
        await session.execute(f"ALTER ROLE CURRENT_USER SET work_mem TO '{number + 1}MB'")
    await watch.watch()
    assert await session.fetchval("SELECT 1") == 1
    monkeypatch.setattr(customer_sessions, "_CHANGES_MAX", 9)
    await is_ended(watch, session)
    monkeypatch.setattr(customer_sessions, "_LOCKED_OUT", timedelta(0))
    await watch.watch()


async def test_a_lock_on_another_database_that_is_kept_is_ended(
    app: FastAPI, session: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once = customer_sessions._QUERIES["end_sessions"].replace("'10 s'", "'0 s'")
    monkeypatch.setitem(customer_sessions._QUERIES, "end_sessions", at_once)
    await session.execute(
        "BEGIN; ALTER ROLE CURRENT_USER IN DATABASE postgres RESET work_mem; SELECT 1"
    )
    await is_ended(watch_of(app, USUAL_BOUNDS), session)


async def test_a_session_that_blocks_the_notification_queue_is_ended(
    app: FastAPI, session: Connection, tenant_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(customer_sessions, "_QUEUE_USAGE_MAX", 0.0)
    await session.execute("LISTEN mine")
    await session.execute("BEGIN; SELECT 1")
    async with connection_of(app, tenant_id, CUSTOMER) as other:
        notices = "".join(f"NOTIFY mine_{n}, '{'x' * 7900}';" for n in range(100))
        await other.execute(notices)
        assert not other.is_closed()
        await is_ended(watch_of(app, USUAL_BOUNDS), session)
        assert await other.fetchval("SELECT 1") == 1


async def test_of_too_many_sessions_those_that_wait_longest_are_ended(
    app: FastAPI, tenant_id: str
) -> None:
    async with AsyncExitStack() as stack:
        sessions = []
        for _ in range(3):
            session = await stack.enter_async_context(entered(app, tenant_id))
            await session.execute("SELECT 1")
            sessions.append(session)
        await sessions[0].execute("BEGIN; SELECT 1")
        await is_ended(watch_of(app, USUAL_BOUNDS, sessions_max=2), sessions[1])
        assert not sessions[0].is_closed()
        assert await sessions[2].fetchval("SELECT 1") == 1


async def test_a_role_of_an_earlier_release_is_limited_and_its_settings_are_bounded(
    app: FastAPI, installation: Installation, tenant_id: str, session: Connection
) -> None:
    role = await session.fetchval("SELECT current_user")
    async with installation.superuser() as superuser:
        await superuser.execute(f"ALTER ROLE {role} RESET ALL")
        await watch_of(app, USUAL_BOUNDS).watch()
        assert "temp_file_limit=1024MB" in await _settings(superuser, role)
        await session.execute(f"ALTER ROLE CURRENT_USER SET search_path TO '{'x' * 20_000}'")
        await watch_of(app, USUAL_BOUNDS).watch()
        kept = await _settings(superuser, role)
        assert "temp_file_limit=1024MB" in kept
        assert not any(setting.startswith("search_path") for setting in kept)
        await session.execute(
            f"ALTER ROLE CURRENT_USER IN DATABASE postgres SET search_path TO '{'x' * 20_000}'"
        )
        await watch_of(app, USUAL_BOUNDS).watch()
        elsewhere = (
            "SELECT FROM pg_db_role_setting WHERE setrole = to_regrole($1) AND setdatabase > 0"
        )
        assert await superuser.fetch(elsewhere, role) == []


async def test_an_open_transaction_does_not_stop_a_password_rotation(
    manager: httpx.AsyncClient, tenant_id: str, session: Connection
) -> None:
    await session.execute("BEGIN; ALTER ROLE CURRENT_USER PASSWORD 'mine'")
    path = f"/v1/tenants/{tenant_id}/credentials"
    answer = await manager.post(f"{path}/rotate", json={"service": "auditor"})
    assert answer.json()["services"] == ["auditor"]
    again = await asyncpg.connect((await manager.get(path)).json()["dsn"], timeout=10)
    await again.close(timeout=10)


async def _settings(superuser: Connection, role: str) -> list[str]:
    kept: list[str] = await superuser.fetchval(
        "SELECT rolconfig FROM pg_roles WHERE rolname = $1", role
    )
    return kept
