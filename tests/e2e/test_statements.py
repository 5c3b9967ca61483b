"""Statements through real services: written by ingest, read by query as JSON, CSV and PDF."""

import csv
from datetime import UTC, datetime, timedelta
from io import StringIO

from support.answers import found
from support.clients import Tenant, event_body

LINES = 2_500


async def test_a_statement_is_the_same_in_pages_and_as_a_whole(tenant: Tenant) -> None:
    begin = datetime(2026, 3, 1, tzinfo=UTC)
    # Backdated, so that the order of the ledger is not that of the statement.
    times = [begin + timedelta(minutes=number * 7 % LINES) for number in range(LINES)]
    await tenant.append_batch(
        [
            event_body(amount_minor=number or 1, transaction_time=at.isoformat())
            for number, at in enumerate(times, start=-LINES // 2)
        ]
    )
    path = "/accounts/cus_42/statement"
    # At once: a statement reads the ledger itself, and needs no projection.
    statement = await tenant.client.get_statement("cus_42", currency="USD", page_size=999)
    lines = statement.data
    balance = 0
    for line in lines:
        balance += line.amount_minor
        assert line.balance_minor == balance
    page = found(await tenant.get(path, currency="USD"))
    assert (page["opening_balance_minor"], page["closing_balance_minor"]) == (0, balance)
    assert page["total_in_minor"] - page["total_out_minor"] == balance
    answer = await tenant.get(path, currency="USD", headers={"Accept": "text/csv"})
    rows = list(csv.DictReader(StringIO(answer.text, newline="")))
    names = ("event_id", "transaction_time", "amount_minor", "balance_minor")
    listed = page["data"]
    assert [[row[name] for name in names] for row in rows[: len(listed)]] == [
        [str(line[name]) for name in names] for line in listed
    ]
    assert [(row["event_id"], int(row["balance_minor"])) for row in rows] == [
        (line.event_id, line.balance_minor) for line in lines
    ]
    answer = await tenant.get(path, currency="USD", headers={"Accept": "application/pdf"})
    assert answer.headers["content-type"] == "application/pdf"
    assert answer.content.startswith(b"%PDF-")


async def test_the_head_of_a_statement_is_answered_alone(tenant: Tenant) -> None:
    await tenant.append()
    url = f"{tenant.freehold.addresses.query}/v1/accounts/cus_42/statement?currency=USD"
    for media_type in ("application/json", "text/csv", "application/pdf"):
        headers = {"Authorization": f"Bearer {tenant.api_key}", "Accept": media_type}
        answer = await tenant.freehold.send("HEAD", url, headers=headers)
        assert (answer.status_code, answer.content) == (200, b"")
        assert answer.headers["content-type"].startswith(media_type)
