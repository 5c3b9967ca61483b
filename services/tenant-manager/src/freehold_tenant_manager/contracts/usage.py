"""What tenants use, as the sampler saw it last: sizes, rates, lag, shares of the installation."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from freehold.contracts.times import UtcTime
from freehold.contracts.values import Count, Cursor, Version
from freehold_tenant_manager.contracts.names import TenantId
from freehold_tenant_manager.contracts.tenants import TenantStatus

SLOW_READS_MAX = 50

_USAGE_EXAMPLE: dict[str, Any] = {
    "tenant_id": "acme",
    "name": "Acme Ltd",
    "status": "active",
    "schema_version": 1,
    "sampled_at": "2026-03-01T12:00:00.000000Z",
    "known_at": "2026-03-01T12:00:00.000000Z",
    "size_bytes": 8_500_000,
    "growth_bytes_per_day": 120_000.0,
    "size_share": 0.4,
    "events": 21_000,
    "events_per_s": 3.5,
    "accounts": 950,
    "events_behind": 0,
    "seconds_behind": 0.0,
    "connections": 4,
    "database_s_per_s": 0.02,
    "database_s": 910.5,
    "services_s": 310.2,
    "cpu_share": 0.31,
    "requests": 40_210,
    "errors": 2,
    "doorbells_parked": 0,
    "slowest_read_s": 0.42,
    "last_backup_at": "2026-03-01T02:00:00.000000Z",
    "last_trial_at": "2026-02-26T03:00:00.000000Z",
    "backups_bytes": 31_000_000,
    "archived_at": "2026-03-01T11:59:58.000000Z",
    "archive_behind_s": 0.0,
}
_TOTALS_EXAMPLE: dict[str, Any] = {
    "sampled_at": "2026-03-01T12:00:00.000000Z",
    "tenants": 3,
    "size_bytes": 21_250_000,
    "growth_bytes_per_day": 300_000.0,
    "events": 52_500,
    "events_per_s": 8.75,
    "accounts": 2_400,
    "events_behind": 0,
    "seconds_behind": 0.0,
    "connections": 11,
    "database_s_per_s": 0.05,
    "database_s": 2_937.1,
    "services_s": 1_000.6,
    "requests": 100_500,
    "errors": 2,
    "slowest_read_s": 0.42,
    "backups_bytes": 93_000_000,
    "oldest_backup_at": "2026-03-01T01:00:00.000000Z",
    "oldest_trial_at": "2026-02-25T12:00:00.000000Z",
    "archive_behind_s": 0.0,
    "parked_doorbells": 0,
}
_POINT_EXAMPLE: dict[str, Any] = {
    "sampled_at": "2026-03-01T12:00:00.000000Z",
    "seconds": 300.0,
    "size_bytes": 8_500_000,
    "events": 21_000,
    "accounts": 950,
    "events_behind": 0,
    "seconds_behind": 0.0,
    "connections": 4,
    "database_s": 6.1,
    "services_s": 2.0,
    "requests": 140,
    "errors": 0,
    "doorbells_parked": 0,
}
_SLOW_READ_EXAMPLE: dict[str, Any] = {
    "call": "statement_lines",
    "seconds": 0.42,
    "read_at": "2026-03-01T11:20:05.000000Z",
    "rows": None,
}


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class TenantUsage(_Answer):
    """What a tenant uses. What is of a day is since the last sample that is a day old.

    Null is what was not seen yet, and counters of a younger tenant are since their beginning.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [_USAGE_EXAMPLE]})

    tenant_id: TenantId
    name: Annotated[str, Field(min_length=1, max_length=200)]
    status: TenantStatus
    schema_version: Version
    sampled_at: UtcTime | None = Field(description="When the server was asked last.")
    known_at: UtcTime | None = Field(
        description="When events, accounts, lag and size were last known to be these."
    )
    size_bytes: Count | None = Field(description="Of the database on the server's disk.")
    growth_bytes_per_day: float | None = Field(
        description="How the size changed within a day, or within less scaled to a day; null where"
        " samples span less than an hour."
    )
    size_share: float = Field(description="The part of all databases' bytes, 0 to 1.")
    events: Count | None = Field(description="The seq of the ledger's last event.")
    events_per_s: float | None = Field(description="Between the last two samples.")
    accounts: Count | None = Field(
        description="Accounts, each counted once for each of its currencies; Postgres's estimate."
    )
    events_behind: Count | None
    seconds_behind: float | None
    connections: Count | None = Field(description="Sessions in the database, of anyone.")
    database_s_per_s: float | None = Field(
        description="How busy the database was between the last two samples: 1 is one statement all"
        " the time."
    )
    database_s: float = Field(
        description="Seconds within a day that Postgres was busy with statements in the database,"
        " waits for locks and disk included."
    )
    services_s: float = Field(
        description="CPU seconds of services within a day, apportioned by requests, events and"
        " rows."
    )
    cpu_share: float = Field(
        description="The part of all tenants' database_s and services_s, 0 to 1."
    )
    requests: Count = Field(description="Requests by HTTP and AMQP within a day.")
    errors: Count = Field(
        description="Those answered 5xx, and projections that failed, within a day."
    )
    doorbells_parked: Count = Field(description="Doorbells that were parked within a day.")
    slowest_read_s: float | None = Field(description="Of the last 24 hours.")
    last_backup_at: UtcTime | None
    last_trial_at: UtcTime | None = Field(description="When a backup was last restored on trial.")
    backups_bytes: Count = Field(description="Of backups in the storage.")
    archived_at: UtcTime | None = Field(description="When a segment was last stored.")
    archive_behind_s: float | None = Field(
        description="The age of the oldest event that is not in the archive; 0 where all are."
    )


class UsageTotals(_Answer):
    """The figures of all active and suspended tenants together: sums, unless they say otherwise."""

    model_config = ConfigDict(json_schema_extra={"examples": [_TOTALS_EXAMPLE]})

    sampled_at: UtcTime | None = Field(description="When the last round of sampling was done.")
    tenants: Count
    size_bytes: Count
    growth_bytes_per_day: float
    events: Count
    events_per_s: float
    accounts: Count
    events_behind: Count
    seconds_behind: float = Field(description="That of the tenant who is furthest behind.")
    connections: Count
    database_s_per_s: float
    database_s: float
    services_s: float
    requests: Count
    errors: Count
    slowest_read_s: float | None
    backups_bytes: Count
    oldest_backup_at: UtcTime | None = Field(
        description="When the last backup was made of the tenant whose last one is the oldest."
    )
    oldest_trial_at: UtcTime | None = Field(description="The same for trial restores.")
    archive_behind_s: float = Field(description="That of the tenant who is furthest behind.")
    parked_doorbells: Count | None = Field(
        description="Doorbells that are parked now; null where no broker answered."
    )


class UsagePage(_Answer):
    """A page of tenants' usage, and the totals of all."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"totals": _TOTALS_EXAMPLE, "data": [_USAGE_EXAMPLE], "next_cursor": None}]
        }
    )

    totals: UsageTotals
    data: list[TenantUsage]
    next_cursor: Cursor | None


class UsagePoint(_Answer):
    """A sample of a tenant's usage. Counters are what was added since the sample before."""

    model_config = ConfigDict(json_schema_extra={"examples": [_POINT_EXAMPLE]})

    sampled_at: UtcTime
    seconds: float = Field(description="Since the sample before; 0 for the first.")
    size_bytes: Count | None
    events: Count | None
    accounts: Count | None
    events_behind: Count | None
    seconds_behind: float | None
    connections: Count
    database_s: float
    services_s: float
    requests: Count
    errors: Count
    doorbells_parked: Count


class SlowRead(_Answer):
    """The slowest read of its kind on a day."""

    model_config = ConfigDict(json_schema_extra={"examples": [_SLOW_READ_EXAMPLE]})

    call: Annotated[str, Field(pattern="^[a-z_]{1,63}$")] = Field(
        description="The ledger's function, as in the metrics of query."
    )
    seconds: float = Field(description="Waiting for a connection included.")
    read_at: UtcTime
    rows: Count | None = Field(description="Null where they are not counted.")


class TenantUsageDetails(_Answer):
    """A tenant's usage: now, over time, and their slowest reads of the last days."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "usage": _USAGE_EXAMPLE,
                    "series": [_POINT_EXAMPLE],
                    "slowest_reads": [_SLOW_READ_EXAMPLE],
                }
            ]
        }
    )

    usage: TenantUsage
    series: list[UsagePoint] = Field(
        description="The oldest first: every few minutes for two days, before that one a day for 90"
        " days. A tenant with nothing new has one an hour."
    )
    slowest_reads: list[SlowRead] = Field(
        description=f"The slowest of each kind and day for a week, {SLOW_READS_MAX} at most."
    )
