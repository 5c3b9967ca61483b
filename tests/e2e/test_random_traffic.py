"""Thousands of random events of every kind, two tenants at once: all of it adds up."""

import asyncio
import random
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from uuid import UUID

from support.answers import created, problem
from support.clients import Freehold, Tenant, event_of
from support.documents import Document

SEED = 20260301
EVENTS_PER_TENANT = 2500
WORKERS = 6
BATCH_MAX = 60
CURRENCIES = ("USD", "EUR", "JPY", "KWD")
ACCOUNTS = [f"cus_{n}" for n in range(40)]


@dataclass
class Expectation:
    """What must come of one tenant's traffic, added up without Freehold."""

    amounts: Counter[tuple[str, str]] = field(default_factory=Counter)
    numbers: Counter[tuple[str, str]] = field(default_factory=Counter)
    events: dict[str, Document] = field(default_factory=dict)
    reversible: list[Document] = field(default_factory=list)

    def add(self, event: Document, amount_minor: int) -> None:
        place = (event["account_id"], event["currency"])
        assert event["amount_minor"] == amount_minor
        self.amounts[place] += amount_minor
        self.numbers[place] += 1
        assert event["event_id"] not in self.events
        self.events[event["event_id"]] = event


async def test_random_traffic_adds_up(freehold: Freehold) -> None:
    tenants = [await freehold.new_tenant() for _ in range(2)]
    expectations = await asyncio.gather(
        *(send_all(tenant, SEED + number) for number, tenant in enumerate(tenants))
    )
    for tenant, expected in zip(tenants, expectations, strict=True):
        lag = await tenant.caught_up()
        assert lag.head_seq == len(expected.events) >= EVENTS_PER_TENANT
        assert await tenant.all_balances() == expected.amounts
        await compare_counts(tenant, expected)
        await compare_ledger(tenant, expected)
    mine, theirs = (set(expected.events) for expected in expectations)
    assert mine.isdisjoint(theirs)


async def send_all(tenant: Tenant, seed: int) -> Expectation:
    chance = random.Random(seed)
    expected = Expectation()
    number = 0

    async def work() -> None:
        nonlocal number
        while number < EVENTS_PER_TENANT:
            kind = chance.random()
            if kind < 0.45:
                number += 1
                await send_one(tenant, expected, chance, number)
            elif kind < 0.6:
                size = min(chance.randint(1, BATCH_MAX), EVENTS_PER_TENANT - number)
                number += size
                await send_batch(tenant, expected, chance, number, size)
            elif expected.reversible:
                place = chance.randrange(len(expected.reversible))
                event = expected.reversible.pop(place)
                number += 1
                send = send_refunds if kind > 0.9 else send_reversal
                await send(tenant, expected, chance, event, number)

    async with asyncio.TaskGroup() as group:
        for _ in range(WORKERS):
            group.create_task(work())
    return expected


async def send_one(
    tenant: Tenant, expected: Expectation, chance: random.Random, number: int
) -> None:
    body = random_event(chance)
    event = await send_perhaps_twice(tenant, chance, "/events", body, f"one-{number}")
    expected.add(event, body["amount_minor"])
    expected.reversible.append(event)


async def send_batch(
    tenant: Tenant, expected: Expectation, chance: random.Random, number: int, size: int
) -> None:
    bodies = [random_event(chance) for _ in range(size)]
    document = await send_perhaps_twice(
        tenant, chance, "/events/batch", {"events": bodies}, f"batch-{number}"
    )
    for body, event in zip(bodies, document["events"], strict=True):
        expected.add(event, body["amount_minor"])
    expected.reversible.append(document["events"][0])


async def send_reversal(
    tenant: Tenant, expected: Expectation, chance: random.Random, event: Document, number: int
) -> None:
    path = f"/events/{event['event_id']}/reversal"
    reversal = await send_perhaps_twice(tenant, chance, path, {}, f"reversal-{number}")
    expected.add(reversal, -event["amount_minor"])
    assert reversal["reverses_event_id"] == event["event_id"]
    if chance.random() < 0.1:
        problem(await tenant.post(path, {}), "already-reversed")


async def send_refunds(
    tenant: Tenant, expected: Expectation, chance: random.Random, event: Document, number: int
) -> None:
    part = chance.randint(1, abs(event["amount_minor"]))
    sign = -1 if event["amount_minor"] > 0 else 1
    body = {
        **{name: event[name] for name in ("account_id", "currency")},
        "event_type": "REFUND",
        "refunds_event_id": event["event_id"],
    }
    for place, amount in enumerate((part, abs(event["amount_minor"]) - part)):
        if amount:
            body["amount_minor"] = sign * amount
            key = f"refund-{number}-{place}"
            refund = await send_perhaps_twice(tenant, chance, "/events", body, key)
            expected.add(refund, sign * amount)
    problem(await tenant.post("/events", body), "refund-not-allowed")


async def send_perhaps_twice(
    tenant: Tenant, chance: random.Random, path: str, body: Document, key: str
) -> Document:
    """Send a request; now and then once more, before or after its answer has come."""
    luck = chance.random()
    if luck < 0.05:
        one, other = await asyncio.gather(
            tenant.post(path, body, key=key), tenant.post(path, body, key=key)
        )
        assert one.content == other.content
        return created(one)
    first = await tenant.post(path, body, key=key)
    if luck < 0.15:
        assert (await tenant.post(path, body, key=key)).content == first.content
    return created(first)


def random_event(chance: random.Random) -> Document:
    amount = chance.choice((1, 99, 2_000, 10**9)) * chance.randint(1, 1000)
    return {
        "account_id": chance.choice(ACCOUNTS),
        "event_type": chance.choice(("CHARGE", "REFUND", "FEE", "PAYOUT")),
        "amount_minor": chance.choice((1, -1)) * amount,
        "currency": chance.choice(CURRENCIES),
    }


async def compare_counts(tenant: Tenant, expected: Expectation) -> None:
    last: dict[tuple[str, str], Document] = {}
    for event in sorted(expected.events.values(), key=lambda event: int(event["seq"])):
        last[event["account_id"], event["currency"]] = event
    async for balance in tenant.client.list_balances():
        place = (balance.account_id, balance.currency)
        assert balance.event_count == expected.numbers[place]
        assert balance.last_seq == last[place]["seq"]
        assert balance.last_ledger_event_id == last[place]["event_id"]


async def compare_ledger(tenant: Tenant, expected: Expectation) -> None:
    ledger = await tenant.all_events()
    assert [event.seq for event in ledger] == list(range(1, len(ledger) + 1))
    ids = [event.event_id for event in ledger]
    assert ids == sorted(ids)
    assert {event.event_id: event for event in ledger} == {
        event_id: event_of(event) for event_id, event in expected.events.items()
    }
    reversals: defaultdict[str, int] = defaultdict(int)
    for event in ledger:
        assert UUID(event.event_id).version == 7
        if event.reverses_event_id is not None:
            reversals[event.reverses_event_id] += 1
    assert set(reversals.values()) == {1}
