"""New events and transactions as JSON: the bytes that rows of them would give."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from freehold.contracts.currency import MINOR_UNIT_EXPONENTS
from freehold.contracts.events import NewEvent
from freehold.contracts.fields import AMOUNT_MAX, AMOUNT_MIN
from freehold.ledger.append import Answer, AppendRequest, Outcome, Written
from freehold.ledger.documents import (
    event_json,
    new_event_json,
    new_transaction_json,
    transaction_document,
)

_TEXT = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=40)
_SECONDS = st.floats(0, timedelta(days=365 * 100).total_seconds())
_INSTANTS = _SECONDS.map(lambda s: datetime(1925, 1, 1, tzinfo=UTC) + timedelta(seconds=s))
_EVENTS = st.fixed_dictionaries(
    {
        "account_id": st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,254}", fullmatch=True),
        "event_type": st.from_regex(r"[A-Z][A-Z0-9_]{0,49}", fullmatch=True),
        "amount_minor": st.integers(AMOUNT_MIN, AMOUNT_MAX).filter(bool),
        "currency": st.sampled_from(sorted(MINOR_UNIT_EXPONENTS)),
    },
    optional={
        "transaction_time": _INSTANTS.map(
            lambda instant: instant.astimezone(timezone(timedelta(hours=-7))).isoformat()
        ),
        "external_id": _TEXT,
        "metadata": st.dictionaries(_TEXT, _TEXT, max_size=5),
    },
)


@given(
    sent=_EVENTS,
    first_seq=st.integers(1, 2**63 - 2),
    recorded_at=_INSTANTS,
    ids=st.binary(min_size=32, max_size=32),
    hashes=st.binary(min_size=64, max_size=64),
)
def test_a_new_event_is_written_as_its_row_is(
    sent: dict[str, Any], first_seq: int, recorded_at: datetime, ids: bytes, hashes: bytes
) -> None:
    event = NewEvent.model_validate(sent)
    request = AppendRequest("k", "", [event])
    written = Written(first_seq, recorded_at, recorded_at, ids, hashes)
    answer = Answer(Outcome.CREATED, request, written=written, first=1)
    (new,) = answer.new_events
    assert new_event_json(new) == event_json(answer.events[0])
    transaction = AppendRequest("k", "", [event, event], transaction=True)
    answer = Answer(Outcome.CREATED, transaction, written=written)
    assert new_transaction_json(answer.new_events) == orjson.dumps(
        transaction_document(answer.events)
    )
