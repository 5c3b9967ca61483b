"""The state of a whole installation, as the operator sees it at a glance."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from freehold.contracts.times import UtcTime
from freehold.contracts.values import Count
from freehold_tenant_manager.contracts.names import TenantId

BrokerState = Literal["answers", "silent", "unset"]

WORST_MAX = 5

_TENANTS_EXAMPLE: dict[str, Any] = {
    "provisioning": 0,
    "active": 49,
    "suspended": 1,
    "deleting": 0,
    "deleted": 3,
}
_TENANT_LAG_EXAMPLE: dict[str, Any] = {
    "tenant_id": "acme",
    "events_behind": 2,
    "seconds_behind": 0.004,
}
_LAG_EXAMPLE: dict[str, Any] = {
    "tenants_asked": 50,
    "tenants_silent": 0,
    "tenants_unasked": 0,
    "events_behind": 2,
    "seconds_behind": 0.004,
    "worst": [_TENANT_LAG_EXAMPLE],
}
_BACKUPS_EXAMPLE: dict[str, Any] = {
    "every_s": 86_400,
    "oldest_at": "2026-03-01T12:00:00.000000Z",
    "tenants_without": 1,
    "tenants_late": 0,
    "damaged": 0,
}
_TRIALS_EXAMPLE: dict[str, Any] = {
    "every_s": 604_800,
    "oldest_at": "2026-02-25T12:00:00.000000Z",
    "tenants_without": 1,
    "tenants_late": 0,
}
_RECONCILIATIONS_EXAMPLE: dict[str, Any] = {
    "oldest_at": "2026-03-01T12:05:00.000000Z",
    "tenants_with_findings": [],
    "tenants_with_findings_count": 0,
}
_OVERVIEW_EXAMPLE: dict[str, Any] = {
    "tenants": _TENANTS_EXAMPLE,
    "lag": _LAG_EXAMPLE,
    "backups": _BACKUPS_EXAMPLE,
    "trials": _TRIALS_EXAMPLE,
    "reconciliations": _RECONCILIATIONS_EXAMPLE,
    "broker": "answers",
    "parked_doorbells": 0,
}


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class TenantCounts(_Answer):
    """How many tenants have each status."""

    model_config = ConfigDict(json_schema_extra={"examples": [_TENANTS_EXAMPLE]})

    provisioning: Count = 0
    active: Count = 0
    suspended: Count = 0
    deleting: Count = 0
    deleted: Count = 0


class TenantLag(_Answer):
    """How far a tenant's state tables are behind their ledger."""

    model_config = ConfigDict(json_schema_extra={"examples": [_TENANT_LAG_EXAMPLE]})

    tenant_id: TenantId
    events_behind: Count
    seconds_behind: float


class LagOverview(_Answer):
    """How far the state tables of all active and suspended tenants are behind their ledgers."""

    model_config = ConfigDict(json_schema_extra={"examples": [_LAG_EXAMPLE]})

    tenants_asked: Count = Field(description="How many databases answered.")
    tenants_silent: Count = Field(description="How many databases did not answer.")
    tenants_unasked: Count = Field(description="For how many the time was too short.")
    events_behind: Count = Field(description="The sum over the tenants.")
    seconds_behind: float = Field(description="That of the tenant who is furthest behind.")
    worst: list[TenantLag] = Field(
        description=f"Those behind, the furthest first, {WORST_MAX} at most."
    )


class ScheduleOverview(_Answer):
    """How well a schedule is kept: of backups, or of their trial restores."""

    model_config = ConfigDict(json_schema_extra={"examples": [_TRIALS_EXAMPLE]})

    every_s: float = Field(description="Seconds between two of a tenant's; 0 where none are made.")
    oldest_at: UtcTime | None = Field(
        description="When the last one was made for the tenant whose last one is the oldest."
    )
    tenants_without: Count = Field(description="Tenants for whom none was made yet.")
    tenants_late: Count = Field(description="Tenants whose last one is older than twice `every_s`.")


class BackupOverview(ScheduleOverview):
    """How well the schedule of backups is kept, and how many cannot be relied on."""

    model_config = ConfigDict(json_schema_extra={"examples": [_BACKUPS_EXAMPLE]})

    damaged: Count = Field(description="Backups that a verification found to be damaged.")


class ReconciliationOverview(_Answer):
    """What the last comparisons of state and ledger found."""

    model_config = ConfigDict(json_schema_extra={"examples": [_RECONCILIATIONS_EXAMPLE]})

    oldest_at: UtcTime | None = Field(
        description="When the tenant was reconciled whose last reconciliation is the oldest."
    )
    tenants_with_findings: list[TenantId] = Field(
        description=f"Tenants whose state and ledger differed, {WORST_MAX} at most."
    )
    tenants_with_findings_count: Count


class InstallationOverview(_Answer):
    """The state of the whole installation. What concerns tenants is about active and suspended."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                _OVERVIEW_EXAMPLE,
                {**_OVERVIEW_EXAMPLE, "broker": "silent", "parked_doorbells": None},
            ]
        }
    )

    tenants: TenantCounts
    lag: LagOverview
    backups: BackupOverview
    trials: ScheduleOverview = Field(description="Backups restored on trial.")
    reconciliations: ReconciliationOverview
    broker: BrokerState = Field(description="`unset`: this tenant-manager was given none.")
    parked_doorbells: Count | None = Field(description="Null where no broker answers.")
