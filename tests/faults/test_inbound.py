"""Messages of `freehold.inbound` while something breaks: each is appended once, in the end."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from functools import partial
from urllib.parse import urlsplit
from uuid import uuid4

import aio_pika
import pytest
from aio_pika.abc import AbstractIncomingMessage

from freehold.messaging.topology import replies_queue
from support.clients import Tenant, event_body, event_of
from support.documents import Document
from support.locks import end_waiting_sessions, until_one_waits, waiting_for_a_lock
from support.machine import Machine
from support.servers import REPLICAS
from support.upstream import Upstream, accepted, kept_problem, upstream_of
from support.waiting import eventually

# More than ingest takes at a time by default.
MANY = 300
# As the stack of these tests is set up.
DEADLINE_S = 8
PAUSE_S = 0.025


async def test_ingest_killed_while_taking_messages_loses_and_doubles_nothing(
    machine: Machine, tenant: Tenant, other_tenant: Tenant
) -> None:
    async with flow_of(machine, [tenant, other_tenant]) as flow:
        for what_it_began_commits in (True, False):
            await flow.more(50)
            async with machine.locked(tenant) as blocking:
                # So that a message is at work when it dies, and others have just been taken.
                await until_one_waits(blocking)
                await flow.more(20)
                await machine.send("ingest", signal.SIGKILL)
                if not what_it_began_commits:
                    await end_waiting_sessions(blocking)
            await machine.wait_until_ready("ingest")
        await flow.more(50)
    await flow.arrives(machine)


async def test_ingest_stopped_while_taking_messages_finishes_those_it_took(
    machine: Machine, tenant: Tenant, other_tenant: Tenant
) -> None:
    async with flow_of(machine, [tenant, other_tenant]) as flow:
        await flow.more(100)
        await machine.replace("ingest", signal.SIGTERM)
        await flow.more(100)
    await flow.arrives(machine)


async def test_ingest_stopped_answers_the_message_it_has_begun(
    machine: Machine, upstream: Upstream, tenant: Tenant
) -> None:
    async with machine.ledger(tenant) as watching:
        async with machine.locked(tenant):
            asking = asyncio.create_task(upstream.ask(tenant, event_body()))
            await until_one_waits(watching)
            await machine.send("ingest", signal.SIGTERM)
        answer = await asking
    # A second delivery would have been answered as a repetition.
    assert answer.headers == {}
    await machine.wait_until_ready("ingest")
    await machine.assert_whole(tenant, [event_of(accepted(answer))])


async def test_a_broker_killed_while_messages_flow_loses_and_doubles_nothing(
    machine: Machine, tenant: Tenant, other_tenant: Tenant
) -> None:
    async with flow_of(machine, [tenant, other_tenant]) as flow:
        await flow.more(100)
        await machine.replace("rabbitmq", signal.SIGKILL)
        await flow.more(100)
    await flow.arrives(machine)


async def test_messages_wait_while_postgres_is_down(
    machine: Machine, upstream: Upstream, tenant: Tenant, other_tenant: Tenant
) -> None:
    # The copies that wait remember whose they are, and where the answers may go.
    user = str(urlsplit(machine.amqp_url).username)
    own = await upstream.channel.declare_queue(replies_queue(user), durable=True)
    async with flow_of(machine, [tenant, other_tenant]) as flow:
        await flow.more(50)
        before = await set_aside(machine)
        async with machine.without("postgres"):
            await upstream.publish(
                tenant.api_key, b"{", message_id="asks", reply_to=own.name, user_id=user
            )
            # Few: each failure of a tenant lengthens the pause that its messages wait.
            await flow.more(10)

            async def waiting() -> bool:
                return await set_aside(machine) > before + 10

            await eventually(waiting, "messages are set aside")
        await flow.more(50)
    await flow.arrives(machine)
    answer = await eventually(partial(own.get, fail=False), "the answer arrives")
    assert answer.headers["status"] == 400
    assert (await upstream.refused("asks")).headers["x-freehold-user"] == user
    await own.delete(if_unused=False, if_empty=False)


async def test_a_hanging_database_delays_no_other_tenant(
    machine: Machine, upstream: Upstream, tenant: Tenant, other_tenant: Tenant
) -> None:
    async with machine.locked(tenant):
        await publish_many(upstream, tenant)
        started = time.monotonic()
        for _ in range(3):
            accepted(await upstream.ask(other_tenant, event_body()))
        assert time.monotonic() - started < DEADLINE_S
    await arrive(machine, tenant, MANY)
    await arrive(machine, other_tenant, 3)


async def test_a_closed_database_delays_no_other_tenant(
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


async def test_a_tenant_over_their_limit_is_slowed_and_delays_no_other(
    machine: Machine, upstream: Upstream, tenant: Tenant, other_tenant: Tenant
) -> None:
    # Limits are those of one process.
    limits = {"events_per_s": 50 // REPLICAS, "requests_max": 2}
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


async def test_a_message_is_tried_again_after_an_unexpected_failure(
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
    await machine.assert_whole(tenant, [event_of(accepted(await asking))])


async def test_a_message_that_always_crashes_its_consumer_is_refused(
    machine: Machine, upstream: Upstream, tenant: Tenant
) -> None:
    message_id = uuid4().hex
    async with machine.locked(tenant) as blocking:
        await upstream.publish(tenant.api_key, event_body(), message_id=message_id)

        async def refused_or_tried() -> AbstractIncomingMessage | bool | None:
            refused = await upstream.take_refused(message_id)
            return refused or bool(await waiting_for_a_lock(blocking))

        deaths = 0
        what = "the append waits, or the message is refused"
        while (kept := await eventually(refused_or_tried, what)) is True and deaths <= 5:
            deaths += 1
            await machine.send_all("ingest", signal.SIGKILL)
            await end_waiting_sessions(blocking)
            await machine.wait_until_ready("ingest")
    assert isinstance(kept, AbstractIncomingMessage)
    # Each process may be given the message, and die, in the same round.
    assert 5 // REPLICAS <= deaths <= 5
    assert kept_problem(kept)["type"] == "/problems/internal"
    assert "authorization" not in kept.headers


class Flow:
    """What has been published so far, one event a message, and confirmed by the broker."""

    def __init__(self, tenants: Iterable[Tenant]) -> None:
        self.published = dict.fromkeys(tenants, 0)

    async def more(self, messages: int) -> None:
        """Wait until this many more have been published for each tenant."""
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
    """An event that differs from every other message's."""
    return event_body(amount_minor=number + 1, metadata={"key": f"{number}", "place": "0"})


async def publish_many(upstream: Upstream, tenant: Tenant) -> None:
    async with asyncio.TaskGroup() as group:
        for n in range(MANY):
            group.create_task(upstream.publish(tenant.api_key, marked(n), message_id=f"{n}"))


async def arrive(machine: Machine, tenant: Tenant, events: int) -> None:
    """Wait until a ledger has this number of events, then check that it is whole."""

    async def there() -> bool:
        answer = await tenant.get("/lag")
        return answer.status_code == 200 and answer.json()["head_seq"] >= events

    await eventually(there, f"{events} events arrive")
    await machine.assert_whole(tenant, [])
    assert (await tenant.lag()).head_seq == events


async def set_aside(machine: Machine) -> float:
    return await machine.metric(
        "ingest", "freehold_ingest_inbound_messages_total", result="set_aside"
    )
