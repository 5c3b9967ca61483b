"""Doorbells, as a consumer of RabbitMQ receives them."""

import time

import aio_pika

from freehold.contracts.messages import Appended, Projected
from freehold.messaging.topology import LEDGER_EXCHANGE, appended_key, paced_key, projected_key
from support.answers import created
from support.clients import Tenant, event_body
from support.waiting import eventually

STREAM_S = 2.5


async def test_a_tenant_that_never_pauses_rings_paced_doorbells(
    broker_url: str, tenant: Tenant
) -> None:
    async with await aio_pika.connect(broker_url, timeout=10) as connection:
        channel = await connection.channel()
        prompt, paced, projected = [
            await _listen(channel, key(tenant.tenant_id))
            for key in (appended_key, paced_key, projected_key)
        ]
        began_at = time.monotonic()
        while time.monotonic() - began_at < STREAM_S:
            event = created(await tenant.post("/events", event_body()))

        async def all_heard() -> bool:
            return all(
                heard and heard[-1].data.last_seq == event["seq"]
                for heard in (prompt, paced, projected)
            )

        await eventually(all_heard, "everybody hears of the last event")
        took_s = time.monotonic() - began_at
    assert {str(heard[-1].data.last_event_id) for heard in (prompt, paced, projected)} == {
        event["event_id"]
    }
    assert paced[-1].data.head_hash == event["hash"]
    for heard in (prompt, paced, projected):
        # Each goes on where the one before it ended, so nothing that was missed stays unheard of.
        ends = [0, *(doorbell.data.last_seq for doorbell in heard)]
        assert all(
            doorbell.data.first_seq <= end + 1 for doorbell, end in zip(heard, ends, strict=False)
        )
    # At most one each two seconds, and each tenth of one.
    assert len(paced) <= took_s / 2 + 1
    assert len(projected) <= 10 * took_s + 2
    assert len(prompt) > len(projected) > len(paced)


async def test_a_new_consumer_receives_later_doorbells(broker_url: str, tenant: Tenant) -> None:
    created(await tenant.post("/events", event_body()))
    # While no consumer listens.
    await tenant.caught_up()
    async with await aio_pika.connect(broker_url, timeout=10) as connection:
        heard = await _listen(await connection.channel(), projected_key(tenant.tenant_id))
        event = created(await tenant.post("/events", event_body()))

        async def arrived() -> bool:
            return bool(heard) and heard[-1].data.last_seq == event["seq"]

        await eventually(arrived, "the second doorbell arrives")


async def _listen(channel: aio_pika.abc.AbstractChannel, key: str) -> list[Appended | Projected]:
    """Keep what is published with a routing key from now on."""
    queue = await channel.declare_queue(exclusive=True, timeout=10)
    await queue.bind(LEDGER_EXCHANGE, key, timeout=10)
    heard: list[Appended | Projected] = []

    async def take(delivery: aio_pika.abc.AbstractIncomingMessage) -> None:
        model = Projected if key.startswith("ledger.projected.") else Appended
        heard.append(model.model_validate_json(delivery.body))

    await queue.consume(take, no_ack=True, timeout=10)
    return heard
