"""A password that is replaced while services connect: the new one is looked up."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from urllib.parse import urlsplit

import asyncpg
import pytest

from freehold.contracts.errors import DomainError, Unavailable
from freehold.ledger.client import Connection
from freehold.ledger.schema import LEDGER_VERSION
from freehold.tenants.connections import TenantConnections
from freehold.tenants.homes import Home

ASKING = 20
CONNECTIONS_MAX = 2


class Keeper:
    """Knows where the tenant is at home now, and is slow to say so."""

    def __init__(self, home: Home | None) -> None:
        self.home = home
        self.asked = 0

    async def renewed(self, _: Home) -> Home | None:
        self.asked += 1
        await asyncio.sleep(0.01)
        return self.home


@pytest.fixture
async def superuser(postgres_url: str) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(postgres_url, timeout=10)
    yield connection
    await connection.close(timeout=10)


@pytest.fixture
async def home(postgres_url: str, superuser: Connection) -> AsyncIterator[Home]:
    """A home with the password that its role has."""
    parts = urlsplit(postgres_url)
    role, password = f"renewed_{secrets.token_hex(4)}", secrets.token_hex(8)
    await superuser.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{password}'")
    # Others who share the server may have closed it to PUBLIC.
    await superuser.execute(f"GRANT CONNECT ON DATABASE postgres TO {role}")
    host, port = parts.hostname or "localhost", parts.port or 5432
    yield Home("acme", 1, host, port, "postgres", "public", LEDGER_VERSION, role, password)
    await superuser.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


def connections_of(keeper: Keeper | None) -> TenantConnections:
    return TenantConnections(
        application="test",
        connections_max=CONNECTIONS_MAX,
        per_tenant_max=CONNECTIONS_MAX,
        idle_s=60,
        timeout_s=10,
        renew=None if keeper is None else keeper.renewed,
    )


async def ask(connections: TenantConnections, home: Home) -> int:
    async with connections.use(home) as connection:
        return int(await connection.fetchval("SELECT 1"))


async def test_a_login_with_the_old_password_is_repeated_with_the_new_one(home: Home) -> None:
    keeper = Keeper(home)
    connections = connections_of(keeper)
    old = replace(home, password="the old one")
    assert await asyncio.gather(*(ask(connections, old) for _ in range(ASKING))) == [1] * ASKING
    # Once for each connection, and not for each request.
    assert 1 <= keeper.asked <= CONNECTIONS_MAX
    await connections.close()


MOVED: dict[str, Callable[[Home], Home | None]] = {
    "there is no newer one": lambda home: home,
    "the tenant is gone": lambda _: None,
    "the tenant lives elsewhere": lambda home: replace(home, role="postgres", password="p"),
    "the newer one is wrong as well": lambda home: replace(home, password="also wrong"),
}


@pytest.mark.parametrize("keeping", MOVED.values(), ids=MOVED)
async def test_a_failed_login_frees_its_place(
    home: Home, keeping: Callable[[Home], Home | None]
) -> None:
    wrong = replace(home, password="wrong")
    keeper = Keeper(keeping(wrong))
    connections = connections_of(keeper)
    for _ in range(2 * CONNECTIONS_MAX):
        with pytest.raises(DomainError) as refused:
            await ask(connections, wrong)
        assert isinstance(refused.value, Unavailable)
    assert keeper.asked == 2 * CONNECTIONS_MAX
    assert await ask(connections, home) == 1
    await connections.close()


async def test_without_a_way_to_renew_it_a_wrong_password_is_final(home: Home) -> None:
    connections = connections_of(None)
    with pytest.raises(DomainError) as refused:
        await ask(connections, replace(home, password="wrong"))
    assert isinstance(refused.value, Unavailable)
    await connections.close()
