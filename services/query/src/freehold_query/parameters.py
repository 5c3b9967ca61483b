"""The query parameters of query's routes."""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from freehold.contracts.fields import (
    ACCOUNT_ID_PATTERN,
    AccountId,
    Currency,
    no_control_characters,
)
from freehold.service.parameters import Integer, NoQuery, PageQuery, documented_query


class BalanceQuery(NoQuery):
    """Parameters of an account's balances."""

    consistency: Literal["eventual", "strong"] = Field(
        default="eventual",
        description="`strong` includes every event committed before the request.",
    )


class BalanceListQuery(PageQuery):
    """Parameters of the list of balances."""

    account_prefix: Annotated[
        str, StringConstraints(max_length=255), AfterValidator(no_control_characters)
    ] = Field(default="", description="Only accounts whose id begins so.")
    currency: Currency | None = None
    least: Integer | None = Field(
        default=None, alias="min", description="Only balances of at least this many minor units."
    )
    most: Integer | None = Field(
        default=None, alias="max", description="Only balances of at most this many minor units."
    )

    @model_validator(mode="after")
    def _some_fit(self) -> Self:
        if self.least is not None and self.most is not None and self.least > self.most:
            raise ValueError("min must not be above max")
        return self


class EventListQuery(PageQuery):
    """Parameters of the list of events."""

    account_id: AccountId | None = Field(default=None, description="Only events of this account.")


def documented(query: type[NoQuery], **path: str) -> dict[str, Any]:
    """Describe, for OpenAPI, the parameters of a route that reads them itself.

    Args:
        query: The model of its query string.
        path: The names in its path, each with what it is.
    """
    in_path = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": description,
            "schema": {"type": "string"}
            | ({"pattern": ACCOUNT_ID_PATTERN} if name == "account_id" else {}),
        }
        for name, description in path.items()
    ]
    return {"parameters": in_path + documented_query(query)}
