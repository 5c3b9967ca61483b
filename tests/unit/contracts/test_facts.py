"""What makes a request with a known external_id say the same as its first event, and what not."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from freehold.contracts.events import NewEvent
from freehold.contracts.facts import differing
from freehold.contracts.holds import NewHold

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
EVENT: dict[str, Any] = {
    "account_id": "a",
    "event_type": "CHARGE",
    "amount_minor": 5,
    "currency": "USD",
}
FIRST: dict[str, Any] = {
    **EVENT,
    "transaction_time": NOON,
    "metadata_json": '{"plan": "pro"}',
    "held_minor": None,
    "hold_expires_at": None,
}
FIRST_HOLD: dict[str, Any] = {
    **FIRST,
    "event_type": "HOLD",
    "amount_minor": 0,
    "held_minor": 5,
    "hold_expires_at": NOON,
}


@pytest.mark.parametrize(
    ("said", "differs"),
    [
        ({}, []),
        ({"transaction_time": "2026-03-01T13:00:00+01:00"}, []),
        ({"metadata": {}}, []),
        ({"metadata": {"plan": "pro"}}, []),
        ({"metadata": {"plan": "Pro"}}, [("metadata", "plan")]),
        ({"metadata": {"plan.size": "1"}}, [("metadata", "plan.size")]),
        ({"transaction_time": "2026-03-01T12:00:01Z"}, [("transaction_time",)]),
        ({"amount_minor": -5, "currency": "EUR"}, [("amount_minor",), ("currency",)]),
    ],
)
def test_an_event_is_held_to_what_it_says(
    said: dict[str, Any], differs: list[tuple[str, ...]]
) -> None:
    event = NewEvent.model_validate_json(json.dumps({**EVENT, **said}))
    assert differing(event, FIRST) == differs


def test_a_hold_is_no_event_and_an_event_no_hold() -> None:
    hold = NewHold(account_id="a", currency="USD", amount_minor=5)
    assert differing(hold, FIRST_HOLD) == []
    assert differing(hold, FIRST) == [("amount_minor",)]
    event = NewEvent(**EVENT)
    assert differing(event, FIRST_HOLD) == [("event_type",), ("amount_minor",)]
    later = NewHold.model_validate_json(
        '{"account_id":"a","currency":"USD","amount_minor":5,"expires_at":"2026-03-02T12:00:00Z"}'
    )
    assert differing(later, FIRST_HOLD) == [("expires_at",)]
