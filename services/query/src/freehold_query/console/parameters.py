"""The query parameters of pages: what their forms send, and what links name."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Self
from urllib.parse import urlencode

from pydantic import BeforeValidator, Field, model_validator

from freehold.contracts.fields import AccountPrefix, Currency, PointInTime
from freehold.http.parameters import NoQuery
from freehold.ledger.points_in_time import Moment

_WITHOUT_OFFSET = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?")


def _in_utc(text: Any) -> Any:
    """Complete what a field of a date and a time sends (HTML, section 2.3.5.4): pages use UTC."""
    match = _WITHOUT_OFFSET.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        return text
    return f"{text}Z" if match[1] else f"{text}:00Z"


FieldTime = Annotated[PointInTime, BeforeValidator(_in_utc)]
"""A time from a field or a link. Without an offset it is in UTC."""


class PageParameters(NoQuery):
    """The parameters of a page. An empty field of a form counts as one that was left out."""

    @model_validator(mode="before")
    @classmethod
    def _without_empty_fields(cls, given: dict[str, str]) -> dict[str, str]:
        return {name: value for name, value in given.items() if value != ""}

    def given(self) -> dict[str, str]:
        """Give the parameters as a link to the same page has them."""
        document = self.model_dump(mode="json", exclude_defaults=True, by_alias=True)
        return {name: str(value) for name, value in document.items()}

    def address(self, path: str, **changes: str | None) -> str:
        """Write the address of a page with these parameters and others; None leaves one out."""
        given = {**self.given(), **changes}
        parameters = urlencode({name: value for name, value in given.items() if value is not None})
        return f"{path}?{parameters}".rstrip("?")


class PeriodParameters(PageParameters):
    """A period: from a time, inclusive, until before another one."""

    from_time: FieldTime | None = Field(default=None, alias="from")
    to_time: FieldTime | None = Field(default=None, alias="to")

    @model_validator(mode="after")
    def _is_in_order(self) -> Self:
        if self.from_time and self.to_time and self.from_time > self.to_time:
            raise ValueError("from must not be after to")
        return self


class MomentParameters(PageParameters):
    """A point in time."""

    as_of: FieldTime | None = None
    known_at: FieldTime | None = None

    @property
    def moment(self) -> Moment:
        """The point in time that is asked for; NOW if there is none."""
        return Moment(self.as_of, self.known_at)


class BranchParameters(MomentParameters):
    """A branch of accounts, and a point in time."""

    account_prefix: AccountPrefix = ""
    currency: Currency | None = None


def field_time(at: datetime | None) -> str:
    """Write a time as the value of a field of a date and a time, which knows milliseconds."""
    if at is None:
        return ""
    at = at.astimezone(UTC).replace(tzinfo=None)
    return at.isoformat(timespec="milliseconds" if at.microsecond else "seconds")
