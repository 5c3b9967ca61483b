"""The budget of connections, as the server counts them: kept also where users give up."""

import asyncio
import secrets
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress

import asyncpg
import pytest

from freehold.ledger.client import Connection
from freehold.tenants.connections import TenantConnections
from freehold.tenants.homes import Home
from support.homes import new_home

APPLICATION = "test-of-the-budget"
BUDGET = 5
TENANTS = 10
USERS = 40
LOOK_EVERY_S = 0.002
WORK = ("SELECT pg_sleep(0.5)", "SELECT sum(n) FROM generate_series(1, 2000000) AS n", "SELECT 1")
# Shorter than most of the work, and some shorter than it takes to connect.
PATIENCE_S = (0.001, 0.01, 0.03, 0.06, 0.1)


@pytest.fixture
async def superuser(postgres_url: str) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(postgres_url, timeout=10, command_timeout=10)
    yield connection
    await connection.close(timeout=5)


@pytest.fixture
async def homes(postgres_url: str, superuser: Connection) -> AsyncIterator[list[Home]]:
    """Places to connect to. Roles will do: a connection serves one role in one database."""
    roles = [f"budget_{secrets.token_hex(4)}" for _ in range(TENANTS)]
    for role in roles:
        await superuser.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'of-a-test'")
        # Others who share the server may have closed it to PUBLIC.
        await superuser.execute(f"GRANT CONNECT ON DATABASE postgres TO {role}")
    yield [
        new_home(
            postgres_url,
            tenant_id=role,
            database="postgres",
            schema="public",
            role=role,
            password="of-a-test",
        )
        for role in roles
    ]
    for role in roles:
        await superuser.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


@pytest.fixture
async def connections(homes: list[Home]) -> AsyncIterator[TenantConnections]:
    connections = TenantConnections(
        application=APPLICATION, connections_max=BUDGET, per_tenant_max=2, idle_s=60, timeout_s=20
    )
    yield connections
    await connections.close()


async def test_the_budget_is_kept_where_users_give_up(
    connections: TenantConnections, homes: list[Home], superuser: Connection
) -> None:
    seen: Counter[int] = Counter()

    async def watch() -> None:
        while True:
            seen[await count_sessions(superuser)] += 1
            await asyncio.sleep(LOOK_EVERY_S)

    async def use_impatiently(user: int) -> None:
        for turn, patience_s in enumerate(PATIENCE_S):
            with suppress(TimeoutError):
                async with (
                    asyncio.timeout(patience_s),
                    connections.use(homes[user % TENANTS]) as connection,
                ):
                    await connection.execute(WORK[(user + turn) % len(WORK)])

    watching = asyncio.create_task(watch())
    await asyncio.gather(*(use_impatiently(user) for user in range(USERS)))
    # Waiting requests are served, whatever state the others left.
    for home in homes:
        async with connections.use(home) as connection:
            assert await connection.fetchval("SELECT current_user") == home.role
    watching.cancel()
    with suppress(asyncio.CancelledError):
        await watching
    assert max(seen) == BUDGET, seen


async def test_a_connection_whose_user_gave_up_while_it_opened_serves_another(
    connections: TenantConnections, homes: list[Home], superuser: Connection
) -> None:
    async def use() -> int:
        async with connections.use(homes[0]) as connection:
            return int(await connection.fetchval("SELECT pg_backend_pid()"))

    impatient = asyncio.create_task(use())
    # It has begun to connect, which takes longer than this.
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    impatient.cancel()
    await asyncio.gather(impatient, return_exceptions=True)
    async with asyncio.timeout(60):
        while not connections._idle:  # noqa: ASYNC110 (as others do)
            await asyncio.sleep(LOOK_EVERY_S)
    ((_, kept),) = next(iter(connections._idle.values()))
    assert await use() == kept.get_server_pid()
    assert await count_sessions(superuser) == 1


async def count_sessions(superuser: Connection) -> int:
    """Say how many sessions the connections have, as the server sees it."""
    return int(
        await superuser.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1", APPLICATION
        )
    )
