"""Events and append requests with everything filled in that a test does not care about."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import count
from uuid import UUID

from freehold.contracts.events import NewEvent, NewReversal
from freehold.contracts.holds import NewHold
from freehold.ledger import appending
from freehold.ledger.appending import Addition, Answer, AppendRequest, Reversal, fingerprint
from freehold.ledger.client import Connection

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


def new_hold(
    account_id: str = "cus_1",
    amount_minor: int = 100,
    *,
    currency: str = "USD",
    expires_at: datetime | None = None,
    external_id: str | None = None,
    metadata: dict[str, str] | None = None,
) -> NewHold:
    """An amount to set aside."""
    return NewHold(
        account_id=account_id,
        currency=currency,
        amount_minor=amount_minor,
        expires_at=expires_at,
        external_id=external_id,
        metadata=metadata,
    )


def undo(event_id: UUID, reason: str | None = None) -> Reversal:
    """A reversal of an event."""
    return Reversal(event_id, NewReversal(reason=reason))


def append_request(
    *additions: Addition,
    key: str | None = None,
    operation: str = "test",
    transaction: bool = False,
) -> AppendRequest:
    """What one key asks for; a key of its own where none is given."""
    return AppendRequest(
        f"key-{next(_numbers)}" if key is None else key,
        fingerprint(operation, additions),
        additions,
        transaction,
    )


async def let_pass(connection: Connection, time: timedelta) -> None:
    """Move the ledger's clock, which never goes back, to so much later than now."""
    await connection.execute(
        "UPDATE ledger_head"
        " SET last_recorded_at = greatest(clock_timestamp(), last_recorded_at) + $1",
        time,
    )


async def append(connection: Connection, requests: Sequence[AppendRequest]) -> list[Answer]:
    """Append, and have the answers alone."""
    return (await appending.append(connection, requests)).answers
