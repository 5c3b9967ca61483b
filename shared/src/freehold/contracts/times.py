"""Times in answers: UTC, with microseconds. Times in event ids."""

from datetime import datetime
from functools import lru_cache
from typing import Annotated
from uuid import UUID

from pydantic import PlainSerializer, WithJsonSchema


# Cached, since the events of one call have the same time.
@lru_cache(maxsize=1024)
def rfc_3339(instant: datetime) -> str:
    """Write a UTC time with microseconds and a `Z` (RFC 3339, section 5.6)."""
    return instant.isoformat(timespec="microseconds")[:26] + "Z"


def uuid_time_s(uuid: UUID) -> float:
    """Read the time in a UUIDv7, in seconds of Unix time, to the millisecond (RFC 9562, 5.7)."""
    return (uuid.int >> 80) / 1000


UtcTime = Annotated[
    datetime,
    PlainSerializer(rfc_3339, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
