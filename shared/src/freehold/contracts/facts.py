"""Whether a request with a known external_id agrees with the first event of that id.

All that the request says must hold for the first event, on every route. What it leaves out is not
compared: a missing time is the time of recording, and missing metadata keys do not matter. Given
metadata is compared, since it would be lost otherwise.
"""

from typing import Any, Protocol

import orjson

from freehold.contracts.events import NewEvent
from freehold.contracts.holds import NewHold

_EVENT_COLUMNS = {
    "account_id": "account_id",
    "event_type": "event_type",
    "amount_minor": "amount_minor",
    "currency": "currency",
    "transaction_time": "transaction_time",
    "refunds_event_id": "refunds_event_id",
}
_HOLD_COLUMNS = {
    "account_id": "account_id",
    "amount_minor": "held_minor",
    "currency": "currency",
    "expires_at": "hold_expires_at",
}

Fact = tuple[str, ...]
"""The path of a field in a request."""


class Recorded(Protocol):
    """An event, by column name."""

    def __getitem__(self, name: str, /) -> Any: ...


def differing(said: NewEvent | NewHold, first: Recorded) -> list[Fact]:
    """Name the fields in which a request differs from the first event of its external_id.

    Args:
        said: The requested event or hold. Its times are instants: their offsets do not matter.
        first: The first event with the external_id.

    Returns:
        Paths such as ("amount_minor",) and ("metadata", "plan").
    """
    columns = _HOLD_COLUMNS if isinstance(said, NewHold) else _EVENT_COLUMNS
    recorded = orjson.loads(first["metadata_json"])
    fields: list[Fact] = [
        (field,)
        for field, column in columns.items()
        if (value := getattr(said, field)) is not None and value != first[column]
    ]
    metadata = (said.metadata or {}).items()
    return [*fields, *(("metadata", key) for key, text in metadata if recorded.get(key) != text)]
