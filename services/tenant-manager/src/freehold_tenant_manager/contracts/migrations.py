"""Requests that migrate tenants' ledgers, and how far each tenant is."""

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from typing_extensions import TypeAliasType

from freehold.contracts.events import Request
from freehold.contracts.times import UtcTime
from freehold.contracts.values import Count, Cursor, Version
from freehold.ledger.schema import Phase
from freehold_tenant_manager.contracts.names import TenantId

MigrationStatus = TypeAliasType(
    "MigrationStatus", Literal["current", "behind", "waiting", "running", "failed"]
)

TENANTS_MAX = 1_000

_FAILED_EXAMPLE: dict[str, Any] = {
    "tenant_id": "acme",
    "schema_version": 11,
    "status": "failed",
    "due": "before",
    "operation_id": "5f2b6f0e-3c52-4f5e-9a53-2a1f6b7a9c11",
    "phase": "before",
    "attempts": 1,
    "error": "division by zero (DivisionByZeroError, in migration 12 archive)",
    "started_at": "2026-03-01T12:00:00.000000Z",
    "finished_at": "2026-03-01T12:00:00.250000Z",
}
_CURRENT_EXAMPLE: dict[str, Any] = {
    "tenant_id": "globex",
    "schema_version": 12,
    "status": "current",
    "due": None,
    "operation_id": None,
    "phase": None,
    "attempts": 0,
    "error": None,
    "started_at": None,
    "finished_at": None,
}
_VERSION_EXAMPLE: dict[str, Any] = {"schema_version": 11, "tenants": 1}
_STATUSES_EXAMPLE: dict[str, Any] = {
    "current": 999,
    "behind": 0,
    "waiting": 0,
    "running": 0,
    "failed": 1,
}


def _unique(tenants: list[str]) -> list[str]:
    if len(set(tenants)) != len(tenants):
        raise ValueError("must not name a tenant twice")
    return tenants


TenantIds = Annotated[
    list[TenantId], Field(min_length=1, max_length=TENANTS_MAX), AfterValidator(_unique)
]


class NewMigration(Request):
    """Ledgers to migrate: those of some tenants, tried first, or all."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"phase": "before", "tenants": ["acme", "globex"]},
                {"phase": "before", "tenants": None},
                {"phase": "after"},
            ]
        }
    )

    phase: Phase = Field(
        default="before",
        description="`before` the release's services are deployed, what they need; `after` it,"
        " everything: what is taken away is used by no service any more.",
    )
    tenants: TenantIds | None = Field(
        default=None, description="Only these; left out or null, all."
    )


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class VersionCount(_Answer):
    """How many tenants' ledgers have a version."""

    model_config = ConfigDict(json_schema_extra={"examples": [_VERSION_EXAMPLE]})

    schema_version: Version
    tenants: Count


class TenantMigration(_Answer):
    """How far a tenant's ledger is."""

    model_config = ConfigDict(json_schema_extra={"examples": [_FAILED_EXAMPLE, _CURRENT_EXAMPLE]})

    tenant_id: TenantId
    schema_version: Version = Field(description="The last migration that the ledger has.")
    status: MigrationStatus = Field(
        description="`behind` lacks a migration and was not asked for; `waiting` has a"
        " turn to come, perhaps another one after a failure that may pass; `failed` is told in"
        " `error`, and tried again by the next migration."
    )
    due: Phase | None = Field(description="The phase that has something for the ledger.")
    operation_id: UUID | None = Field(description="The last operation that the tenant was part of.")
    phase: Phase | None = Field(description="What that operation applied.")
    attempts: Count
    error: str | None = Field(description="Why the last attempt failed; null where none did.")
    started_at: UtcTime | None
    finished_at: UtcTime | None


class MigrationOverview(_Answer):
    """Versions across all tenants, and a page of the tenants themselves, in order of their ids."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "ledger_version": 12,
                    "ledger_version_min": 11,
                    "versions": [_VERSION_EXAMPLE, {"schema_version": 12, "tenants": 999}],
                    "statuses": _STATUSES_EXAMPLE,
                    "data": [_FAILED_EXAMPLE, _CURRENT_EXAMPLE],
                    "next_cursor": None,
                }
            ]
        }
    )

    ledger_version: Version = Field(description="The last migration of this release.")
    ledger_version_min: Version = Field(description="What this release's services need.")
    versions: list[VersionCount] = Field(description="Of all tenants, whatever page this is.")
    statuses: dict[MigrationStatus, Count] = Field(description="Of all tenants, too.")
    data: list[TenantMigration]
    next_cursor: Cursor | None
