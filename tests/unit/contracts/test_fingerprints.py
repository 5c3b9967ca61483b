"""Fingerprints: equal for bodies that mean the same, different for all others."""

import json
from itertools import combinations
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.contracts.events import NewEvent, NewReversal
from freehold.contracts.holds import NewHold
from freehold.ledger.append import Capture, Release, Reversal, fingerprint

EVENT = {"account_id": "cus_42", "event_type": "CHARGE", "amount_minor": 2000, "currency": "USD"}
FIRST = UUID("019ca9a8-5a00-7000-8000-0007c0a8d5e1")
SECOND = UUID("019ca9a8-5a00-7000-8000-0008c0a8d5e1")


def of_event(**changes: object) -> str:
    body = json.dumps({**EVENT, **changes})
    return fingerprint("event", [NewEvent.model_validate_json(body)])


def of_hold(**changes: object) -> str:
    body = {name: value for name, value in EVENT.items() if name != "event_type"}
    return fingerprint("hold", [NewHold.model_validate_json(json.dumps({**body, **changes}))])


def of_reversal(event_id: UUID, **body: object) -> str:
    details = NewReversal.model_validate_json(json.dumps(body))
    return fingerprint("reversal", [Reversal(event_id, details)])


SAME = [
    ({}, {"transaction_time": None, "external_id": None, "metadata": None}),
    ({"refunds_event_id": str(FIRST)}, {"refunds_event_id": str(FIRST).upper()}),
    ({}, {"metadata": {}}),
    ({"metadata": {"a": "1", "b": "2"}}, {"metadata": {"b": "2", "a": "1"}}),
    (
        {"transaction_time": "2026-03-01T12:00:00Z"},
        {"transaction_time": "2026-03-01T14:00:00.000+02:00"},
    ),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_bodies_that_mean_the_same_are_the_same_request(
    one: dict[str, object], other: dict[str, object]
) -> None:
    assert of_event(**one) == of_event(**other)


def test_bodies_that_mean_something_else_are_other_requests() -> None:
    changes: list[dict[str, object]] = [
        {},
        {"account_id": "cus_43"},
        {"event_type": "REFUND"},
        {"amount_minor": -2000},
        {"currency": "EUR"},
        {"transaction_time": "2026-03-01T12:00:00Z"},
        {"transaction_time": "2026-03-01T12:00:00.000001Z"},
        {"external_id": "ch_1"},
        {"refunds_event_id": str(FIRST)},
        {"refunds_event_id": str(SECOND)},
        {"metadata": {"external_id": "ch_1"}},
        {"metadata": {"a": "b"}},
        {"metadata": {"a": ""}},
        {"metadata": {"b": "a"}},
    ]
    for one, other in combinations(changes, 2):
        assert of_event(**one) != of_event(**other)


def test_reversals_differ_by_event_reason_and_time() -> None:
    requests = [
        of_reversal(FIRST),
        of_reversal(SECOND),
        of_reversal(FIRST, reason="twice"),
        of_reversal(FIRST, reason=""),
        of_reversal(FIRST, transaction_time="2026-03-01T12:00:00Z"),
    ]
    assert len(set(requests)) == len(requests)
    assert of_reversal(FIRST) == of_reversal(FIRST, reason=None, transaction_time=None)


def test_an_id_from_the_database_has_the_same_fingerprint() -> None:
    class DriversUuid(UUID):
        """Like the ids in asyncpg's rows."""

    assert of_reversal(DriversUuid(FIRST.hex)) == of_reversal(FIRST)


def test_fingerprints_equal_those_of_earlier_releases() -> None:
    """A key that was used before an upgrade is still of the same request after it."""
    whole = {
        "transaction_time": "2026-03-01T12:00:00Z",
        "external_id": "ch_1",
        "metadata": {"plan": "pro", "a": "é"},
    }
    digest = "2d9bde9af6b7d5c862d92405b7394b067763b3dfa54b1318e85312924595c713"
    assert of_event(**whole) == digest
    digest = "b3fd5bc95e5a437eb76595cafd03e2d4f4a688d5d82d59d404ddd8d8e7c1a74c"
    reversal = {"reason": "twice", "transaction_time": "2026-03-01T12:00:00Z"}
    assert of_reversal(FIRST, **reversal) == digest


def test_holds_differ_by_everything_they_say() -> None:
    changes: list[dict[str, object]] = [
        {},
        {"account_id": "cus_43"},
        {"amount_minor": 2001},
        {"currency": "EUR"},
        {"expires_at": "2026-03-01T12:00:00Z"},
        {"expires_at": "2026-03-01T12:00:00.000001Z"},
        {"external_id": "ch_1"},
        {"metadata": {"a": "b"}},
    ]
    for one, other in combinations(changes, 2):
        assert of_hold(**one) != of_hold(**other)
    assert of_hold() == of_hold(expires_at=None, external_id=None, metadata={})
    assert of_hold(expires_at="2026-03-01T12:00:00Z") == of_hold(
        expires_at="2026-03-01T14:00:00.000+02:00"
    )


def test_settlements_differ_by_hold_amount_and_operation() -> None:
    requests = [
        fingerprint("capture", [Capture(FIRST)]),
        fingerprint("capture", [Capture(SECOND)]),
        fingerprint("capture", [Capture(FIRST, 1)]),
        fingerprint("capture", [Capture(FIRST, 2)]),
        fingerprint("release", [Release(FIRST)]),
        fingerprint("release", [Release(SECOND)]),
    ]
    assert len(set(requests)) == len(requests)


def test_one_event_and_a_batch_of_one_are_different_requests() -> None:
    event = NewEvent.model_validate(EVENT)
    assert fingerprint("event", [event]) != fingerprint("batch", [event])


def test_the_order_of_a_batch_matters() -> None:
    one = NewEvent.model_validate(EVENT)
    other = NewEvent.model_validate({**EVENT, "amount_minor": 1})
    assert fingerprint("batch", [one, other]) != fingerprint("batch", [other, one])
    assert fingerprint("batch", [one]) != fingerprint("batch", [one, one])


@given(
    metadata=st.dictionaries(
        st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=40),
        st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=50),
        max_size=10,
    ),
    data=st.data(),
)
def test_neither_spelling_nor_order_of_a_body_matters(
    metadata: dict[str, str], data: st.DataObject
) -> None:
    event = {**EVENT, "external_id": "ch_1", "metadata": metadata}
    shuffled = dict(data.draw(st.permutations(list(event.items()))))
    shuffled["metadata"] = dict(data.draw(st.permutations(list(metadata.items()))))
    spellings = [json.dumps(event), json.dumps(shuffled, ensure_ascii=False, indent=3)]
    one, other = (fingerprint("event", [NewEvent.model_validate_json(text)]) for text in spellings)
    assert one == other
