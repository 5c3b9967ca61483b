"""The Python client while services come and go: nothing is doubled, and nothing missed."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from freehold_client import AsyncFreehold
from freehold_client.generated.models import LedgerEvent
from support.clients import Tenant
from support.live import until_balance
from support.machine import Machine


@pytest.fixture
async def client(machine: Machine, tenant: Tenant) -> AsyncIterator[AsyncFreehold]:
    at = machine.freehold.addresses
    async with AsyncFreehold(
        api_key=tenant.api_key, ingest_url=at.ingest, query_url=at.query
    ) as client:
        yield client


async def charge(client: AsyncFreehold) -> LedgerEvent:
    return await client.append_event(
        account_id="cus_42", event_type="CHARGE", amount_minor=1, currency="USD"
    )


async def test_appends_outlive_services_that_are_killed(
    machine: Machine, client: AsyncFreehold
) -> None:
    killed = asyncio.Event()
    events: list[LedgerEvent] = []

    async def append() -> None:
        while not killed.is_set():
            events.append(await charge(client))

    appending = asyncio.create_task(append())
    for _ in range(2):
        await machine.replace("ingest", signal.SIGKILL)
    killed.set()
    await appending

    # One after the other, each once: a second one would have taken a number of its own.
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    balance = await client.get_balance("cus_42", "USD", consistency="strong")
    assert balance.current_balance_minor == len(events)


async def test_a_stream_outlives_its_service(machine: Machine, client: AsyncFreehold) -> None:
    await charge(client)
    async with aclosing(client.stream_balances(snapshot=True)) as changes:
        await until_balance(changes, 1)
        async with machine.without("query"):
            await charge(client)
        await until_balance(changes, 2)
