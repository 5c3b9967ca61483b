"""Backups of a tenant's ledger, as the operator sees them."""

from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from freehold.contracts.times import UtcTime
from freehold.contracts.values import Count, Cursor, Epoch, HexSha256, Version
from freehold_tenant_manager.contracts.names import TenantId

BACKUP_EXAMPLE: dict[str, Any] = {
    "backup_id": "0b0c7a52-7f0c-4c86-9a35-0d7c0f4f2a11",
    "tenant_id": "acme",
    "status": "complete",
    "epoch": 1,
    "schema_version": 11,
    "head_seq": 7,
    "head_hash": "9f2c6c1d1d0f6d3a5c3cf1a3b7a7d4f1d0c7f3a49f2c6c1d1d0f6d3a5c3cf1a3",
    "events": 7,
    "created_at": "2026-03-01T12:00:00.000000Z",
    "bytes": 10_240,
    "sha256": "60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752",
    "verified_at": None,
}


class Backup(BaseModel):
    """A dump of a ledger in storage, compressed and encrypted."""

    model_config = ConfigDict(frozen=True, json_schema_extra={"examples": [BACKUP_EXAMPLE]})

    backup_id: UUID
    tenant_id: TenantId
    status: Literal["complete", "damaged"] = Field(
        description="Damaged once a verification found that it cannot be relied on."
    )
    epoch: Epoch = Field(description="The tenant's epoch when it was made.")
    schema_version: Version = Field(description="The last migration that the ledger had.")
    head_seq: Count = Field(description="Where the ledger ended in the snapshot that was dumped.")
    head_hash: HexSha256 | None = Field(
        description="The hash it ended with; null for an empty one."
    )
    events: Count = Field(description="How many events are in it.")
    created_at: UtcTime
    bytes: Count = Field(description="The size of what is stored.")
    sha256: HexSha256 = Field(description="The checksum of what is stored, in hex.")
    verified_at: UtcTime | None = Field(description="When it was last restored on trial.")


class BackupPage(BaseModel):
    """A page of a tenant's backups, the newest first."""

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={"examples": [{"data": [BACKUP_EXAMPLE], "next_cursor": None}]},
    )

    data: list[Backup]
    next_cursor: Cursor | None
