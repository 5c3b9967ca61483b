"""What an auditor reads: the ledger's end, its events with all that proves them, a verification."""

import csv
import json
import re
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from io import StringIO
from typing import Any

import httpx
import pytest

from freehold.ledger.append import Capture
from freehold.security.api_keys import Scope
from freehold_query.audit import ledger_lines, verification
from freehold_query.audit.contracts import (
    AuditEvent,
    AuditHead,
    VerificationBrokenOff,
    VerificationProgress,
    VerificationVerdict,
)
from integration.query.conftest import serve
from integration.query.service import running
from integration.query.tenants import Landlord, Tenant, bearer
from support.answers import pointers, problem
from support.builders import new_event, new_hold, undo
from support.chain import Row, canonical_metadata, event_bytes, find_fault
from support.tampering import tamper
from support.waiting import PATIENCE_S, eventually

# A database that does not answer from the second range on.
HANGS_AFTER_3 = f"""
    ALTER FUNCTION event_bytes RENAME TO event_bytes_itself;
    CREATE FUNCTION event_bytes(
        bigint, uuid, text, timestamptz, timestamptz, text, bigint, char(3), uuid, uuid, uuid, text,
        jsonb, uuid, bigint, timestamptz
    ) RETURNS bytea LANGUAGE sql AS $$
        SELECT pg_sleep(CASE WHEN $1 > 3 THEN 3600 ELSE 0 END);
        SELECT ledger.event_bytes_itself({", ".join(f"${n}" for n in range(1, 17))});
    $$;
"""
VERIFY = "/v1/audit/verify"
EVENTS = "/v1/audit/events"
PATHS = ["/v1/audit/head", VERIFY, EVENTS, "/v1/export/journal?format=csv"]


@pytest.fixture
def _short_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ledgers of a few events have several ranges and pages."""
    monkeypatch.setattr(verification, "RANGE_EVENTS", 3)
    monkeypatch.setattr(ledger_lines, "PAGE_EVENTS", 3)


@pytest.fixture
async def audited(query: httpx.AsyncClient, tenant: Tenant) -> httpx.AsyncClient:
    """Query, asked by a tenant whose ledger has 8 events of many kinds."""
    charge, *_ = await tenant.append(
        new_event("cus_42", 500, external_id="ch_1", metadata={"plan": 'ä "b"', "a": "\\"}),
        new_event("cus_42", -3, currency="JPY"),
    )
    await tenant.append(undo(charge["event_id"], "charged twice"))
    await tenant.append(new_event("a", 5), new_event("b", -5), transaction=True)
    placed, _ = await tenant.append(new_hold("cus_42", 40), new_event())
    await tenant.append(Capture(placed["hold_id"], 30))
    return query


async def lines(query: httpx.AsyncClient, path: str, **params: Any) -> list[dict[str, Any]]:
    answer = await query.get(path, params=params)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in answer.text.splitlines()]


async def test_the_head_is_the_last_event(audited: httpx.AsyncClient, tenant: Tenant) -> None:
    answer = await audited.get("/v1/audit/head")
    head = AuditHead.model_validate_json(answer.content, strict=True)
    row = await tenant.connection.fetchrow("SELECT * FROM ledger_head")
    assert row is not None
    assert head == AuditHead(
        seq=8,
        event_id=row["last_event_id"],
        hash=row["last_hash"].hex(),
        recorded_at=row["last_recorded_at"],
    )


async def test_an_empty_ledger_has_no_last_event_and_no_fault(query: httpx.AsyncClient) -> None:
    assert (await query.get("/v1/audit/head")).json() == {
        "seq": 0,
        "event_id": None,
        "hash": None,
        "recorded_at": None,
    }
    assert await lines(query, EVENTS) == []
    (verdict,) = await lines(query, VERIFY)
    assert (verdict["ok"], verdict["events_checked"], verdict["head_hash"]) == (True, 0, None)


@pytest.mark.usefixtures("_short_steps")
async def test_the_chain_is_verified_from_the_stream_by_other_code(
    audited: httpx.AsyncClient,
) -> None:
    events = await lines(audited, EVENTS)
    head = (await audited.get("/v1/audit/head")).json()
    assert find_fault(map(as_row, events), head["seq"], bytes.fromhex(head["hash"])) is None
    for event in events:
        AuditEvent.model_validate_json(json.dumps(event), strict=True)
        # Each line proves itself, too.
        content = bytes.fromhex(event["previous_hash"]) + event_bytes(as_row(event))
        assert sha256(content).hexdigest() == event["hash"]


@pytest.mark.usefixtures("_short_steps")
async def test_a_range_of_the_stream_is_that_range(audited: httpx.AsyncClient) -> None:
    events = await lines(audited, EVENTS)
    assert [event["seq"] for event in events] == list(range(1, 9))
    assert await lines(audited, EVENTS, from_seq=3) == events[2:]
    assert await lines(audited, EVENTS, from_seq=2, to_seq=7) == events[1:7]
    assert await lines(audited, EVENTS, from_seq=9) == []


@pytest.mark.usefixtures("_short_steps")
async def test_a_whole_ledger_is_verified_with_progress(audited: httpx.AsyncClient) -> None:
    *progress, last = await lines(audited, VERIFY)
    assert progress == [
        VerificationProgress(verified_through_seq=seq, to_seq=8).model_dump() for seq in (3, 6)
    ]
    verdict = VerificationVerdict.model_validate_json(json.dumps(last), strict=True)
    head = (await audited.get("/v1/audit/head")).json()
    assert (verdict.ok, verdict.events_checked, verdict.reason) == (True, 8, None)
    assert (verdict.from_seq, verdict.to_seq) == (1, 8)
    assert (verdict.head_seq, verdict.head_hash) == (8, head["hash"])


@pytest.mark.usefixtures("_short_steps")
@pytest.mark.parametrize(
    ("statement", "first_bad_seq"),
    [
        ("UPDATE ledger_events SET amount_minor = 999 WHERE seq = 5", 5),
        ("DELETE FROM ledger_events WHERE seq = 3", 3),
        ("DELETE FROM ledger_events WHERE seq > 6", 7),
    ],
)
async def test_tampering_is_named(
    audited: httpx.AsyncClient, tenant: Tenant, statement: str, first_bad_seq: int
) -> None:
    await tamper(tenant.connection, statement)
    *_, verdict = await lines(audited, VERIFY)
    assert (verdict["done"], verdict["ok"]) == (True, False)
    assert verdict["first_bad_seq"] == first_bad_seq
    assert verdict["reason"]


@pytest.mark.usefixtures("_short_steps")
async def test_a_range_is_verified_alone(audited: httpx.AsyncClient, tenant: Tenant) -> None:
    await tamper(tenant.connection, "UPDATE ledger_events SET amount_minor = 9 WHERE seq = 2")
    *_, before = await lines(audited, VERIFY, to_seq=1)
    *_, after = await lines(audited, VERIFY, from_seq=4, to_seq=8)
    *_, across = await lines(audited, VERIFY, from_seq=2, to_seq=4)
    assert (before["ok"], after["ok"], across["ok"]) == (True, True, False)
    assert (after["from_seq"], after["to_seq"], after["events_checked"]) == (4, 8, 5)


@pytest.mark.parametrize("path", [VERIFY, EVENTS])
async def test_what_the_ledger_does_not_have_is_refused(
    audited: httpx.AsyncClient, path: str
) -> None:
    answer = await audited.get(path, params={"to_seq": 9})
    assert pointers(answer) == ["/to_seq"]
    assert "the ledger ends at seq 8" in answer.text
    assert pointers(await audited.get(path, params={"from_seq": 10})) == ["/from_seq"]
    assert pointers(await audited.get(path, params={"from_seq": 5, "to_seq": 4})) == [""]


@pytest.mark.parametrize("path", PATHS)
async def test_an_audit_needs_its_scope(
    query: httpx.AsyncClient, landlord: Landlord, tenant: Tenant, path: str
) -> None:
    others = await landlord.key(tenant, Scope.READ, Scope.INGEST, Scope.EXPORT)
    answer = await query.get(path, headers=bearer(others))
    problem(answer, "missing-scope")
    own = await landlord.key(tenant, Scope.AUDIT)
    assert (await query.get(path, headers=bearer(own))).status_code == 200


@pytest.mark.usefixtures("_short_steps")
async def test_a_verification_that_cannot_go_on_says_so(landlord: Landlord, tenant: Tenant) -> None:
    await tenant.append(*[new_event()] * 8)
    await tenant.connection.execute(HANGS_AFTER_3)
    async with serve(landlord.dsn(), tenant, database_timeout_s=2.0) as query:
        first, last = await lines(query, VERIFY)
    assert first["verified_through_seq"] == 3
    broken = VerificationBrokenOff.model_validate(last)
    assert (broken.done, broken.verified_through_seq) == (False, 3)
    assert broken.error is not None
    assert broken.error.status == 503


@pytest.mark.usefixtures("_short_steps")
async def test_a_client_that_leaves_ends_the_verification(
    landlord: Landlord, tenant: Tenant
) -> None:
    await tenant.append(*[new_event()] * 8)
    await tenant.connection.execute(HANGS_AFTER_3)

    async def calls() -> int:
        count: int = await tenant.connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND query LIKE '%verify(%' AND state = 'active'"
            " AND pid <> pg_backend_pid()"
        )
        return count

    async def begun() -> bool:
        return await calls() == 1

    async def ended() -> bool:
        return await calls() == 0

    patience: dict[str, Any] = {
        "database_timeout_s": 5 * PATIENCE_S,
        "request_timeout_s": 6 * PATIENCE_S,
    }
    async with running(landlord.dsn(), tenant, **patience) as service:
        async with (
            httpx.AsyncClient(base_url=service.url, headers=tenant.authorization) as http,
            http.stream("GET", VERIFY) as answer,
        ):
            assert answer.status_code == 200
            await eventually(begun, "the second range is read")
        await eventually(ended, "the database works for nobody")


async def test_the_journal_has_every_event_in_ledger_order(
    audited: httpx.AsyncClient, tenant: Tenant
) -> None:
    rows = await journal(audited)
    events = (await audited.get("/v1/events")).json()["data"]
    assert [row["event_id"] for row in rows] == [event["event_id"] for event in events]
    assert [row["hash"] for row in rows] == [event["hash"] for event in events]
    assert [(row["amount"], row["currency"]) for row in rows[:2]] == [
        ("5.00", "USD"),
        ("-3", "JPY"),
    ]
    held = [(row["event_type"], row["amount"], row["held_minor"]) for row in rows if row["hold_id"]]
    assert held == [("HOLD", "0.00", "40"), ("HOLD_CAPTURE", "-0.30", "-40")]
    answer = await audited.get("/v1/export/journal?format=csv")
    name = rf'attachment; filename="journal_{tenant.tenant_id}_\d{{8}}T\d{{6}}Z\.csv"'
    assert re.fullmatch(name, answer.headers["content-disposition"])


async def test_a_journal_of_a_period_begins_no_formula(
    query: httpx.AsyncClient, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("freehold_query.journal._PAGE_EVENTS", 2)
    march = datetime(2026, 3, 1, tzinfo=UTC)
    await tenant.append(
        *[new_event(transaction_time=march + timedelta(days=day)) for day in range(-2, 5)],
        new_event(transaction_time=march, external_id="=2+3"),
    )
    rows = await journal(query, **{"from": "2026-03-01T00:00:00Z", "to": "2026-03-04T00:00:00Z"})
    assert [row["seq"] for row in rows] == ["3", "4", "5", "8"]
    assert rows[-1]["external_id"] == "'=2+3"
    assert await journal(query, to="1999-01-01T00:00:00Z") == []


async def test_a_journal_has_no_other_form(query: httpx.AsyncClient) -> None:
    for form in ("xero", "beancount"):
        answer = await query.get("/v1/export/journal", params={"format": form})
        assert pointers(answer) == ["/format"]
        assert "csv" in answer.json()["detail"]
    assert pointers(await query.get("/v1/export/journal")) == ["/format"]


async def journal(query: httpx.AsyncClient, **params: str) -> list[dict[str, str]]:
    answer = await query.get("/v1/export/journal", params={"format": "csv", **params})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/csv")
    return list(csv.DictReader(StringIO(answer.text, newline="")))


def as_row(event: dict[str, Any]) -> Row:
    """Write an event of the stream as an export has it, for the code that shares none."""
    columns = {name: None if value is None else str(value) for name, value in event.items()}
    return {
        "hold_id": None,
        "held_minor": None,
        "hold_expires_at": None,
        **columns,
        "metadata": canonical_metadata(event["metadata"]),
    }
