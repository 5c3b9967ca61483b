"""Imports: newline-delimited JSON of any length, and the answer to it."""

from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from freehold.contracts.events import NEW_EVENT_EXAMPLE, NewEvent
from freehold.contracts.fields import TENANT_ID_PATTERN, ExternalId
from freehold.contracts.problems import FieldError, ProblemDocument
from freehold.contracts.values import Count, Seq

NDJSON = "application/x-ndjson"
LINE_BYTES_MAX = 65_536
REJECTED_SHOWN_MAX = 100
ERRORS_A_LINE_MAX = 10

_CONFLICT_EXAMPLE: dict[str, Any] = {
    "line": 40,
    "type": "/problems/duplicate-external-id",
    "errors": [{"pointer": "/amount_minor", "detail": "the external_id's event has another one"}],
    "external_id": "ch_1",
    "existing_event_id": "019ca9a8-5a00-7000-8000-0007c0a8d5e1",
}
_REJECTED_EXAMPLE: dict[str, Any] = {
    "line": 12,
    "type": "/problems/validation-failed",
    "errors": [{"pointer": "/amount_minor", "detail": "amount_minor must not be zero"}],
}

IMPORT_PROGRESS_EXAMPLE: dict[str, Any] = {
    "line": 40000,
    "accepted": 39990,
    "duplicates": 8,
    "conflicts": 1,
    "rejected_count": 2,
}
IMPORT_RESULT_EXAMPLE: dict[str, Any] = {
    "done": True,
    "tenant_id": "acme",
    "lines": 120000,
    "accepted": 119990,
    "duplicates": 8,
    "conflicts": 1,
    "rejected_count": 2,
    "rejected": [_REJECTED_EXAMPLE, _CONFLICT_EXAMPLE],
}

_CONFLICTS = "The rejected lines whose external_id belongs to an event that differs from the line."


class ImportLine(NewEvent):
    """A line of an import: an event, whose external_id identifies it when it is sent again."""

    model_config = ConfigDict(json_schema_extra={"examples": [NEW_EVENT_EXAMPLE]})

    external_id: ExternalId


class RejectedLine(BaseModel):
    """A line of an import that added nothing, and why."""

    model_config = ConfigDict(
        frozen=True, json_schema_extra={"examples": [_REJECTED_EXAMPLE, _CONFLICT_EXAMPLE]}
    )

    line: Seq = Field(description="The line's number, counting empty lines.")
    type: str = Field(description="The problem's type, as for a single event.")
    errors: list[FieldError] = Field(max_length=ERRORS_A_LINE_MAX)
    external_id: ExternalId | SkipJsonSchema[None] = Field(
        default=None, description="Of a conflict: the external_id, which the ledger has already."
    )
    existing_event_id: UUID | SkipJsonSchema[None] = Field(
        default=None, description="Of a conflict: the event with this external_id."
    )


class ImportProgress(BaseModel):
    """The progress of an import. The answer has such a line about each second."""

    model_config = ConfigDict(
        frozen=True, json_schema_extra={"examples": [IMPORT_PROGRESS_EXAMPLE]}
    )

    line: Count = Field(description="Every line up to this one has been decided.")
    accepted: Count = Field(description="Events added by this request.")
    duplicates: Count = Field(
        description="Lines whose external_id the ledger has already, for an event that agrees with"
        " the line. If the import had to append a chunk again, these may be its own events."
    )
    conflicts: Count = Field(default=0, description=_CONFLICTS)
    rejected_count: Count


class ImportResult(BaseModel):
    """The last line of an import's answer. Its counts are final, done or not."""

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={
            "examples": [
                IMPORT_RESULT_EXAMPLE,
                {
                    "done": False,
                    "tenant_id": "acme",
                    "lines": 40000,
                    "accepted": 40000,
                    "duplicates": 0,
                    "conflicts": 0,
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

    done: bool = Field(
        description="Whether the whole body was read. If not, `error` has the reason."
    )
    tenant_id: Annotated[str, Field(pattern=TENANT_ID_PATTERN)] = Field(
        description="The tenant of the ledger."
    )
    lines: Count = Field(description="The number of lines decided, from the first on.")
    accepted: Count
    duplicates: Count
    conflicts: Count = Field(default=0, description=_CONFLICTS)
    rejected_count: Count
    rejected: list[RejectedLine] = Field(
        max_length=REJECTED_SHOWN_MAX, description="The first lines that were rejected."
    )
    error: ProblemDocument | SkipJsonSchema[None] = None
