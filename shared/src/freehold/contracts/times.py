"""Times in answers: UTC, with microseconds."""

from datetime import datetime
from functools import lru_cache
from typing import Annotated

from pydantic import PlainSerializer, WithJsonSchema


# Cached, since the events of one call have the same time.
@lru_cache(maxsize=1024)
def rfc_3339(instant: datetime) -> str:
    """Write a UTC time with microseconds and a `Z` (RFC 3339, section 5.6)."""
    return instant.isoformat(timespec="microseconds")[:26] + "Z"


UtcTime = Annotated[
    datetime,
    PlainSerializer(rfc_3339, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
