"""The request to put parked doorbells back into the projector's queue."""

from typing import Annotated

from pydantic import ConfigDict, Field

from freehold.contracts.events import Request

LIMIT_MAX = 1_000_000


class NewRedrive(Request):
    """Which parked doorbells go back: the first of them, or all."""

    model_config = ConfigDict(json_schema_extra={"examples": [{}, {"limit": 100}]})

    limit: Annotated[int, Field(ge=1, le=LIMIT_MAX)] | None = Field(
        default=None, description="How many at most; null or left out for all."
    )
