"""Events and append requests with everything filled in that a test does not care about."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import count
from uuid import UUID

from freehold.contracts.events import NewEvent, NewReversal
from freehold.contracts.holds import NewHold
from freehold.ledger import append as ledger_append
from freehold.ledger.append import Addition, Answer, AppendRequest, Reversal, fingerprint
from freehold.ledger.client import Connection

_numbers = count(1)
_LEDGER_NOW = (
    "CREATE OR REPLACE FUNCTION ledger_now() RETURNS timestamptz LANGUAGE sql VOLATILE"
    " AS $$ SELECT {} $$"
)

_SMALL_BLOCKS = """
    CREATE OR REPLACE FUNCTION events_per_block() RETURNS integer
    LANGUAGE sql IMMUTABLE AS 'SELECT 4';
    CREATE OR REPLACE FUNCTION events_per_page() RETURNS integer
    LANGUAGE sql IMMUTABLE AS 'SELECT 3';
"""


def new_event(
    account_id: str = "cus_1",
    amount_minor: int = 100,
    *,
    currency: str = "USD",
    event_type: str = "CHARGE",
    transaction_time: datetime | None = None,
    refunds: UUID | None = None,
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
        # As a request has it, not as the driver has it, which orjson does not take.
        refunds_event_id=refunds and UUID(bytes=refunds.bytes),
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


def undo(event_id: UUID, reason: str | None = None, at: datetime | None = None) -> Reversal:
    """A reversal of an event."""
    return Reversal(event_id, NewReversal(reason=reason, transaction_time=at))


def append_request(
    *additions: Addition, key: str | None = None, operation: str = "test", transaction: bool = False
) -> AppendRequest:
    """What one key asks for; a key of its own where none is given."""
    return AppendRequest(
        f"key-{next(_numbers)}" if key is None else key,
        fingerprint(operation, additions),
        additions,
        transaction,
    )


async def let_pass(connection: Connection, time: timedelta) -> None:
    """Move the ledger's clock on by so much."""
    ahead: timedelta = await connection.fetchval("SELECT ledger_now() - clock_timestamp()")
    await set_clock(connection, ahead + time)


async def set_clock(connection: Connection, ahead: timedelta) -> None:
    """Have the ledger's clock so far ahead of the server's."""
    now = f"clock_timestamp() + make_interval(secs => {ahead.total_seconds()})"
    await connection.execute(_LEDGER_NOW.format(now))


async def stop_clock(connection: Connection, at: datetime) -> None:
    """Have the ledger's clock stand still."""
    await connection.execute(_LEDGER_NOW.format(f"'{at.isoformat()}'::timestamptz"))


async def make_blocks_small(connection: Connection) -> None:
    """Have an account's events cut into blocks of 4, and these into pages of 3."""
    await connection.execute(_SMALL_BLOCKS)


async def append(connection: Connection, requests: Sequence[AppendRequest]) -> list[Answer]:
    """Append, and have the answers alone."""
    return (await ledger_append.append(connection, requests)).answers
