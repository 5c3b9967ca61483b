"""Made-up but realistic traffic: charges, fees, refunds, payouts, from a fixed seed.

The expected balances are summed here as the events are made, by this module alone,
so the demo compares Freehold with an independent figure.
"""

import random
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

BATCH_EVENTS = 100

Event = dict[str, Any]


@dataclass(frozen=True)
class Shop:
    """A tenant of the demo, and what its trade is like."""

    name: str
    slug: str
    seed: int
    currencies: tuple[str, ...]
    sellers: int


SHOPS = (
    Shop("Corner Books", "corner-books", 1, ("USD",), 40),
    Shop("Atelier Nord", "atelier-nord", 2, ("EUR", "USD"), 120),
    Shop("Kissa Records", "kissa-records", 3, ("JPY", "USD", "EUR"), 80),
)


@dataclass(frozen=True)
class Post:
    """One request: a path, an idempotency key, a body, and how many events it makes."""

    path: str
    key: str
    body: Any
    events: int


@dataclass
class Traffic:
    """What one tenant will be sent, and what its balances must be in the end."""

    posts: list[Post] = field(default_factory=list)
    reversed_external_ids: list[str] = field(default_factory=list)
    balances: Counter[tuple[str, str]] = field(default_factory=Counter)

    @property
    def events(self) -> int:
        """How many events the ledger must hold in the end, reversals included."""
        return sum(post.events for post in self.posts) + len(self.reversed_external_ids)


def make_traffic(shop: Shop, events: int) -> Traffic:
    """Make a shop's traffic: about this many events, the same for the same shop every time."""
    random_numbers = random.Random(shop.seed)  # noqa: S311 (a fixed seed is the point)
    traffic = Traffic()
    made: list[Event] = []
    clock = datetime(2026, 1, 5, 8, tzinfo=UTC)
    while len(made) < events:
        clock += timedelta(seconds=random_numbers.expovariate(1 / 30))
        for event in _sale(shop, random_numbers, clock, len(made)):
            made.append(event)
            traffic.balances[event["account_id"], event["currency"]] += event["amount_minor"]
    _pack(shop, made, random_numbers, traffic)
    charges = [event for event in made if event["event_type"] == "CHARGE"]
    for charge in random_numbers.sample(charges, max(1, len(charges) // 100)):
        traffic.reversed_external_ids.append(charge["external_id"])
        traffic.balances[charge["account_id"], charge["currency"]] -= charge["amount_minor"]
    return traffic


def _sale(shop: Shop, random_numbers: random.Random, clock: datetime, number: int) -> list[Event]:
    """One customer's purchase with its fee; now and then a refund or a payout after it."""
    currency = random_numbers.choice(shop.currencies)
    seller = f"seller:{random_numbers.randrange(shop.sellers):04d}"
    low, high = (300, 30_000) if currency == "JPY" else (199, 24_999)
    amount = random_numbers.randint(low, high)
    fee = max(1, amount * 29 // 1000)

    def event(kind: str, account: str, minor: int) -> Event:
        return {
            "account_id": account,
            "event_type": kind,
            "amount_minor": minor,
            "currency": currency,
            "transaction_time": clock.isoformat(),
            "external_id": f"{shop.slug}-{number}-{kind.lower()}-{account}",
            "metadata": {"order": str(number), "channel": random_numbers.choice(("web", "pos"))},
        }

    events = [
        event("CHARGE", seller, amount),
        event("FEE", seller, -fee),
        event("FEE", "platform:fees", fee),
    ]
    chance = random_numbers.random()
    if chance < 0.06:
        events.append(event("REFUND", seller, -random_numbers.randint(1, amount)))
    elif chance < 0.10:
        events.append(event("PAYOUT", seller, -random_numbers.randint(1, amount * 3)))
    return events


def _pack(shop: Shop, events: list[Event], random_numbers: random.Random, traffic: Traffic) -> None:
    """Send about a sixth of the events one by one and the others in batches."""
    rest = list(events)
    while rest:
        if random_numbers.random() < 0.95:
            event = rest.pop(0)
            key = event["external_id"]
            traffic.posts.append(Post("/v1/events", key, event, 1))
        else:
            batch, rest = rest[:BATCH_EVENTS], rest[BATCH_EVENTS:]
            key = f"{shop.slug}-batch-{len(traffic.posts)}"
            traffic.posts.append(Post("/v1/events/batch", key, {"events": batch}, len(batch)))
