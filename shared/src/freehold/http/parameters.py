"""Query parameters: what each route takes, read strictly.

A parameter that is unknown or given twice is refused: to ignore it would answer another question.
"""

import re
from collections import Counter
from typing import Annotated, Any, TypeVar
from uuid import UUID

from fastapi import Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from freehold.contracts.errors import NotFound, ValidationFailed
from freehold.contracts.excerpts import excerpt
from freehold.contracts.faults import Document
from freehold.contracts.fields import read_event_id
from freehold.contracts.values import CURSOR_PATTERN, INT_64_MAX, SUM_MAX
from freehold.http.bodies import field_errors, pointer, refusal, schema_of
from freehold.http.schemas import without_null

_PARAMETERS_MAX = 100
_INTEGER = re.compile(r"-?[0-9]{1,38}", re.ASCII)

AnyQuery = TypeVar("AnyQuery", bound="NoQuery")


def read_integer(text: str) -> int:
    """Read an integer in digits.

    Raises:
        ValueError: It is none, or is longer than any amount.
    """
    # int() itself would also take "1_000" and " 7 ".
    if not _INTEGER.fullmatch(text):
        raise ValueError(
            f"must be an integer of at most 38 digits, in digits only, and was {excerpt(text)}"
        )
    return int(text)


def _boolean(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError(f"must be true or false, and was {excerpt(text)}")
    return text == "true"


Boolean = Annotated[bool, BeforeValidator(_boolean)]
# The bounds stand before the validator of the text, so that JSON Schema has them.
SeqInteger = Annotated[int, Field(ge=1, le=INT_64_MAX), BeforeValidator(read_integer)]
SumInteger = Annotated[int, Field(ge=-SUM_MAX, le=SUM_MAX), BeforeValidator(read_integer)]


class NoQuery(BaseModel):
    """No parameters. The parameters of each route are a subclass."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PageQuery(NoQuery):
    """Parameters of every list."""

    limit: Annotated[int, Field(ge=1, le=1000), BeforeValidator(read_integer)] = Field(
        default=100, description="How many to answer at most."
    )
    cursor: str | None = Field(
        default=None,
        description="The next_cursor of the previous page, with the same filters.",
        json_schema_extra={"pattern": CURSOR_PATTERN},
    )


def given_parameters(request: Request) -> list[tuple[str, str]]:
    """Give the names and values in a request's query string.

    Raises:
        ValidationFailed: There are more than 100: to parse them would delay other requests.
    """
    if request.scope["query_string"].count(b"&") >= _PARAMETERS_MAX:
        raise ValidationFailed(f"the query string must have at most {_PARAMETERS_MAX} parameters")
    return request.query_params.multi_items()


def read_query(model: type[AnyQuery], request: Request) -> AnyQuery:
    """Read a request's query string.

    Raises:
        ValidationFailed: A parameter is unknown or breaks a rule; the error names each.
    """
    given = given_parameters(request) if request.scope["query_string"] else []
    values = dict(given)
    if len(values) < len(given):
        counts = Counter(name for name, _ in given)
        raise field_errors(
            (pointer([name]), f"{excerpt(name)} is given more than once")
            for name, count in counts.items()
            if count > 1
        )
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise refusal(error, _parameters(model, values)) from None


def _parameters(model: type[NoQuery], values: dict[str, str]) -> Document:
    return Document(schema_of(model), values, "the query string", "parameter")


def path_id(text: str, what: str) -> UUID:
    """Read an id in a path.

    Raises:
        NotFound: It does not have the form of an id.
    """
    found = read_event_id(text)
    if found is None:
        raise NotFound(f"there is no such {what}")
    return found


def documented_query(model: type[NoQuery]) -> list[dict[str, Any]]:
    """Describe, for OpenAPI, the query parameters of a route that parses them itself."""
    document = model.model_json_schema(ref_template="#/components/schemas/{model}")
    required = document.get("required", [])
    return [
        {
            "name": name,
            "in": "query",
            "required": name in required,
            "description": schema.pop("description", ""),
            "schema": without_null(schema),
        }
        for name, schema in document.get("properties", {}).items()
    ]
