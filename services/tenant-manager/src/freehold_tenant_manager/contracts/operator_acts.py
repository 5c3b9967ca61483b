"""The audit log: what operators did, in entries that prove each other."""

from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, JsonValue
from typing_extensions import TypeAliasType

from freehold.contracts.times import UtcTime
from freehold.contracts.values import Count, Cursor, HexSha256
from freehold_tenant_manager.contracts.names import ActName, ShownOperatorName, TenantId
from freehold_tenant_manager.contracts.operators import Credential, Role

ACT_EXAMPLE: dict[str, Any] = {
    "seq": 42,
    "recorded_at": "2026-03-01T12:00:00.250000Z",
    "act_id": "5f2b6f0e-3c52-4f5e-9a53-2a1f6b7a9c11",
    "phase": "ended",
    "operator": "jane.doe",
    "role": "operator",
    "credential": "token",
    "act": "create_api_key",
    "tenant_id": "acme",
    "target": None,
    "details": {"scopes": ["read"], "label": "web shop"},
    "address": "192.0.2.7",
    "request_id": "9c1d0f6d3a5c3cf100000001",
    "outcome": {"status": 201},
    "previous_hash": "5c3cf1a3b7a7d4f1d0c7f3a49f2c6c1d1d0f6d3a5c3cf1a39f2c6c1d1d0f6d3a",
    "hash": "9f2c6c1d1d0f6d3a5c3cf1a3b7a7d4f1d0c7f3a49f2c6c1d1d0f6d3a5c3cf1a3",
}

Phase = TypeAliasType("Phase", Literal["begun", "ended", "finished"])
"""`begun` before the act runs, `ended` with its answer, `finished` with the operation that it
asked for."""


class OperatorAct(BaseModel):
    """An entry of the audit log."""

    model_config = ConfigDict(frozen=True, json_schema_extra={"examples": [ACT_EXAMPLE]})

    seq: Count
    recorded_at: UtcTime
    act_id: UUID = Field(description="The entries of one act have the same.")
    phase: Phase
    operator: ShownOperatorName
    role: Role
    credential: Credential
    act: ActName = Field(description="The `operationId` of what was asked for, or `sign_in`.")
    tenant_id: TenantId | None
    target: str | None = Field(max_length=1024, description="What it concerns, besides the tenant.")
    details: dict[str, JsonValue] = Field(description="What was asked for; never a secret.")
    address: str | None = Field(
        max_length=255, description="Where the request came from; a proxy's, behind one."
    )
    request_id: str | None = Field(
        pattern="^[A-Za-z0-9._-]{1,64}$", description="The request's `X-Request-Id`."
    )
    outcome: dict[str, JsonValue] | None = Field(
        description="The answer's status and type of problem, or how the operation ended."
    )
    previous_hash: HexSha256
    hash: HexSha256


class OperatorActPage(BaseModel):
    """A page of the audit log, the newest entries first."""

    model_config = ConfigDict(
        frozen=True, json_schema_extra={"examples": [{"data": [ACT_EXAMPLE], "next_cursor": None}]}
    )

    data: list[OperatorAct]
    next_cursor: Cursor | None


class OperatorActsVerification(BaseModel):
    """What the audit log's hash chain proves."""

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "ok": True,
                    "entries_checked": 42,
                    "first_bad_seq": None,
                    "reason": None,
                    "head_seq": 42,
                    "head_hash": ACT_EXAMPLE["hash"],
                    "shipped_seq": 40,
                }
            ]
        },
    )

    ok: bool
    entries_checked: Count
    first_bad_seq: Count | None
    reason: str | None = Field(description="The first fault, for a person.")
    head_seq: Count
    head_hash: HexSha256
    shipped_seq: Count | None = Field(
        description="Up to where the log was also compared with the head in the catalog's last"
        " stored version; null where the storage has none yet, or does not answer."
    )
