"""The field types that requests are made of, each with the rule that api.md gives it."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

from freehold.contracts.currency import MINOR_UNIT_EXPONENTS

AMOUNT_MIN = -(2**63)
AMOUNT_MAX = 2**63 - 1
AHEAD_MAX = timedelta(hours=24)
EARLIEST = datetime(1900, 1, 1, tzinfo=UTC)
# The last instants that a datetime can hold are no instants to others: a driver of Postgres makes
# them infinity, and a conversion to another time zone goes over the edge.
EXPIRY_END = datetime(9999, 1, 1, tzinfo=UTC)

ACCOUNT_ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._:@-]{0,254}$"
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
# RFC 3339, section 5.6, with the "T" and an offset required.
_RFC_3339 = re.compile(
    r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d{1,6}\d*)?([Zz]|[+-]\d{2}:\d{2})", re.ASCII
)


def _non_zero(amount: int) -> int:
    if amount == 0:
        raise ValueError("an amount must not be zero")
    return amount


def _known_currency(code: str) -> str:
    if code not in MINOR_UNIT_EXPONENTS:
        raise ValueError("not a currency code of ISO 4217, in capitals")
    return code


def no_control_characters(text: str) -> str:
    """Refuse text that holds a control character (Unicode category Cc).

    Raises:
        ValueError: The text holds one.
    """
    if _CONTROL.search(text):
        raise ValueError("text must not hold control characters")
    return text


def _rfc_3339(value: Any) -> Any:
    if isinstance(value, datetime):
        return value
    if not isinstance(value, str) or not _RFC_3339.fullmatch(value):
        raise ValueError('a time is written as in RFC 3339, for instance "2026-03-01T12:00:00Z"')
    # Read here: behind a validator in Python, strict pydantic would refuse the text itself.
    return datetime.fromisoformat(value.upper())


def _expiry(instant: datetime) -> datetime:
    if instant < EARLIEST:
        raise ValueError("a time must not lie before 1900-01-01T00:00:00Z")
    if instant >= EXPIRY_END:
        raise ValueError("the time must lie before 9999-01-01T00:00:00Z")
    return instant.astimezone(UTC)


def _in_range(instant: datetime) -> datetime:
    if instant < EARLIEST:
        raise ValueError("a time must not lie before 1900-01-01T00:00:00Z")
    if instant > datetime.now(UTC) + AHEAD_MAX:
        raise ValueError("a time must not lie more than 24 hours ahead")
    return instant.astimezone(UTC)


AccountId = Annotated[str, StringConstraints(pattern=ACCOUNT_ID_PATTERN)]
EventType = Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Z0-9_]{0,49}$")]
AmountMinor = Annotated[int, Field(ge=AMOUNT_MIN, le=AMOUNT_MAX), AfterValidator(_non_zero)]
Currency = Annotated[
    str,
    StringConstraints(min_length=3, max_length=3),
    AfterValidator(_known_currency),
    Field(description="An ISO 4217 code, in capitals."),
]
Instant = Annotated[datetime, BeforeValidator(_rfc_3339)]
TransactionTime = Annotated[datetime, BeforeValidator(_rfc_3339), AfterValidator(_in_range)]
# That it lies ahead is not seen here: a request sent again must be read as it was at first.
ExpiryTime = Annotated[Instant, AfterValidator(_expiry)]
ExternalId = Annotated[
    str,
    StringConstraints(min_length=1, max_length=255),
    AfterValidator(no_control_characters),
]
MetadataKey = Annotated[
    str, StringConstraints(min_length=1, max_length=40), AfterValidator(no_control_characters)
]
MetadataValue = Annotated[
    str, StringConstraints(max_length=500), AfterValidator(no_control_characters)
]
Metadata = Annotated[dict[MetadataKey, MetadataValue], Field(max_length=50)]


def read_event_id(text: str) -> UUID | None:
    """Read an event's id out of a path; None where it is none in the form we write (RFC 9562)."""
    try:
        found = UUID(text)
    except ValueError:
        return None
    # UUID() also reads braces, urn: and missing hyphens; one event has one address.
    return found if str(found) == text.lower() else None
