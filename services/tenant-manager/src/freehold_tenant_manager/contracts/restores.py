"""Restores of one tenant, and the databases that they leave beside the tenant's own."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, model_validator

from freehold.contracts.events import Request
from freehold.contracts.fields import Instant
from freehold.contracts.times import UtcTime, rfc_3339
from freehold.contracts.values import Count, Cursor, Epoch, Seq
from freehold_tenant_manager.contracts.names import Identifier

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


def _in_utc(instant: datetime) -> str:
    # So that the same instant is the same operation.
    return rfc_3339(instant.astimezone(UTC))


_RestoredTo = Annotated[Instant, PlainSerializer(_in_utc, return_type=str, when_used="json")]


class NewRestore(Request):
    """What a tenant's ledger is to be brought back to: an instant, an event, or a backup."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"to": "2026-03-01T12:00:00Z"},
                {"to_seq": 1017},
                {"backup_id": "5f0c7b1e-3a1e-4f6b-9c1a-2f4d5e6a7b8c"},
                {"to": "2026-03-01T12:00:00Z", "preview": True},
            ]
        }
    )

    to: _RestoredTo | None = Field(
        default=None,
        description="Everything recorded up to then, and nothing recorded after. The operation's"
        " result says which acknowledged events that leaves out.",
    )
    to_seq: Seq | None = Field(
        default=None,
        description="Everything up to this event of the ledger as it is now, whatever the clocks"
        " said when it was recorded.",
    )
    backup_id: UUID | None = Field(default=None, description="Exactly what this backup holds.")
    preview: bool = Field(
        default=False,
        strict=True,
        description="Leave the restored database beside the tenant's own, which stays as it is.",
    )

    @model_validator(mode="after")
    def _names_one(self) -> Self:
        if (self.to, self.to_seq, self.backup_id).count(None) != 2:
            raise ValueError("give one of to, to_seq and backup_id")
        return self


class ArchiveState(BaseModel):
    """How far a tenant's ledger is archived, which is from where it can be restored."""

    model_config = ConfigDict(frozen=True, json_schema_extra={"examples": [ARCHIVE_EXAMPLE]})

    epoch: Epoch = Field(description="Counts the tenant's restores.")
    seq: Count = Field(description="The last event that is archived.")
    archived_at: UtcTime | None = Field(description="When something was archived last.")
    fault: str | None = Field(description="Why archiving failed the last time; null: it did not.")


class FormerDatabase(BaseModel):
    """A database beside a tenant's own. It is kept until it is dropped."""

    model_config = ConfigDict(json_schema_extra={"examples": [_FORMER_EXAMPLE]})

    name: Identifier
    kind: Literal["making", "preview", "former"] = Field(
        description="What a restore is making, has left to look at, or has put another in place of."
    )
    epoch: Epoch = Field(description="Which of the tenant's restores it belongs to.")
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
    next_cursor: Cursor | None
