"""Operations: work that takes longer than a request, as its caller sees it."""

from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, JsonValue
from typing_extensions import TypeAliasType

from freehold.contracts.times import UtcTime
from freehold.contracts.values import Cursor
from freehold_tenant_manager.contracts.names import TenantId

OperationStatus = TypeAliasType(
    "OperationStatus", Literal["queued", "running", "succeeded", "failed"]
)

_EXAMPLE: dict[str, Any] = {
    "operation_id": "5f2b6f0e-3c52-4f5e-9a53-2a1f6b7a9c11",
    "kind": "backup",
    "tenant_id": "acme",
    "status": "running",
    "progress": 0.25,
    "message": "dumping",
    "result": None,
    "created_at": "2026-03-01T12:00:00.000000Z",
    "finished_at": None,
}


class Operation(BaseModel):
    """Work that was asked for, and how far it is."""

    model_config = ConfigDict(frozen=True, json_schema_extra={"examples": [_EXAMPLE]})

    operation_id: UUID
    kind: str
    tenant_id: TenantId | None = Field(
        description="Whose it is; null where it is no single tenant's."
    )
    status: OperationStatus
    progress: float = Field(ge=0, le=1)
    message: str = Field(description="What is being done, or how it ended, for a person.")
    result: dict[str, JsonValue] | None = Field(description="What came of it, once it succeeded.")
    created_at: UtcTime
    finished_at: UtcTime | None


class OperationPage(BaseModel):
    """A page of operations, the newest first."""

    model_config = ConfigDict(
        frozen=True, json_schema_extra={"examples": [{"data": [_EXAMPLE], "next_cursor": None}]}
    )

    data: list[Operation]
    next_cursor: Cursor | None
