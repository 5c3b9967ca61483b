"""Events and append requests with everything filled in that a test does not care about."""

from collections.abc import Sequence
from datetime import datetime
from itertools import count
from uuid import UUID

from freehold.contracts.events import NewEvent, NewReversal
from freehold.ledger.client import AppendRequest, Reversal, fingerprint

_numbers = count(1)


def new_event(
    account_id: str = "cus_1",
    amount_minor: int = 100,
    *,
    currency: str = "USD",
    event_type: str = "CHARGE",
    transaction_time: datetime | None = None,
    external_id: str | None = None,
    metadata: dict[str, str] | None = None,
) -> NewEvent:
    """An event to append."""
    return NewEvent(
        account_id=account_id,
        event_type=event_type,
        amount_minor=amount_minor,
        currency=currency,
        transaction_time=transaction_time,
        external_id=external_id,
        metadata=metadata,
    )


def undo(event_id: UUID, reason: str | None = None) -> Reversal:
    """A reversal of an event."""
    return Reversal(event_id, NewReversal(reason=reason))


def append_request(
    *additions: NewEvent | Reversal, key: str | None = None, operation: str = "test"
) -> AppendRequest:
    """What one key asks for; a key of its own where none is given."""
    asked: Sequence[NewEvent] | Sequence[Reversal] = additions  # type: ignore[assignment]
    return AppendRequest(
        f"key-{next(_numbers)}" if key is None else key, fingerprint(operation, asked), asked
    )
