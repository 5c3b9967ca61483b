"""Importing events: newline-delimited JSON of any length, and what is answered to it meanwhile."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from freehold.contracts.events import NEW_EVENT_EXAMPLE, NewEvent
from freehold.contracts.fields import ExternalId
from freehold.contracts.problems import FieldError, ProblemDocument

NDJSON = "application/x-ndjson"
LINE_BYTES_MAX = 65_536
REJECTED_SHOWN_MAX = 100
ERRORS_A_LINE_MAX = 10

_REJECTED_EXAMPLE: dict[str, Any] = {
    "line": 12,
    "type": "/problems/validation-failed",
    "errors": [{"pointer": "/amount_minor", "detail": "an amount must not be zero"}],
}


class ImportLine(NewEvent):
    """A line of an import: one event, which its external_id tells again when it is sent again."""

    model_config = ConfigDict(json_schema_extra={"examples": [NEW_EVENT_EXAMPLE]})

    external_id: ExternalId


class RejectedLine(BaseModel):
    """A line of an import that added nothing, and why."""

    model_config = ConfigDict(frozen=True, json_schema_extra={"examples": [_REJECTED_EXAMPLE]})

    line: int = Field(ge=1, description="The line's number; empty lines are counted too.")
    type: str = Field(description="The problem's type, as a single event would be answered.")
    errors: list[FieldError] = Field(max_length=ERRORS_A_LINE_MAX)


class ImportProgress(BaseModel):
    """How far an import has come. One such line about each second, as long as it goes on."""

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={
            "examples": [{"line": 40000, "accepted": 39990, "duplicates": 9, "rejected_count": 1}]
        },
    )

    line: int = Field(ge=0, description="Every line up to this one has been decided.")
    accepted: int = Field(ge=0, description="Events added by this request.")
    duplicates: int = Field(
        ge=0,
        description="Events whose external_id the ledger had already; among them are this import's"
        " own, where it had to append a chunk again and the first try had been written.",
    )
    rejected_count: int = Field(ge=0)


class ImportResult(BaseModel):
    """The last line of an import's answer. What it says of its lines holds, done or not."""

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "done": True,
                    "tenant_id": "acme",
                    "lines": 120000,
                    "accepted": 119990,
                    "duplicates": 9,
                    "rejected_count": 1,
                    "rejected": [_REJECTED_EXAMPLE],
                },
                {
                    "done": False,
                    "tenant_id": "acme",
                    "lines": 40000,
                    "accepted": 40000,
                    "duplicates": 0,
                    "rejected_count": 0,
                    "rejected": [],
                    "error": {
                        "type": "/problems/unavailable",
                        "title": "Something this request needs is not available",
                        "status": 503,
                        "detail": "the tenant's database does not answer",
                    },
                },
            ]
        },
    )

    done: bool = Field(description="Whether the whole body was read; if not, `error` says why.")
    tenant_id: str = Field(description="Whose ledger it went into.")
    lines: int = Field(ge=0, description="How many lines were decided, from the first one on.")
    accepted: int = Field(ge=0)
    duplicates: int = Field(ge=0)
    rejected_count: int = Field(ge=0)
    rejected: list[RejectedLine] = Field(
        max_length=REJECTED_SHOWN_MAX, description="The first lines that were rejected."
    )
    error: ProblemDocument | None = None
