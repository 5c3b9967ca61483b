"""Query parameters: what each route takes, read strictly.

A parameter that is misspelt, doubled or not built yet is refused. To ignore it would answer a
question that nobody asked.
"""

import re
from collections import Counter
from typing import Annotated, Any, TypeVar
from uuid import UUID

from fastapi import Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from freehold.contracts.fields import read_event_id
from freehold.contracts.problems import NOT_FOUND, VALIDATION_FAILED, Problem
from freehold.service.bodies import field_errors, pointer, refusal

_PARAMETERS_MAX = 100
_INTEGER = re.compile(r"-?[0-9]{1,38}", re.ASCII)

AnyQuery = TypeVar("AnyQuery", bound="NoQuery")


def _integer(text: str) -> int:
    # int() itself would also take "1_000" and " 7 ".
    if not _INTEGER.fullmatch(text):
        raise ValueError("an integer of at most 38 digits, written in digits only")
    return int(text)


Integer = Annotated[int, BeforeValidator(_integer)]


class NoQuery(BaseModel):
    """For routes that take no parameters, and the base of the parameters of those that do."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PageQuery(NoQuery):
    """Parameters of every list."""

    limit: Annotated[Integer, Field(ge=1, le=1000)] = Field(
        default=100, description="How many to answer at most."
    )
    cursor: str | None = Field(
        default=None, description="The next_cursor of the page before, with the same filters."
    )


def given_parameters(request: Request) -> list[tuple[str, str]]:
    """Give the names and values in a request's query string.

    Raises:
        Problem: validation-failed, where there are so many that to read them would hold others up.
    """
    if request.scope["query_string"].count(b"&") >= _PARAMETERS_MAX:
        detail = f"a request has at most {_PARAMETERS_MAX} parameters"
        raise Problem(VALIDATION_FAILED, detail, errors=[{"pointer": "", "detail": detail}])
    return request.query_params.multi_items()


def read_query(model: type[AnyQuery], request: Request) -> AnyQuery:
    """Read a request's query string.

    Raises:
        Problem: validation-failed, naming every parameter that is unknown or breaks a rule.
    """
    given = given_parameters(request)
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


def path_id(text: str, what: str) -> UUID:
    """Read an id out of a path.

    Raises:
        Problem: not-found, where it cannot be the id of such a thing.
    """
    found = read_event_id(text)
    if found is None:
        raise Problem(NOT_FOUND, f"there is no such {what}")
    return found


def documented_query(model: type[NoQuery]) -> list[dict[str, Any]]:
    """Describe, for OpenAPI, the query parameters of a route that reads them itself."""
    document = model.model_json_schema()
    required = document.get("required", [])
    return [
        {
            "name": name,
            "in": "query",
            "required": name in required,
            "description": schema.pop("description", ""),
            "schema": schema,
        }
        for name, schema in document.get("properties", {}).items()
    ]
