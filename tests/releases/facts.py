"""Facts of every kind, as a tenant has them appended, and everything that can be read of them.

No answer changes with time: the pending hold never expires, and a read of a period names it.
"""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from support.answers import created, found
from support.clients import Tenant, event_body
from support.documents import Document
from support.waiting import eventually

_RULES = (
    ("/event-types/CHARGE", {"sign": "any", "description": "A charge"}),
    ("/event-types/PAYOUT", {"sign": "negative", "description": "A payout"}),
    ("/accounts/cus_42/limits", {"currency": "USD", "min_balance_minor": -500}),
)
_FIRST, _SECOND = "2026-03-01T12:00:00Z", "2026-03-02T12:00:00Z"
_NDJSON = {"Content-Type": "application/x-ndjson"}
_EXPIRES_IN = timedelta(seconds=3)


class Author:
    """A tenant whose requests are written down with their answers."""

    def __init__(self, tenant: Tenant) -> None:
        self.tenant = tenant
        self.requests: list[Document] = []

    async def post(self, path: str, body: Any) -> Document:
        """Send a request under a key of its own, and give the answer."""
        key = f"{self.tenant.tenant_id}-{len(self.requests) + 1}"
        answer = await self.tenant.post(path, body, key=key)
        document = created(answer)
        self.requests.append({"path": path, "key": key, "body": body, "answer": answer.text})
        return document


async def write(author: Author) -> list[str]:
    """Have every kind of fact appended; give the paths that show single ones of them."""
    tenant = author.tenant
    for path, body in _RULES:
        assert (await tenant.ask_ingest("PUT", path, body)).is_success
    await tenant.client.set_searchable_metadata(keys=["order_id"])

    charge = event_body(
        external_id="ch_1", metadata={"order_id": "7", "name": "Zoë"}, transaction_time=_FIRST
    )
    first = await author.post("/events", charge)
    refund = event_body(amount_minor=-300, refunds_event_id=first["event_id"])
    await author.post("/events", refund | {"event_type": "REFUND", "transaction_time": _SECOND})
    batch = [
        event_body(account_id=f"cus_{n}", amount_minor=n, currency=currency)
        for n in range(1, 8)
        for currency in ("EUR", "JPY", "KWD")
    ]
    batch[0]["amount_minor"] = 2**62
    events = (await author.post("/events/batch", {"events": batch}))["events"]
    undone = events[-1]["event_id"]
    await author.post(f"/events/{undone}/reversal", {"reason": "by mistake"})
    legs = [
        event_body(amount_minor=-700, event_type="PAYOUT"),
        event_body(account_id="bank:main", amount_minor=700),
    ]
    transactions = [
        (await author.post("/transactions", {"legs": legs}))["transaction_id"] for _ in range(2)
    ]
    await author.post(f"/transactions/{transactions[1]}/reversal", {})
    holds = await _hold(author)
    line = json.dumps(event_body(account_id="cus_9", external_id="imported"))
    answer = await tenant.post("/events/import", line.encode(), key=None, headers=_NDJSON)
    assert json.loads(answer.text.splitlines()[-1])["accepted"] == 1
    await tenant.caught_up()
    return [
        f"/events/{first['event_id']}",
        f"/events/{undone}",
        *(f"/transactions/{transaction}" for transaction in transactions),
        *(f"/holds/{hold}" for hold in holds),
    ]


async def _hold(author: Author) -> list[str]:
    """Have holds placed that end in every way."""
    body = {"account_id": "cus_42", "currency": "USD", "amount_minor": 50}
    names = [(await author.post("/holds", body))["hold_id"] for _ in range(3)]
    await author.post(f"/holds/{names[1]}/capture", {"amount_minor": 20})
    await author.post(f"/holds/{names[2]}/release", {})
    soon = (datetime.now(UTC) + _EXPIRES_IN).isoformat()
    brief = (await author.post("/holds", body | {"expires_at": soon}))["hold_id"]

    async def expired() -> bool:
        return bool(found(await author.tenant.get(f"/holds/{brief}"))["status"] == "expired")

    await eventually(expired, "the hold expires")
    return [*names, brief]


async def read(tenant: Tenant, single: list[str]) -> Document:
    """Ask everything that a query can answer; give the answers by path."""
    year = "from=2026-01-01T00:00:00Z&to=2027-01-01T00:00:00Z"
    answers: Document = {}
    paths = [
        *single,
        "/accounts/cus_42/balances",
        "/accounts/cus_42/balances?as_of=2026-03-01T13:00:00Z",
        "/accounts/cus_42/balances?consistency=strong",
        "/balances?limit=1000",
        "/totals",
        "/totals?as_of=2026-03-02T13:00:00Z",
        "/events?limit=1000",
        "/events?limit=3",
        "/events?order=desc&event_type=REVERSAL",
        "/events?metadata.order_id=7",
        "/events?external_id=imported",
        "/searchable-metadata",
        f"/accounts/cus_42/statement?currency=USD&{year}",
        f"/accounts/cus_42/statement?currency=USD&{year}&by=recorded_at&order=desc",
        f"/activity?bucket=month&time_zone=Europe/Berlin&{year}",
    ]
    for path in paths:
        answers[path] = found(await tenant.get(*asked(path)))
    # A cursor outlives an upgrade, so what it leads to is asked for, too.
    path = f"/events?limit=3&cursor={answers['/events?limit=3']['next_cursor']}"
    answers[path] = found(await tenant.get(*asked(path)))
    return answers


def asked(path: str) -> tuple[str, dict[str, str]]:
    """Divide a path and its query string."""
    path, _, query = path.partition("?")
    return path, dict(pair.split("=", 1) for pair in query.split("&") if pair)
