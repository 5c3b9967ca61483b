"""Query parameters: what each list takes, read strictly.

A parameter that is misspelt, doubled or not built yet is refused. To ignore it would answer a
question that nobody asked.
"""

import re
from collections import Counter
from typing import Annotated, Any, Literal, Self, TypeVar

from fastapi import Request
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from freehold.contracts.fields import (
    ACCOUNT_ID_PATTERN,
    AccountId,
    Currency,
    no_control_characters,
)
from freehold.service.bodies import field_errors, pointer, refusal

_INTEGER = re.compile(r"-?[0-9]{1,38}", re.ASCII)

Query = TypeVar("Query", bound=BaseModel)


def _integer(text: str) -> int:
    # int() itself would also take "1_000" and " 7 ".
    if not _INTEGER.fullmatch(text):
        raise ValueError("an integer of at most 38 digits, written in digits only")
    return int(text)


Integer = Annotated[int, BeforeValidator(_integer)]
Limit = Annotated[Integer, Field(ge=1, le=1000, description="How many to answer at most.")]
Cursor = Annotated[
    str | None, Field(description="The next_cursor of the page before, with the same filters.")
]


class _Query(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NoQuery(_Query):
    """For routes that take no parameters."""


class BalanceQuery(_Query):
    """Parameters of an account's balances."""

    consistency: Literal["eventual", "strong"] = Field(
        default="eventual",
        description="`strong` includes every event committed before the request.",
    )


class BalanceListQuery(_Query):
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
    limit: Limit = 100
    cursor: Cursor = None

    @model_validator(mode="after")
    def _some_fit(self) -> Self:
        if self.least is not None and self.most is not None and self.least > self.most:
            raise ValueError("min must not be above max")
        return self


class EventListQuery(_Query):
    """Parameters of the list of events."""

    account_id: AccountId | None = Field(default=None, description="Only events of this account.")
    limit: Limit = 100
    cursor: Cursor = None


def read_query(model: type[Query], request: Request) -> Query:
    """Read a request's query string.

    Raises:
        Problem: validation-failed, naming every parameter that is unknown or breaks a rule.
    """
    given = request.query_params.multi_items()
    values = dict(given)
    if len(values) < len(given):
        counts = Counter(name for name, _ in given)
        raise field_errors(
            (pointer([name]), "given more than once") for name, count in counts.items() if count > 1
        )
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise refusal(error) from None


def documented(query: type[BaseModel], **path: str) -> dict[str, Any]:
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
    properties = query.model_json_schema()["properties"] if query.model_fields else {}
    in_query = [
        {
            "name": name,
            "in": "query",
            "required": False,
            "description": schema.pop("description", ""),
            "schema": schema,
        }
        for name, schema in properties.items()
    ]
    return {"parameters": in_path + in_query}
