"""The types of fields in requests, with their rules."""

import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from unicodedata import category
from uuid import UUID

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints
from typing_extensions import TypeAliasType

from freehold.contracts.currency import MINOR_UNIT_EXPONENTS
from freehold.contracts.excerpts import excerpt

AMOUNT_MIN = -(2**63)
AMOUNT_MAX = 2**63 - 1
AHEAD_MAX = timedelta(hours=24)
EARLIEST = datetime(1900, 1, 1, tzinfo=UTC)
# The last instants of a datetime cannot be used: Postgres's driver makes them infinity, and a
# conversion to another time zone overflows.
CALENDAR_END = datetime(9999, 1, 1, tzinfo=UTC)

TENANT_ID_PATTERN = r"^[a-z][a-z0-9-]{1,62}$"
ACCOUNT_ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._:@-]{0,254}$"
EVENT_TYPE_PATTERN = r"^[A-Z][A-Z0-9_]{0,49}$"
CURRENCY_PATTERN = r"^[A-Z]{3}$"
LOOKS_LIKE: Mapping[str, str] = {
    TENANT_ID_PATTERN: "acme or acme-eu (small letters, digits and -, at most 63, a letter first)",
    ACCOUNT_ID_PATTERN: "cus_42 or customer:42 (letters, digits and . _ : @ -, at most 255, a"
    " letter or digit first)",
    EVENT_TYPE_PATTERN: "CHARGE or CARD_FEE (capitals, digits and _, at most 50, a capital first)",
    CURRENCY_PATTERN: "USD or EUR (a code of ISO 4217, in capitals)",
}
"""What values of a pattern look like, for people: in documentation and in messages."""
EVENT_TYPES_RESERVED = (
    "must not be REVERSAL or HOLD, nor begin with REVERSAL_ or HOLD_: these are the ledger's own"
    " events. Reverse an event or place a hold, or choose another type"
)
# The same as is_reserved in the ledger, which decides it for events.
_RESERVED = re.compile(r"(REVERSAL|HOLD)(_.*)?")
TOO_LATE = "must lie before 9999-01-01T00:00:00Z"
_TOO_EARLY = "must not lie before 1900-01-01T00:00:00Z"
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_TURNING = re.compile("[\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
# Unicode's general categories without a glyph of their own: control and format characters,
# surrogates, private use, unassigned, white space, combining marks.
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zs", "Zl", "Zp", "Mn", "Mc", "Me"})
# Letters and a symbol without a glyph: Hangul fillers, the empty Braille pattern.
_BLANK = frozenset("\u115f\u1160\u3164\uffa0\u2800")
_SPACE_BEFORE_OFFSET = re.compile(r" (?=\d{2}:\d{2}$)", re.ASCII)
# RFC 3339, section 5.6, with the "T" and an offset required.
_RFC_3339 = re.compile(
    r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d{1,6}\d*)?([Zz]|[+-]\d{2}:\d{2})", re.ASCII
)


def _non_zero(amount: int) -> int:
    if amount == 0:
        raise ValueError("must not be zero")
    return amount


def _known_currency(code: str) -> str:
    if code not in MINOR_UNIT_EXPONENTS:
        raise ValueError(f"must be a currency of ISO 4217, such as USD, and was {excerpt(code)}")
    return code


def no_control_characters(text: str) -> str:
    """Refuse text that holds a control character (Unicode category Cc).

    Raises:
        ValueError: The text holds one.
    """
    # isprintable is fast, and false for all control characters.
    if not text.isprintable() and _CONTROL.search(text):
        raise ValueError(f"must not hold control characters, and was {excerpt(text)}")
    return text


def not_reserved(event_type: str) -> str:
    """Refuse a type of the ledger's own events.

    Raises:
        ValueError: It is one.
    """
    if _RESERVED.fullmatch(event_type):
        raise ValueError(EVENT_TYPES_RESERVED)
    return event_type


def readable(text: str) -> str:
    """Refuse a name that could mislead its reader.

    It must have a visible character, and none that changes the direction of the text around it
    (Unicode Standard Annex 9, section 2) or begins a line.

    Raises:
        ValueError: It breaks this rule.
    """
    no_control_characters(text)
    if _TURNING.search(text):
        raise ValueError(
            "must not hold characters that turn its direction or begin a line, and was"
            f" {excerpt(text)}"
        )
    if not any(category(one) not in _UNSEEN and one not in _BLANK for one in text):
        raise ValueError(f"must show a letter, a digit or a symbol, and was {excerpt(text)}")
    return text


def readable_or_empty(text: str) -> str:
    """Refuse a description by the rule of `readable`, except that it may be empty.

    Raises:
        ValueError: It breaks this rule.
    """
    return text and readable(text)


def _rfc_3339(value: Any) -> Any:
    if isinstance(value, datetime):
        return value
    if isinstance(value, str) and _RFC_3339.fullmatch(value):
        # Parsed here, since strict pydantic refuses text after a validator in Python.
        with suppress(ValueError):
            return datetime.fromisoformat(value.upper())
    raise ValueError(
        "must be a time with an offset as in RFC 3339, such as 2026-03-01T12:00:00Z, and was"
        f" {excerpt(value)}"
    )


def _plus(value: Any) -> Any:
    # In a query string a "+" that is not escaped means a space (URL Standard, section 5.1).
    return _SPACE_BEFORE_OFFSET.sub("+", value) if isinstance(value, str) else value


def _in_calendar(instant: datetime) -> datetime:
    if instant < EARLIEST:
        raise ValueError(_TOO_EARLY)
    if instant >= CALENDAR_END:
        raise ValueError(TOO_LATE)
    return instant.astimezone(UTC)


def _in_range(instant: datetime) -> datetime:
    if instant < EARLIEST:
        raise ValueError(_TOO_EARLY)
    if instant > datetime.now(UTC) + AHEAD_MAX:
        raise ValueError("must not lie more than 24 hours ahead")
    return instant if instant.tzinfo is UTC else instant.astimezone(UTC)


def read_event_id(text: str) -> UUID | None:
    """Read an event's id; None if it is not a UUID in its usual form (RFC 9562)."""
    try:
        found = UUID(text)
    except ValueError:
        return None
    # UUID() also accepts braces, urn: and missing hyphens; an event has one address.
    return found if str(found) == text.lower() else None


def _event_id(value: Any) -> Any:
    if isinstance(value, UUID):
        return value
    found = read_event_id(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError(f"must be a UUID (RFC 9562), and was {excerpt(value)}")
    return found


def _looking_like(pattern: str) -> Any:
    return Field(pattern=pattern, description=f"Looks like {LOOKS_LIKE[pattern]}.")


AccountId = Annotated[str, _looking_like(ACCOUNT_ID_PATTERN)]
AccountPrefix = Annotated[
    str,
    StringConstraints(max_length=255),
    AfterValidator(no_control_characters),
    Field(description="Only accounts whose id begins with this."),
]
EventType = Annotated[str, _looking_like(EVENT_TYPE_PATTERN)]
# A transaction is named after its first leg.
EventId = Annotated[UUID, BeforeValidator(_event_id)]
DeclarableEventType = Annotated[EventType, AfterValidator(not_reserved)]
AmountMinor = Annotated[int, Field(ge=AMOUNT_MIN, le=AMOUNT_MAX), AfterValidator(_non_zero)]
Currency = Annotated[str, _looking_like(CURRENCY_PATTERN), AfterValidator(_known_currency)]
Instant = Annotated[datetime, BeforeValidator(_rfc_3339)]
TransactionTime = Annotated[datetime, BeforeValidator(_rfc_3339), AfterValidator(_in_range)]
PointInTime = Annotated[Instant, BeforeValidator(_plus), AfterValidator(_in_calendar)]
"""A time in a query string. Digits beyond microseconds are left out, as in the times of events."""
# Whether it lies ahead is not checked here: a repeated request must be parsed as at first.
ExpiryTime = Annotated[Instant, AfterValidator(_in_calendar)]
ExternalId = Annotated[
    str, StringConstraints(min_length=1, max_length=255), AfterValidator(no_control_characters)
]
MetadataKey = Annotated[
    str, StringConstraints(min_length=1, max_length=40), AfterValidator(no_control_characters)
]
MetadataValue = Annotated[
    str, StringConstraints(max_length=500), AfterValidator(no_control_characters)
]
Metadata = TypeAliasType(
    "Metadata", Annotated[dict[MetadataKey, MetadataValue], Field(max_length=50)]
)


def is_account_id(text: str) -> bool:
    """Say whether an account may have this id."""
    return bool(re.fullmatch(ACCOUNT_ID_PATTERN, text))
