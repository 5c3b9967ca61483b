"""Doorbells doubled, disordered, forged or broken: at worst they are parked, never believed."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import aio_pika
import pytest
from aio_pika.abc import AbstractChannel

from freehold.contracts.messages import Appended, LedgerRange
from freehold.messaging.topology import LEDGER_EXCHANGE, PARKED_QUEUE, appended_key
from freehold_client.generated.models import LedgerEvent
from support.archive import is_archived
from support.clients import Tenant, event_body
from support.commands import freehold
from support.documents import Document
from support.locks import until_one_waits
from support.machine import Machine
from support.waiting import PATIENCE_S, eventually

REASON = "x-freehold-reason"
FLOOD = 3_000


async def test_doorbells_doubled_and_out_of_order_change_nothing(
    machine: Machine, broker: AbstractChannel, tenant: Tenant
) -> None:
    events = await tenant.append_batch([event_body(amount_minor=n) for n in range(1, 11)])
    await tenant.caught_up()
    bells = [doorbell(tenant, event) for event in events]
    for bell in [*reversed(bells), *bells, bells[0], bells[0]]:
        await ring(broker, tenant, bell)
    await everything_served(broker)
    assert await tenant.balances("cus_42") == {"USD": 55}
    await machine.assert_whole(tenant, events)


@pytest.mark.parametrize(
    "forgery",
    [
        {"first_seq": 10**9, "last_seq": 10**12},
        {"epoch": 1, "first_seq": 1, "last_seq": 1, "last_event_id": str(uuid4())},
        {"epoch": 999},
        {"first_seq": 3, "last_seq": 1},
        {"head_hash": "0" * 64},
    ],
    ids=["far ahead", "unknown event", "another epoch", "backwards", "another hash"],
)
async def test_a_forged_doorbell_is_not_believed(
    machine: Machine, broker: AbstractChannel, tenant: Tenant, forgery: Document
) -> None:
    event = await tenant.append(amount_minor=5)
    await tenant.caught_up()
    bell = doorbell(tenant, event)
    bell["data"] |= forgery
    await ring(broker, tenant, bell)
    await everything_served(broker)
    assert await tenant.balances("cus_42") == {"USD": 5}
    later = await tenant.append(amount_minor=6)
    await machine.assert_whole(tenant, [event, later])
    assert bell["id"] not in await parked(broker)


async def test_a_flood_of_doorbells_for_one_tenant_does_not_stop_archiving_another(
    machine: Machine, broker: AbstractChannel, tenant: Tenant, other_tenant: Tenant
) -> None:
    event = await tenant.append()
    await is_archived(machine, tenant, 1)
    bell = doorbell(tenant, event)
    await asyncio.gather(*(ring(broker, tenant, bell) for _ in range(FLOOD)))
    await other_tenant.append()
    begun = asyncio.get_running_loop().time()
    await is_archived(machine, other_tenant, 1)
    assert asyncio.get_running_loop().time() - begun < 5


async def test_a_flood_of_doorbells_for_a_locked_tenant_does_not_stop_projecting_another(
    machine: Machine, broker: AbstractChannel, tenant: Tenant, other_tenant: Tenant
) -> None:
    async with machine.locked(tenant, "projection_checkpoint") as blocking:
        event = await tenant.append()
        await until_one_waits(blocking)
        bell = doorbell(tenant, event)
        await asyncio.gather(*(ring(broker, tenant, bell) for _ in range(FLOOD)))
        theirs = await other_tenant.append()
        async with asyncio.timeout(PATIENCE_S):
            await other_tenant.caught_up()
        assert (await tenant.lag()).events_behind == 1
    await machine.assert_whole(tenant, [event])
    await machine.assert_whole(other_tenant, [theirs])


async def test_a_doorbell_with_another_tenants_routing_key_projects_its_own_tenant(
    machine: Machine, broker: AbstractChannel, tenant: Tenant, other_tenant: Tenant
) -> None:
    event = await tenant.append()
    await ring(broker, other_tenant, doorbell(tenant, event))
    await everything_served(broker)
    await machine.assert_whole(tenant, [event])
    assert (await other_tenant.lag()).head_seq == 0


UNKNOWN = "unknown-tenant"
BROKEN: dict[str, tuple[bytes | Document, str]] = {
    "not JSON": (b"{", "not a doorbell"),
    "empty": (b"", "not a doorbell"),
    "not text": (b"\xff\xfe", "not a doorbell"),
    "no object": (b"[]", "not a doorbell"),
    "no tenant": ({"subject": None}, "not a doorbell"),
    "a tenant's id that cannot be": ({"subject": "../../etc"}, "not a doorbell"),
    "another version": ({"type": "freehold.ledger.appended.v2"}, "not a doorbell"),
    "a member too many": ({"amount_minor": 7}, "not a doorbell"),
    "an unknown tenant": ({"subject": UNKNOWN}, UNKNOWN),
}


@pytest.mark.parametrize(("broken", "reason"), BROKEN.values(), ids=BROKEN)
async def test_a_doorbell_that_cannot_be_processed_is_parked_with_the_reason(
    machine: Machine,
    broker: AbstractChannel,
    pestered: Tenant,
    broken: bytes | Document,
    reason: str,
) -> None:
    event = await pestered.append()
    message_id = uuid4().hex
    body = broken if isinstance(broken, bytes) else {**doorbell(pestered, event), **broken}
    await ring(broker, pestered, body, message_id=message_id)

    async def there() -> str | None:
        return (await parked(broker)).get(message_id)

    assert reason in await eventually(there, "the doorbell is parked")
    # No request waits for it.
    await machine.assert_whole(pestered, [event])


async def test_a_failing_tenants_doorbells_are_parked_and_redriven_and_delay_no_other(
    machine: Machine, broker: AbstractChannel, tenant: Tenant, other_tenant: Tenant
) -> None:
    hopeless = uuid4().hex
    await ring(broker, tenant, b"{", message_id=hopeless)
    async with machine.ledger(tenant) as ledger:
        # A fault of the tenant's own, in their database.
        await ledger.execute(
            "ALTER TABLE account_balances ADD CONSTRAINT trouble CHECK (event_count < 0)"
        )
        event = await tenant.append()
        theirs = await other_tenant.append()
        await other_tenant.caught_up()

        async def in_trouble() -> list[str]:
            reasons = await parked(broker)
            return [reason for reason in reasons.values() if "trouble" in reason]

        (reason,) = await eventually(in_trouble, "the doorbell is parked")
        assert "after 3 tries" in reason
        assert (await tenant.lag()).events_behind == 1
        await ledger.execute("ALTER TABLE account_balances DROP CONSTRAINT trouble")
    waiting = await parked(broker)
    assert hopeless in waiting
    # It ends although what stays broken is parked again meanwhile.
    assert await redrive(machine) == f"{len(waiting)} doorbells put back"
    await machine.assert_whole(tenant, [event])
    await machine.assert_whole(other_tenant, [theirs])

    async def parked_again() -> bool:
        left = await parked(broker)
        return "not a doorbell" in left.get(hopeless, "") and "trouble" not in str(left)

    await eventually(parked_again, "what cannot be mended is parked again")
    assert await redrive(machine, "--limit", "1") == "1 doorbells put back"


async def test_an_operator_redrives_over_http(
    machine: Machine, broker: AbstractChannel, tenant: Tenant
) -> None:
    operator = machine.freehold.addresses.operator
    # Nothing of what other tests have left there is in the way.
    while await freehold_redriven(operator):
        await asyncio.sleep(0.5)
        async with channel_of(machine) as channel:
            await (await channel.get_queue(PARKED_QUEUE, ensure=False)).purge()
    hopeless = [uuid4().hex for _ in range(3)]
    for message_id in hopeless:
        await ring(broker, tenant, b"{", message_id=message_id)

    async def all_parked() -> bool:
        return set(hopeless) <= set(await parked(broker))

    await eventually(all_parked, "they are parked")
    shown = await freehold("status", "--json", environment=operator)
    assert json.loads(shown.out)["installation"]["overview"]["parked_doorbells"] == 3
    assert "parked doorbells: 3 (freehold redrive)" in json.loads(shown.out)["faults"]
    assert shown.code == 1
    assert await freehold_redriven(operator, "--limit", "2") == 2
    await eventually(all_parked, "they are parked again")
    # It ends although each comes back at once.
    assert await freehold_redriven(operator) == 3


async def test_redriving_over_http_waits_for_the_broker(machine: Machine) -> None:
    async with machine.without("rabbitmq"):
        asked = await machine.freehold.manage("POST", "/doorbells/redrive", {})
        assert asked.status_code == 202, asked.text
        await asyncio.sleep(1)
    words = ("operations", "wait", asked.json()["operation_id"], "--json")
    ended = await freehold(*words, environment=machine.freehold.addresses.operator)
    assert ended.code == 0, ended.err
    assert json.loads(ended.out)["status"] == "succeeded"


async def test_redrive_without_a_broker_fails_with_the_reason(machine: Machine) -> None:
    nowhere = "amqp://user:password@127.0.0.1:1/"
    status, said, complained = await run_redrive(machine, nowhere)
    assert (status, said) == (1, "")
    assert "the broker does not answer" in complained


@pytest.fixture(scope="module")
async def pestered(machine_at_large: Machine) -> Tenant:
    """A tenant in whose name broken doorbells are rung."""
    return await machine_at_large.new_tenant()


@pytest.fixture
async def broker(machine: Machine) -> AsyncIterator[AbstractChannel]:
    """The broker as anybody reaches it who has its password."""
    async with channel_of(machine) as channel:
        yield channel


@asynccontextmanager
async def channel_of(machine: Machine) -> AsyncIterator[AbstractChannel]:
    connection = await aio_pika.connect(machine.amqp_url, timeout=10)
    async with connection:
        yield await connection.channel()


def doorbell(tenant: Tenant, event: LedgerEvent) -> Document:
    """The doorbell that ingest rings for an event."""
    bell = Appended(
        subject=tenant.tenant_id,
        data=LedgerRange(
            epoch=1,
            first_seq=event.seq,
            last_seq=event.seq,
            last_event_id=event.event_id,
            head_hash=event.hash,
        ),
    )
    document: Document = json.loads(bell.model_dump_json())
    return document


async def ring(
    broker: AbstractChannel,
    tenant: Tenant,
    bell: bytes | Document,
    *,
    message_id: str | None = None,
) -> None:
    exchange = await broker.get_exchange(LEDGER_EXCHANGE, ensure=False)
    body = bell if isinstance(bell, bytes) else json.dumps(bell).encode()
    message = aio_pika.Message(body, message_id=message_id or uuid4().hex)
    await exchange.publish(message, appended_key(tenant.tenant_id), timeout=10)


async def parked(broker: AbstractChannel) -> dict[str, str]:
    """Look at what is parked, and leave it there: the reasons by message id."""
    queue = await broker.get_queue(PARKED_QUEUE, ensure=False)
    seen = []
    while delivery := await queue.get(fail=False, timeout=10):
        seen.append(delivery)
    for delivery in seen:
        # Put there anew: some brokers drop what is returned too often.
        again = aio_pika.Message(
            delivery.body,
            message_id=delivery.message_id,
            headers=delivery.headers,
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        )
        await broker.default_exchange.publish(again, PARKED_QUEUE, timeout=10)
        await delivery.ack()
    return {str(delivery.message_id): str(delivery.headers.get(REASON)) for delivery in seen}


async def everything_served(broker: AbstractChannel) -> None:
    """Wait until what was rung before has been served.

    The queue is in order, so one more doorbell that ends up parked tells of all before it; those
    of a tenant that are served together are acknowledged right after.
    """
    last = uuid4().hex
    exchange = await broker.get_exchange(LEDGER_EXCHANGE, ensure=False)
    await exchange.publish(
        aio_pika.Message(b"", message_id=last), appended_key(UNKNOWN), timeout=10
    )

    async def there() -> bool:
        return last in await parked(broker)

    await eventually(there, "the last doorbell is parked")


async def redrive(machine: Machine, *arguments: str) -> str:
    """Run the operator's command, and give what it says."""
    status, said, complained = await run_redrive(machine, machine.amqp_url, *arguments)
    assert status == 0, complained
    return said.strip()


async def freehold_redriven(operator: dict[str, str], *options: str) -> int:
    """Run the operator's command over HTTP, and give how many doorbells were put back."""
    ended = await freehold("redrive", *options, "--json", environment=operator)
    assert ended.code == 0, ended.err
    redriven: int = json.loads(ended.out)["result"]["redriven"]
    return redriven


async def run_redrive(machine: Machine, amqp_url: str, *arguments: str) -> tuple[int, str, str]:
    """Run the operator's command; give its exit code, what it says, and what it complains of."""
    environment = {
        "PATH": os.environ["PATH"],
        "FREEHOLD_AMQP_URL": amqp_url,
        "FREEHOLD_CATALOG_DSN": machine.stack.env()["FREEHOLD_CATALOG_DSN"],
        "FREEHOLD_CREDENTIAL_KEYS": machine.stack.credential_keys,
    }
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("freehold-projector"),
        "redrive",
        *arguments,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        said, complained = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode(), complained.decode()
