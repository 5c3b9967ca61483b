"""Restores of one tenant, and the databases that they leave beside the tenant's own."""

from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

from freehold.contracts.events import Request
from freehold.contracts.fields import Instant
from freehold.contracts.times import UtcTime

_FORMER_EXAMPLE: dict[str, Any] = {
    "name": "fh_5c1d0f6d3a5c3cf1",
    "kind": "former",
    "epoch": 1,
    "restored_to": None,
    "created_at": "2026-03-01T12:00:00.000000Z",
}
ARCHIVE_EXAMPLE: dict[str, Any] = {
    "epoch": 1,
    "seq": 9,
    "archived_at": "2026-03-01T12:00:01.000000Z",
    "fault": None,
}


class NewRestore(Request):
    """What a tenant's ledger is to be brought back to: an instant, or a backup."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"to": "2026-03-01T12:00:00Z"},
                {"backup_id": "5f0c7b1e-3a1e-4f6b-9c1a-2f4d5e6a7b8c"},
                {"to": "2026-03-01T12:00:00Z", "preview": True},
            ]
        },
    )

    to: Instant | None = Field(
        default=None, description="Everything recorded up to then, and nothing recorded after."
    )
    backup_id: UUID | None = Field(default=None, description="Exactly what this backup holds.")
    preview: bool = Field(
        default=False,
        strict=True,
        description="Leave the restored database beside the tenant's own, which stays as it is.",
    )

    @model_validator(mode="after")
    def _names_one(self) -> Self:
        if (self.to is None) == (self.backup_id is None):
            raise ValueError("give either to or backup_id")
        return self


class ArchiveState(BaseModel):
    """How far a tenant's ledger is archived, which is from where it can be restored."""

    model_config = ConfigDict(frozen=True, json_schema_extra={"examples": [ARCHIVE_EXAMPLE]})

    epoch: int = Field(ge=1, description="Counts the tenant's restores.")
    seq: int = Field(ge=0, description="The last event that is archived.")
    archived_at: UtcTime | None = Field(description="When something was archived last.")
    fault: str | None = Field(description="Why archiving failed the last time; null: it did not.")


class FormerDatabase(BaseModel):
    """A database beside a tenant's own. It is kept until it is dropped."""

    model_config = ConfigDict(json_schema_extra={"examples": [_FORMER_EXAMPLE]})

    name: str
    kind: Literal["making", "preview", "former"] = Field(
        description="What a restore is making, has left to look at, or has put another in place of."
    )
    epoch: int = Field(ge=1, description="Which of the tenant's restores it belongs to.")
    restored_to: UtcTime | None = Field(
        description="Of a preview: when its last event was recorded."
    )
    created_at: UtcTime


class FormerDatabasePage(BaseModel):
    """A page of them, the oldest first."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"data": [_FORMER_EXAMPLE], "next_cursor": None}]}
    )

    data: list[FormerDatabase]
    next_cursor: Annotated[str, Field(description="For the next page.")] | None
