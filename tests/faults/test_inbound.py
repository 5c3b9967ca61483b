"""Messages of `freehold.inbound` while something breaks: each is appended once, in the end."""

import asyncio
import signal
import struct
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from uuid import uuid4

import aio_pika
import pytest

from freehold.ledger.client import Connection
from support.clients import Document, Tenant, event_body
from support.machine import Machine, waiting_for_a_lock
from support.upstream import Upstream, accepted, kept_problem, upstream_of
from support.waiting import eventually

# More than ingest takes at a time, unless it is told otherwise.
MANY = 300
# As the stack of these tests is set up.
DEADLINE_S = 4
PAUSE_S = 0.003


async def test_ingest_killed_amid_messages_loses_and_doubles_nothing(
    machine: Machine, tenant: Tenant, other_tenant: Tenant
) -> None:
    async with flow_of(machine, [tenant, other_tenant]) as flow, machine.ledger(tenant) as watching:
        for what_it_began_commits in (True, False):
            await flow.more(50)
            async with machine.ledger(tenant) as blocking, blocking.transaction():
                # So that a message is at work when it dies, and others have just been taken.
                await blocking.execute("SELECT FROM ledger_head FOR UPDATE")
                await eventually(partial(waiting_for_a_lock, watching), "an append waits")
                await flow.more(20)
                await machine.send("ingest", signal.SIGKILL)
                if not what_it_began_commits:
                    await end_whoever_waits(watching)
            await machine.wait_until_ready("ingest")
        await flow.more(50)
    await flow.arrives(machine)


async def test_ingest_told_to_stop_amid_messages_deals_with_what_it_took(
    machine: Machine, tenant: Tenant, other_tenant: Tenant
) -> None:
    async with flow_of(machine, [tenant, other_tenant]) as flow:
        await flow.more(100)
        await machine.replace("ingest", signal.SIGTERM)
        await flow.more(100)
    await flow.arrives(machine)


async def test_ingest_told_to_stop_answers_the_message_it_has_begun(
    machine: Machine, upstream: Upstream, tenant: Tenant
) -> None:
    async with machine.ledger(tenant) as watching:
        async with machine.ledger(tenant) as blocking, blocking.transaction():
            await blocking.execute("SELECT FROM ledger_head FOR UPDATE")
            asking = asyncio.create_task(upstream.ask(tenant, event_body()))
            await eventually(partial(waiting_for_a_lock, watching), "the append waits")
            await machine.send("ingest", signal.SIGTERM)
        answer = await asking
    # Whoever had it delivered again would have been told of a repetition.
    assert answer.headers == {}
    await machine.wait_until_ready("ingest")
    await machine.assert_whole(tenant, [accepted(answer)])


async def test_a_broker_that_dies_amid_messages_loses_and_doubles_nothing(
    machine: Machine, tenant: Tenant, other_tenant: Tenant
) -> None:
    async with flow_of(machine, [tenant, other_tenant]) as flow:
        await flow.more(100)
        await machine.replace("rabbitmq", signal.SIGKILL)
        await flow.more(100)
    await flow.arrives(machine)


async def test_while_postgres_is_away_messages_wait_and_then_arrive(
    machine: Machine, tenant: Tenant, other_tenant: Tenant
) -> None:
    async with flow_of(machine, [tenant, other_tenant]) as flow:
        await flow.more(50)
        before = await set_aside(machine)
        async with machine.without("postgres"):
            await flow.more(50)

            async def waiting() -> bool:
                return await set_aside(machine) > before + 50

            await eventually(waiting, "messages are set aside")
        await flow.more(50)
    await flow.arrives(machine)


async def test_a_tenant_whose_database_hangs_keeps_nobody_waiting(
    machine: Machine, upstream: Upstream, tenant: Tenant, other_tenant: Tenant
) -> None:
    async with machine.ledger(tenant) as blocking, blocking.transaction():
        await blocking.execute("SELECT FROM ledger_head FOR UPDATE")
        await publish_many(upstream, tenant)
        started = time.monotonic()
        for _ in range(3):
            accepted(await upstream.ask(other_tenant, event_body()))
        assert time.monotonic() - started < DEADLINE_S
    await arrive(machine, tenant, MANY)
    await arrive(machine, other_tenant, 3)


async def test_a_tenant_whose_database_is_shut_keeps_nobody_waiting(
    machine: Machine, upstream: Upstream, tenant: Tenant, other_tenant: Tenant
) -> None:
    async with machine.ledger(tenant) as ledger:
        database = await ledger.fetchval("SELECT current_database()")
    async with machine.catalog() as superuser:
        await superuser.execute(f"ALTER DATABASE {database} ALLOW_CONNECTIONS false")
        await superuser.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", database
        )
        await publish_many(upstream, tenant)
        started = time.monotonic()
        for _ in range(3):
            accepted(await upstream.ask(other_tenant, event_body()))
        assert time.monotonic() - started < DEADLINE_S
        await superuser.execute(f"ALTER DATABASE {database} ALLOW_CONNECTIONS true")
    await arrive(machine, tenant, MANY)
    await arrive(machine, other_tenant, 3)


async def test_a_tenant_over_their_limit_gets_in_what_it_allows_and_keeps_nobody_waiting(
    machine: Machine, upstream: Upstream, tenant: Tenant, other_tenant: Tenant
) -> None:
    limits = {"events_per_s": 50, "requests_max": 2}
    path = f"/tenants/{tenant.tenant_id}/limits"
    assert (await machine.freehold.manage("PUT", path, limits)).is_success
    started = time.monotonic()
    await publish_many(upstream, tenant)
    accepted(await upstream.ask(other_tenant, event_body()))
    assert time.monotonic() - started < DEADLINE_S
    await arrive(machine, tenant, MANY)
    # What may come at once is two seconds' worth.
    assert time.monotonic() - started > MANY / 50 - 2
    await arrive(machine, other_tenant, 1)


async def test_a_failure_that_nobody_foresaw_is_tried_again(
    machine: Machine, upstream: Upstream, tenant: Tenant
) -> None:
    async with machine.ledger(tenant) as ledger:
        await ledger.execute(
            "ALTER TABLE idempotency_keys ADD CONSTRAINT trouble"
            " CHECK (expires_at < '2000-01-01') NOT VALID"
        )
        before = await set_aside(machine)
        asking = asyncio.create_task(upstream.ask(tenant, event_body()))

        async def tried() -> bool:
            return await set_aside(machine) > before

        await eventually(tried, "the message waits")
        await ledger.execute("ALTER TABLE idempotency_keys DROP CONSTRAINT trouble")
    await machine.assert_whole(tenant, [accepted(await asking)])


async def test_a_message_that_breaks_every_link_is_refused_and_its_neighbours_arrive(
    machine: Machine, upstream: Upstream, tenant: Tenant
) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    seconds = int(now.timestamp())
    message = aio_pika.Message(b"{}", message_id=uuid4().hex, timestamp=now)
    # Microseconds, where the protocol has seconds: no date that the driver could read.
    forged = message.properties.marshal().replace(
        struct.pack(">Q", seconds), struct.pack(">Q", seconds * 10**6)
    )
    async with machine.without("ingest"):
        for n in range(10):
            if n == 5:
                await upstream.publish_raw(message.body, forged)
            await upstream.publish(tenant.api_key, marked(n), message_id=f"{n}")
    await arrive(machine, tenant, 10)

    async def refused() -> bool:
        return await upstream.refused_count() == 1

    await eventually(refused, "the broker has refused the message")
    # Our driver cannot read it there either.
    await upstream.purge_refused()


async def test_a_message_that_its_consumer_never_survives_is_refused_with_the_reason(
    machine: Machine, upstream: Upstream, tenant: Tenant
) -> None:
    message_id = uuid4().hex
    async with (
        machine.ledger(tenant) as watching,
        machine.ledger(tenant) as blocking,
        blocking.transaction(),
    ):
        await blocking.execute("SELECT FROM ledger_head FOR UPDATE")
        await upstream.publish(tenant.api_key, event_body(), message_id=message_id)
        for _ in range(5):
            await eventually(partial(waiting_for_a_lock, watching), "the append waits")
            await machine.send("ingest", signal.SIGKILL)
            await end_whoever_waits(watching)
            await machine.wait_until_ready("ingest")
        kept = await upstream.refused(message_id)
    assert kept_problem(kept)["type"] == "/problems/internal"
    assert "authorization" not in kept.headers


class Flow:
    """What has been published so far, one event a message, and confirmed by the broker."""

    def __init__(self, tenants: Iterable[Tenant]) -> None:
        self.published = dict.fromkeys(tenants, 0)

    async def more(self, messages: int) -> None:
        """Wait until so many more have been published for each tenant."""
        wanted = min(self.published.values()) + messages

        async def enough() -> bool:
            return min(self.published.values()) >= wanted

        await eventually(enough, f"{messages} more messages are published")

    async def arrives(self, machine: Machine) -> None:
        """Wait until all of it stands in the ledgers, each event once."""
        for tenant, messages in self.published.items():
            assert messages
            await arrive(machine, tenant, messages)


@asynccontextmanager
async def flow_of(machine: Machine, tenants: Iterable[Tenant]) -> AsyncIterator[Flow]:
    """Have an app publish without pause for a while, and again what was not confirmed."""
    flow = Flow(tenants)
    done = asyncio.Event()

    async def publish() -> None:
        while not done.is_set():
            try:
                async with upstream_of(machine.amqp_url) as upstream:
                    while not done.is_set():
                        for tenant, number in flow.published.items():
                            body = marked(number)
                            await upstream.publish(tenant.api_key, body, message_id=f"{number}")
                            flow.published[tenant] = number + 1
                        await asyncio.sleep(PAUSE_S)
            except (*aio_pika.exceptions.CONNECTION_EXCEPTIONS, TimeoutError):
                # The driver is untidy about a connection that never came about.
                await machine.wait_until_ready("rabbitmq")

    publishing = asyncio.create_task(publish())
    try:
        yield flow
    finally:
        done.set()
        await publishing


@pytest.fixture
async def upstream(machine: Machine) -> AsyncIterator[Upstream]:
    async with upstream_of(machine.amqp_url) as upstream:
        yield upstream


def marked(number: int) -> Document:
    """An event that can be told from what another message makes."""
    return event_body(amount_minor=number + 1, metadata={"key": f"{number}", "place": "0"})


async def publish_many(upstream: Upstream, tenant: Tenant) -> None:
    async with asyncio.TaskGroup() as group:
        for n in range(MANY):
            group.create_task(upstream.publish(tenant.api_key, marked(n), message_id=f"{n}"))


async def arrive(machine: Machine, tenant: Tenant, events: int) -> None:
    """Wait until a ledger has so many events; then hold it to that."""

    async def there() -> bool:
        answer = await tenant.get("/lag")
        return answer.status_code == 200 and answer.json()["head_seq"] >= events

    await eventually(there, f"{events} events arrive")
    await machine.assert_whole(tenant, [])
    assert (await tenant.lag())["head_seq"] == events


async def end_whoever_waits(connection: Connection) -> None:
    """End the sessions in this connection's database that wait for a lock."""
    await connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )


async def set_aside(machine: Machine) -> float:
    return await machine.metric(
        "ingest", "freehold_ingest_inbound_messages_total", result="set_aside"
    )
