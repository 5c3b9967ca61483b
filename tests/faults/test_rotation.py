"""Passwords replaced under load, where connections come and go: nobody notices."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator

import pytest

from freehold_local.stack import Stack
from support.clients import Tenant, found, reaching
from support.load import load_on
from support.machine import Machine
from support.stacks import addresses_of, private_stack

TENANTS = 4
ROUNDS = 12
# Fewer than there are tenants: whoever is served next has to log in first.
SETTINGS = {
    service: {"FREEHOLD_CONNECTIONS_MAX": "2", "FREEHOLD_CONNECTIONS_PER_TENANT_MAX": "1"}
    for service in ("ingest", "query", "projector")
}


@pytest.fixture(scope="module")
def narrow_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with private_stack(tmp_path_factory.mktemp("rotation"), SETTINGS, durable=False) as stack:
        yield stack


@pytest.fixture
async def narrow_machine(narrow_stack: Stack) -> AsyncIterator[Machine]:
    async with reaching(addresses_of(narrow_stack)) as freehold:
        yield Machine(narrow_stack, freehold)


async def test_no_request_fails_while_passwords_are_replaced(narrow_machine: Machine) -> None:
    tenants = [await narrow_machine.new_tenant() for _ in range(TENANTS)]
    for tenant in tenants:
        await tenant.append()
    opened = await logins(narrow_machine)
    statuses: Counter[int] = Counter()
    async with asyncio.TaskGroup() as group, load_on(tenants) as load:
        done = asyncio.Event()
        for tenant in tenants:
            group.create_task(read(tenant, statuses, done))
        await load.more(20)
        for _ in range(ROUNDS):
            for tenant in tenants:
                path = f"/tenants/{tenant.tenant_id}/credentials/rotate"
                rotated = found(await narrow_machine.freehold.manage("POST", path))
                assert {"ingest", "query", "projector"} <= set(rotated["services"])
            await load.more(20)
        done.set()
    assert load.refusals == {}
    assert set(statuses) == {200}
    # There were logins to go wrong.
    assert await logins(narrow_machine) - opened > TENANTS * ROUNDS
    for tenant in tenants:
        await narrow_machine.assert_whole(tenant, load.acknowledged[tenant.tenant_id])


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
