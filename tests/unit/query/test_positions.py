"""Positions of live streams: opaque to clients, and bound to what they were sent for."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.contracts.errors import ValidationFailed
from freehold_query.stream.positions import BEGINNING, Position, Positions

OURS = Positions("acme", "cus_")
listed = st.none() | st.just(BEGINNING) | st.just(("cus_42", "USD"))
positions = st.builds(Position, st.integers(1, 10**17), st.uuids(), listed)


@given(positions)
def test_an_id_is_read_again(position: Position) -> None:
    assert OURS.position_of(OURS.id_of(position)) == position


@pytest.mark.parametrize(
    "others",
    [Positions("other", "cus_"), Positions("acme", "cus"), Positions("acme", None)],
    ids=["another tenant's", "another prefix", "no account"],
)
@given(positions)
def test_an_id_of_another_stream_is_refused(others: Positions, position: Position) -> None:
    with pytest.raises(ValidationFailed) as refused:
        OURS.position_of(others.id_of(position))
    assert [error.pointer for error in refused.value.errors] == ["/last_event_id"]


@pytest.mark.parametrize(
    "parts",
    [
        (),
        ("1",),
        ("0", str(UUID(int=1))),
        ("-1", str(UUID(int=1))),
        ("1" * 19, str(UUID(int=1))),
        ("1", "7"),
        ("1", str(UUID(int=1)), "cus_42"),
        ("1", str(UUID(int=1)), "cus 42", "USD"),
        ("1", str(UUID(int=1)), "cus_42", "usd"),
        ("1", str(UUID(int=1)), "cus_42", "USD", "more"),
    ],
)
def test_an_id_that_was_made_up_is_refused(parts: tuple[str, ...]) -> None:
    with pytest.raises(ValidationFailed):
        OURS.position_of(OURS.write(*parts))


@pytest.mark.parametrize("text", ["", "7", "é", "W10", "x" * 2_000])
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(ValidationFailed):
        OURS.position_of(text)
