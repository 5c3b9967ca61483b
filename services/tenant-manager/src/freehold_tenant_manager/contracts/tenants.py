"""Requests that manage tenants and their API keys, and what they are answered with.

Only tenant-manager answers with these, and only to the operator. An API key is in the answer that
makes it, and in no other.
"""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, StringConstraints
from pydantic.json_schema import SkipJsonSchema
from typing_extensions import TypeAliasType

from freehold.contracts.events import Request
from freehold.contracts.fields import CALENDAR_END, TOO_LATE, Instant, readable
from freehold.contracts.times import UtcTime
from freehold.contracts.values import Count, Cursor, Epoch, HexSha256, Version
from freehold.security.api_keys import Scope
from freehold_tenant_manager.contracts.backups import BACKUP_EXAMPLE, Backup
from freehold_tenant_manager.contracts.names import ApiKeyText, Identifier, KeyId, Name, TenantId
from freehold_tenant_manager.contracts.restores import ARCHIVE_EXAMPLE, ArchiveState

_LABEL = "What people know the key by, such as what uses it."

OVERLAP_S_DEFAULT = 3_600
OVERLAP_S_MAX = 366 * 86_400

# More than one process can do: a higher limit would not be one.
EVENTS_PER_S_MAX = 1_000_000
REQUESTS_MAX = 10_000

_HOME_EXAMPLE: dict[str, Any] = {
    "region": "local",
    "cluster": "local",
    "database": "fh_0a1b2c3d4e5f6071",
    "schema": "ledger",
}
_LIMITS_EXAMPLE: dict[str, Any] = {"events_per_s": 500, "requests_max": None}
_TENANT_EXAMPLE: dict[str, Any] = {
    "tenant_id": "acme",
    "name": "Acme Ltd",
    "region": "local",
    "isolation": "database",
    "status": "active",
    "created_at": "2026-03-01T12:00:00.000000Z",
    "epoch": 1,
    "home": _HOME_EXAMPLE,
    "schema_version": 5,
    "limits": _LIMITS_EXAMPLE,
    "deleted_at": None,
}
_HEAD_EXAMPLE: dict[str, Any] = {
    "seq": 7,
    "event_id": "019ca9a8-5a00-7000-8000-0007c0a8d5e1",
    "hash": "9f2c6c1d1d0f6d3a5c3cf1a3b7a7d4f1d0c7f3a49f2c6c1d1d0f6d3a5c3cf1a3",
    "recorded_at": "2026-03-01T12:00:00.250000Z",
}
_EMPTY_HEAD_EXAMPLE: dict[str, Any] = {
    "seq": 0,
    "event_id": None,
    "hash": None,
    "recorded_at": None,
}
_LAG_EXAMPLE: dict[str, Any] = {
    "head_seq": 7,
    "projected_seq": 5,
    "events_behind": 2,
    "seconds_behind": 0.004,
}
_RECONCILIATION_EXAMPLE: dict[str, Any] = {
    "reconciled_at": "2026-03-01T12:05:00.000000Z",
    "ok": True,
    "findings": [],
    "anchor_seq": 5,
}
_DETAILS_EXAMPLE: dict[str, Any] = {
    **_TENANT_EXAMPLE,
    "size_bytes": 8_123_456,
    "head": _HEAD_EXAMPLE,
    "lag": _LAG_EXAMPLE,
    "reconciliation": _RECONCILIATION_EXAMPLE,
    "last_backup": None,
    "archive": None,
}
_KEY_TEXT_EXAMPLE = "fh_0123456789abcdef_" + "0123456789abcdef" * 4
_CREATED_KEY_EXAMPLE: dict[str, Any] = {
    "key_id": "0123456789abcdef",
    "api_key": _KEY_TEXT_EXAMPLE,
    "scopes": ["ingest", "read"],
    "label": "web shop",
    "created_at": "2026-03-01T12:00:00.000000Z",
    "expires_at": None,
}
_KEY_EXAMPLE: dict[str, Any] = {
    "key_id": "0123456789abcdef",
    "scopes": ["ingest", "read"],
    "label": "web shop",
    "created_at": "2026-03-01T12:00:00.000000Z",
    "expires_at": None,
    "revoked_at": None,
}
_REGION_EXAMPLE: dict[str, Any] = {"region": "local", "clusters": ["local"]}


def _unique(scopes: list[Scope]) -> list[Scope]:
    if len(set(scopes)) != len(scopes):
        raise ValueError("must not name a scope twice")
    return scopes


def to_come(instant: datetime) -> datetime:
    """Check that an expiry lies ahead, and give it in UTC.

    Raises:
        ValueError: It does not, or lies beyond the year 9998.
    """
    if instant <= datetime.now(UTC):
        raise ValueError("must lie ahead")
    if instant >= CALENDAR_END:
        raise ValueError(TOO_LATE)
    return instant.astimezone(UTC)


TenantStatus = TypeAliasType(
    "TenantStatus", Literal["provisioning", "active", "suspended", "deleting", "deleted"]
)
Isolation = Literal["database"]
TenantName = Annotated[
    str, StringConstraints(min_length=1, max_length=200), AfterValidator(readable)
]
ShownLabel = Annotated[str, StringConstraints(min_length=1, max_length=100)]
KeyLabel = Annotated[ShownLabel, AfterValidator(readable)]
Scopes = Annotated[list[Scope], Field(min_length=1), AfterValidator(_unique)]


class NewTenant(Request):
    """A tenant to make. The same request again changes nothing."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "tenant_id": "acme",
                    "name": "Acme Ltd",
                    "region": "local",
                    "isolation": "database",
                },
                {"tenant_id": "acme", "name": "Acme Ltd"},
            ]
        }
    )

    tenant_id: TenantId
    name: TenantName
    region: str = Field(
        default="local", min_length=1, max_length=63, description="One of those in /v1/regions."
    )
    isolation: Isolation = Field(
        default="database", description="A Postgres database of the tenant's own."
    )


class NewApiKey(Request):
    """An API key to make."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "scopes": ["ingest", "read"],
                    "expires_at": "2126-03-01T12:00:00Z",
                    "label": "web shop",
                },
                {"scopes": ["audit"]},
            ]
        }
    )

    scopes: Scopes
    expires_at: Annotated[Instant, AfterValidator(to_come)] | None = Field(
        default=None,
        description="The key stops working then, before the year 9999; left out, it works until"
        " revoked.",
    )
    label: KeyLabel | None = Field(default=None, description=_LABEL)


class NewApiKeyInPlace(Request):
    """An API key to make in place of another, with the same scopes and the same label."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"overlap_s": 3600, "expires_at": "2126-03-01T12:00:00Z"}, {}]
        }
    )

    overlap_s: Annotated[int, Field(ge=0, le=OVERLAP_S_MAX)] = Field(
        default=OVERLAP_S_DEFAULT,
        description="Seconds for which the other one goes on working, unless it expires before.",
    )
    expires_at: Annotated[Instant, AfterValidator(to_come)] | None = Field(
        default=None,
        description="The new key stops working then, before the year 9999; left out, it works"
        " until revoked.",
    )


class NewKeyLabel(Request):
    """What people are to know an API key by, from now on."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"label": "web shop"}, {"label": None}]}
    )

    label: KeyLabel | None = Field(description=f"{_LABEL} Null for none.")


class TenantLimits(Request):
    """What each process of ingest takes of a tenant; null for what its own settings say."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                _LIMITS_EXAMPLE,
                {"events_per_s": 500, "requests_max": 20},
                {"events_per_s": None, "requests_max": None},
            ]
        }
    )

    events_per_s: Annotated[int, Field(ge=1, le=EVENTS_PER_S_MAX)] | None = Field(
        default=None, description="Events accepted in a second; more are answered 429."
    )
    requests_max: Annotated[int, Field(ge=1, le=REQUESTS_MAX)] | None = Field(
        default=None, description="Requests worked on at once; more are answered 429."
    )


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class TenantHome(_Answer):
    """Where a tenant's ledger lives."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [_HOME_EXAMPLE]}, serialize_by_alias=True
    )

    region: Name
    cluster: Name
    database: Identifier
    schema_name: Identifier = Field(alias="schema")


class Tenant(_Answer):
    """A tenant, as the catalog knows them."""

    model_config = ConfigDict(json_schema_extra={"examples": [_TENANT_EXAMPLE]})

    tenant_id: TenantId
    name: Annotated[str, Field(min_length=1, max_length=200)]
    region: Name
    isolation: Isolation
    status: TenantStatus
    created_at: UtcTime
    epoch: Epoch = Field(description="Counts the tenant's restores.")
    home: TenantHome
    schema_version: Version = Field(description="The last migration that their ledger has.")
    limits: TenantLimits
    deleted_at: UtcTime | None = Field(
        description="Since then nothing is left of them but what this shows."
    )


class LedgerHead(_Answer):
    """Where a ledger ends. An empty one ends at seq 0 and has no last event."""

    model_config = ConfigDict(json_schema_extra={"examples": [_HEAD_EXAMPLE, _EMPTY_HEAD_EXAMPLE]})

    seq: Count
    event_id: UUID | None
    hash: HexSha256 | None
    recorded_at: UtcTime | None


class ProjectionLag(_Answer):
    """How far the state tables are behind the ledger."""

    model_config = ConfigDict(json_schema_extra={"examples": [_LAG_EXAMPLE]})

    head_seq: Count
    projected_seq: Count
    events_behind: Count
    seconds_behind: Annotated[float, Field(ge=0)]


class Reconciliation(_Answer):
    """What the last comparison of state and ledger found; all null before the first."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                _RECONCILIATION_EXAMPLE,
                {"reconciled_at": None, "ok": None, "findings": [], "anchor_seq": 0},
            ]
        }
    )

    reconciled_at: UtcTime | None
    ok: bool | None
    findings: list[JsonValue]
    anchor_seq: Count = Field(description="The last seq whose hash is kept outside the ledger.")


class TenantDetails(Tenant):
    """A tenant, with what their own database says of itself; null where it does not answer."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                _DETAILS_EXAMPLE,
                {**_DETAILS_EXAMPLE, "last_backup": BACKUP_EXAMPLE, "archive": ARCHIVE_EXAMPLE},
                {**_DETAILS_EXAMPLE, "size_bytes": None, "head": None, "lag": None},
            ]
        }
    )

    size_bytes: Count | None
    head: LedgerHead | None
    lag: ProjectionLag | None
    reconciliation: Reconciliation | None
    last_backup: Backup | None
    archive: ArchiveState | None


class ProvisionedTenant(_Answer):
    """A tenant who was just made, with their first API key; without it where they existed."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"tenant": _TENANT_EXAMPLE, "api_key": _KEY_TEXT_EXAMPLE},
                {"tenant": _TENANT_EXAMPLE},
            ]
        }
    )

    tenant: Tenant
    api_key: ApiKeyText | SkipJsonSchema[None] = Field(
        default=None, repr=False, description="Has every scope; shown this once."
    )


class TenantPage(_Answer):
    """A page of tenants in order of their ids."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"data": [_TENANT_EXAMPLE], "next_cursor": None}]}
    )

    data: list[Tenant]
    next_cursor: Cursor | None


class CreatedApiKey(_Answer):
    """An API key that was just made; `api_key` is shown this once."""

    model_config = ConfigDict(json_schema_extra={"examples": [_CREATED_KEY_EXAMPLE]})

    key_id: KeyId
    api_key: ApiKeyText = Field(repr=False)
    scopes: list[Scope]
    label: ShownLabel | None = Field(description=_LABEL)
    created_at: UtcTime
    expires_at: UtcTime | None


class ApiKeyEntry(_Answer):
    """An API key without its secret."""

    model_config = ConfigDict(json_schema_extra={"examples": [_KEY_EXAMPLE]})

    key_id: KeyId
    scopes: list[Scope]
    label: ShownLabel | None = Field(description=_LABEL)
    created_at: UtcTime
    expires_at: UtcTime | None
    revoked_at: UtcTime | None


class ReplacingApiKey(CreatedApiKey):
    """An API key that was made in place of another; `api_key` is shown this once."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    **_CREATED_KEY_EXAMPLE,
                    "replaced": {**_KEY_EXAMPLE, "expires_at": "2026-03-01T13:00:00.000000Z"},
                }
            ]
        }
    )

    replaced: ApiKeyEntry = Field(description="The other one, with the time at which it ends.")


class ApiKeyPage(_Answer):
    """A page of a tenant's API keys, the oldest first, revoked ones included."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"data": [_KEY_EXAMPLE], "next_cursor": None}]}
    )

    data: list[ApiKeyEntry]
    next_cursor: Cursor | None


class Region(_Answer):
    """A region that tenants can live in."""

    model_config = ConfigDict(json_schema_extra={"examples": [_REGION_EXAMPLE]})

    region: Name
    clusters: list[Name]


class RegionList(_Answer):
    """A page of regions in order of their names."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"data": [_REGION_EXAMPLE], "next_cursor": None}]}
    )

    data: list[Region]
    next_cursor: Cursor | None
