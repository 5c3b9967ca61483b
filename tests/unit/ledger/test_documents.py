"""Ledger rows as JSON, read back with another library."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson
import pytest

from freehold.contracts.events import LedgerEvent
from freehold.contracts.holds import Hold
from freehold.ledger.documents import balance_document, event_json, hold_document

EVENT_ID = UUID("019ca9a8-5a00-7000-8000-0007c0a8d5e1")
INSTANT = datetime(2026, 3, 1, 12, tzinfo=UTC)
EVENT: dict[str, Any] = {
    "event_id": EVENT_ID,
    "seq": 7,
    "account_id": "cus_42",
    "event_type": "CHARGE",
    "amount_minor": -(2**63),
    "currency": "USD",
    "transaction_time": INSTANT,
    "recorded_at": INSTANT + timedelta(microseconds=1),
    "external_id": 'é"\\',
    "metadata_json": '{"b": "2", "aa": "\\"\U0001f600"}',
    "transaction_id": None,
    "reverses_event_id": None,
    "refunds_event_id": None,
    "hash": bytes(range(32)),
    "hold_id": None,
    "held_minor": None,
    "hold_expires_at": None,
}
PLACED: dict[str, Any] = {
    **EVENT,
    "event_type": "HOLD",
    "amount_minor": 0,
    "hold_id": EVENT_ID,
    "held_minor": 2**63 - 1,
    "hold_expires_at": INSTANT + timedelta(days=7),
}
SETTLED: dict[str, Any] = {
    **PLACED,
    "event_id": UUID("019ca9a8-5a00-7000-8000-0008c0a8d5e1"),
    "seq": 8,
    "recorded_at": INSTANT + timedelta(days=1),
    "held_minor": 1 - 2**63,
    "hold_expires_at": None,
    "external_id": None,
    "metadata_json": "{}",
}
NOT_TOLD = {"metadata_json", "hold_id", "held_minor", "hold_expires_at"}
BALANCE: dict[str, Any] = {
    "currency": "USD",
    "current_balance_minor": Decimal(2000),
    "held_minor": Decimal(300),
    "event_count": 1,
    "last_ledger_event_id": EVENT_ID,
    "last_seq": 7,
    "last_updated_time": INSTANT,
}


def test_an_event_is_the_document_of_the_contract() -> None:
    document = json.loads(event_json(EVENT))
    assert document == {
        **{name: value for name, value in EVENT.items() if name not in NOT_TOLD},
        "event_id": str(EVENT_ID),
        "transaction_time": "2026-03-01T12:00:00.000000Z",
        "recorded_at": "2026-03-01T12:00:00.000001Z",
        "metadata": {"b": "2", "aa": '"\U0001f600'},
        "hash": bytes(range(32)).hex(),
    }
    assert LedgerEvent.model_validate_json(json.dumps(document)).amount_minor == -(2**63)


def test_ids_of_other_events_are_text() -> None:
    names = ("transaction_id", "reverses_event_id", "refunds_event_id")
    document = json.loads(event_json({**EVENT, **dict.fromkeys(names, EVENT_ID)}))
    assert [document[name] for name in names] == [str(EVENT_ID)] * 3


def test_an_event_of_a_hold_says_which_and_what_it_holds() -> None:
    placed, settled = (json.loads(event_json(row)) for row in (PLACED, SETTLED))
    assert (placed["hold_id"], placed["held_minor"]) == (str(EVENT_ID), 2**63 - 1)
    assert (settled["hold_id"], settled["held_minor"]) == (str(EVENT_ID), 1 - 2**63)
    assert LedgerEvent.model_validate_json(json.dumps(placed)).amount_minor == 0


def test_a_hold_is_written_from_its_two_events() -> None:
    document = json.loads(orjson.dumps(hold_document([PLACED])))
    assert document == {
        "hold_id": str(EVENT_ID),
        "status": "pending",
        "account_id": "cus_42",
        "currency": "USD",
        "amount_minor": 2**63 - 1,
        "captured_minor": 0,
        "expires_at": "2026-03-08T12:00:00.000000Z",
        "created_at": "2026-03-01T12:00:00.000001Z",
        "settled_at": None,
        "external_id": 'é"\\',
        "metadata": {"b": "2", "aa": '"\U0001f600'},
        "event_id": str(EVENT_ID),
        "seq": 7,
    }
    assert Hold.model_validate_json(json.dumps(document)).status == "pending"


@pytest.mark.parametrize(
    ("event_type", "amount_minor", "status"),
    [
        ("HOLD_CAPTURE", -200, "captured"),
        ("HOLD_RELEASE", 0, "released"),
        ("HOLD_EXPIRY", 0, "expired"),
    ],
)
def test_a_settled_hold_says_how_and_when(event_type: str, amount_minor: int, status: str) -> None:
    placed = {**PLACED, "hold_expires_at": None}
    settled = {**SETTLED, "event_type": event_type, "amount_minor": amount_minor}
    document = json.loads(orjson.dumps(hold_document([placed, settled])))
    changed = {
        "status": status,
        "captured_minor": -amount_minor,
        "expires_at": None,
        "settled_at": "2026-03-02T12:00:00.000000Z",
        "event_id": str(SETTLED["event_id"]),
        "seq": 8,
    }
    assert document == json.loads(orjson.dumps(hold_document([PLACED]))) | changed


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (Decimal(0), b"0"),
        (Decimal(-5), b"-5"),
        (Decimal("1E+3"), b"1000"),
        (Decimal(2**63 - 1) * 5, b"46116860184273879035"),
        (Decimal(10**38 - 1), b"9" * 38),
        (Decimal(1 - 10**38), b"-" + b"9" * 38),
    ],
)
def test_a_balance_is_an_exact_integer_however_large(amount: Decimal, text: bytes) -> None:
    row = {**BALANCE, "current_balance_minor": amount}
    written = orjson.dumps(balance_document(row))  # type: ignore[arg-type]
    assert b'"current_balance_minor":' + text + b"," in written
    assert b'"held_minor":300,' in written
    assert b'"available_minor":%d,' % (int(amount) - 300) in written
