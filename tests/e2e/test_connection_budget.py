"""Far more tenants at work than there are connections: all are served, and the budget is kept.

The server itself is asked who is connected, again and again while the load runs. Where connections
come and go like that, passwords are replaced without a failed request.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress

import pytest

from freehold_local.stack import Stack
from support.answers import created, found
from support.clients import Tenant, event_body, reaching
from support.load import load_on
from support.machine import Machine
from support.stacks import addresses_of, private_stack

TENANTS = 60
ROUNDS = 2
ROTATED_TENANTS = 12
ROTATIONS = 4
MADE_AT_ONCE = 4
LOOK_EVERY_S = 0.005
# Together the budget of 20; tenant-manager archives as the role for backups, and samples usage as
# its own.
BUDGETS = {"ingest": 6, "projector": 5, "query": 5, "backup": 2, "manager": 2}
# All requests of a round come at once, and each needs a new connection. That this takes its time on
# a busy machine is no reason to refuse one. No scheduled work opens connections meanwhile.
MORE_SETTINGS = {
    "ingest": {"FREEHOLD_REQUEST_TIMEOUT_S": "50"},
    "projector": {"FREEHOLD_RECONCILE_EVERY_S": "86400"},
    "query": {"FREEHOLD_REQUEST_TIMEOUT_S": "50", "FREEHOLD_DATABASE_TIMEOUT_S": "45"},
}
SETTINGS = {
    "tenant-manager": {
        "FREEHOLD_ARCHIVE_CONNECTIONS_MAX": str(BUDGETS["backup"]),
        "FREEHOLD_ARCHIVE_IN_FLIGHT_MAX": str(BUDGETS["backup"]),
        "FREEHOLD_BACKUP_EVERY_S": "0",
        "FREEHOLD_POOL_SIZE": "0",
        "FREEHOLD_TENANT_CONNECTIONS_MAX": str(BUDGETS["manager"]),
    },
    **{
        service: {"FREEHOLD_CONNECTIONS_MAX": str(BUDGETS[service]), **more}
        for service, more in MORE_SETTINGS.items()
    },
}

pytestmark = pytest.mark.local


@pytest.fixture(scope="module")
def scarce_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with private_stack(tmp_path_factory.mktemp("scarce"), SETTINGS, durable=False) as stack:
        yield stack


@pytest.fixture(scope="module")
async def machine(scarce_stack: Stack) -> AsyncIterator[Machine]:
    async with reaching(addresses_of(scarce_stack), crowded=True) as freehold:
        yield Machine(scarce_stack, freehold)


@pytest.fixture(scope="module")
async def tenants(machine: Machine) -> list[Tenant]:
    makers = asyncio.Semaphore(MADE_AT_ONCE)

    async def make() -> Tenant:
        async with makers:
            return await machine.freehold.new_tenant()

    return list(await asyncio.gather(*(make() for _ in range(TENANTS))))


class Watch:
    """The most sessions that the server ever had in tenants' databases, by service and in all."""

    def __init__(self) -> None:
        self.looks = 0
        self.most: Counter[str] = Counter()
        self.most_in_all = 0

    def saw(self, sessions: dict[str, int]) -> None:
        self.looks += 1
        self.most |= Counter(sessions)
        self.most_in_all = max(self.most_in_all, sum(sessions.values()))


@asynccontextmanager
async def watched(machine: Machine) -> AsyncIterator[Watch]:
    """Count the services' sessions in tenants' databases for a while."""
    watch = Watch()

    async def look() -> None:
        async with machine.catalog() as catalog:
            while True:
                rows = await catalog.fetch(
                    "SELECT substring(usename FROM '[a-z]+$') AS service, count(*) AS sessions"
                    " FROM pg_stat_activity"
                    " WHERE backend_type = 'client backend'"
                    " AND datname IN (SELECT database_name FROM tenants) GROUP BY service"
                )
                watch.saw({row["service"]: row["sessions"] for row in rows})
                await asyncio.sleep(LOOK_EVERY_S)

    looking = asyncio.create_task(look())
    try:
        yield watch
    finally:
        looking.cancel()
        with suppress(asyncio.CancelledError):
            await looking


async def test_sixty_tenants_are_served_with_twenty_connections(
    machine: Machine, tenants: list[Tenant]
) -> None:
    async def work(tenant: Tenant) -> None:
        for number in range(1, ROUNDS + 1):
            created(await tenant.post("/events", event_body(amount_minor=100)))
            answer = await tenant.get("/accounts/cus_42/balances", consistency="strong")
            assert found(answer)["balances"][0]["current_balance_minor"] == 100 * number

    async with watched(machine) as watch:
        # Every request of every tenant is answered as if there were no others: a failure raises.
        await asyncio.gather(*(work(tenant) for tenant in tenants))
        await asyncio.gather(*(tenant.caught_up() for tenant in tenants))
    assert watch.looks > 20
    assert watch.most <= Counter(BUDGETS), watch.most
    assert watch.most_in_all <= sum(BUDGETS.values())
    # They were as many as may be: it is the budget that kept them from being more.
    assert watch.most["ingest"] == BUDGETS["ingest"]
    assert watch.most["query"] == BUDGETS["query"]


async def test_no_request_fails_while_passwords_are_replaced(machine: Machine) -> None:
    # More than there are connections, so that most requests need a new login.
    tenants = [await machine.new_tenant() for _ in range(ROTATED_TENANTS)]
    for tenant in tenants:
        await tenant.append()
    opened = await logins(machine)
    statuses: Counter[int] = Counter()
    async with asyncio.TaskGroup() as group, load_on(tenants) as load:
        done = asyncio.Event()
        for tenant in tenants:
            group.create_task(read(tenant, statuses, done))
        await load.more(20)
        for _ in range(ROTATIONS):
            for tenant in tenants:
                path = f"/tenants/{tenant.tenant_id}/credentials/rotate"
                rotated = found(await machine.freehold.manage("POST", path))
                assert {"ingest", "query", "projector"} <= set(rotated["services"])
            await load.more(20)
        done.set()
    assert load.refusals == {}
    assert set(statuses) == {200}
    # There were logins to go wrong.
    assert await logins(machine) - opened > ROTATED_TENANTS * ROTATIONS
    await machine.assert_each_whole(load.acknowledged)


async def read(tenant: Tenant, statuses: Counter[int], done: asyncio.Event) -> None:
    while not done.is_set():
        statuses[(await tenant.get("/balances", limit=1)).status_code] += 1
        await asyncio.sleep(0.01)


async def logins(machine: Machine) -> float:
    """How many connections to tenants' databases ingest and query have opened."""
    return sum(
        [
            await machine.metric(service, "freehold_tenant_connections_opened_total")
            for service in ("ingest", "query")
        ]
    )
