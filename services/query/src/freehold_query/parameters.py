"""The query parameters of query's routes."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from freehold.contracts.fields import (
    AccountId,
    AccountPrefix,
    Currency,
    EventId,
    EventType,
    ExternalId,
    MetadataValue,
    PointInTime,
)
from freehold.http.parameters import NoQuery, PageQuery, SumInteger, documented_query
from freehold.http.preferences import prefer_header
from freehold.ledger.points_in_time import Moment

_METADATA = "metadata."
_IF_NONE_MATCH: Mapping[str, Any] = {
    "name": "If-None-Match",
    "in": "header",
    "required": False,
    "description": "The `ETag` of an earlier answer, to get 304 without a body while it holds.",
    "schema": {"type": "string", "maxLength": 1024},
}
SEARCHED_METADATA: Mapping[str, Any] = {
    "name": "metadata",
    "in": "query",
    "required": False,
    "description": "Only events with these values: a parameter for each searchable key, which is"
    " named `metadata.` and the key, as `metadata.order_id=o1`.",
    "style": "form",
    "explode": True,
    "schema": {
        "type": "object",
        "propertyNames": {"pattern": r"^metadata\..+$", "maxLength": 49},
        "additionalProperties": {"type": "string", "maxLength": 500},
    },
}
"""The parameters of `EventListQuery` that have no fixed names."""


def _metadata_parameter(name: str) -> str:
    if not name.startswith(_METADATA):
        raise PydanticCustomError("extra_forbidden", "no metadata")
    return name


_MetadataParameter = Annotated[str, AfterValidator(_metadata_parameter)]


class MomentQuery(NoQuery):
    """A point in time."""

    as_of: PointInTime | None = Field(
        default=None,
        description="Only events that happened by then (`transaction_time`), to the microsecond.",
    )
    known_at: PointInTime | None = Field(
        default=None,
        description="Only events that the ledger had by then (`recorded_at`), to the microsecond.",
    )

    @property
    def moment(self) -> Moment:
        """The point in time that is asked for; NOW if there is none."""
        return Moment(self.as_of, self.known_at)


class BranchQuery(MomentQuery):
    """A branch of accounts, and a point in time."""

    account_prefix: AccountPrefix = ""
    currency: Currency | None = None


class BalanceQuery(MomentQuery):
    """Parameters of an account's balances."""

    consistency: Literal["eventual", "strong"] = Field(
        default="eventual",
        description="`strong` includes every event committed before the request. An answer at a"
        " point in time always does.",
    )


class BalanceListQuery(PageQuery, BranchQuery):
    """Parameters of the list of balances."""

    least: SumInteger | None = Field(
        default=None, alias="min", description="Only balances of at least this many minor units."
    )
    most: SumInteger | None = Field(
        default=None, alias="max", description="Only balances of at most this many minor units."
    )

    @model_validator(mode="after")
    def _some_fit(self) -> Self:
        if self.least is not None and self.most is not None and self.least > self.most:
            raise ValueError(
                f"min must not be above max, and they were {self.least} and {self.most}"
            )
        return self


class PeriodQuery(NoQuery):
    """Parameters that choose events by their time: transaction_time, unless another one says so."""

    from_time: PointInTime | None = Field(
        default=None, alias="from", description="Only events of this time or later."
    )
    to_time: PointInTime | None = Field(
        default=None,
        alias="to",
        description="Only events before this time. Without it, also those that lie ahead.",
    )

    @model_validator(mode="after")
    def _is_in_order(self) -> Self:
        if self.from_time and self.to_time and self.from_time > self.to_time:
            raise ValueError("from must not be after to")
        return self


class EventListQuery(PageQuery, PeriodQuery):
    """Parameters of the list of events; each beside these is `metadata.` with a searchable key."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[_MetadataParameter, MetadataValue] = Field(init=False)

    order: Literal["asc", "desc"] = Field(
        default="asc", description="In ledger order, or against it."
    )
    account_id: AccountId | None = Field(default=None, description="Only events of this account.")
    external_id: ExternalId | None = Field(default=None, description="The one with this id.")
    transaction_id: EventId | None = Field(
        default=None, description="Only legs of this balanced transaction."
    )
    refunds_event_id: EventId | None = Field(
        default=None, description="Only refunds of this event."
    )
    event_type: EventType | None = Field(default=None, description="Only events of this type.")
    currency: Currency | None = None

    @property
    def metadata(self) -> dict[str, str]:
        """The values that events must have, by their metadata keys."""
        return {
            name.removeprefix(_METADATA): value for name, value in self.__pydantic_extra__.items()
        }


class HoldListQuery(PageQuery):
    """Parameters of the list of holds."""

    account_id: AccountId | None = Field(default=None, description="Only holds on this account.")
    status: Literal["pending", "settled"] | None = Field(
        default=None,
        description="Only pending ones; or only those that were captured or released, or expired.",
    )

    @property
    def pending(self) -> bool | None:
        """Whether only pending ones are asked for, or only settled ones; None for both."""
        return None if self.status is None else self.status == "pending"


def documented(query: type[NoQuery], *others: Mapping[str, Any]) -> dict[str, Any]:
    """Describe, for OpenAPI, what a read takes beside its path: a query, and other parameters."""
    return {"parameters": [*documented_query(query), *others, prefer_header(), _IF_NONE_MATCH]}
