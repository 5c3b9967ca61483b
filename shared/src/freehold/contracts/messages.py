"""Doorbells: CloudEvents 1.0 that say a tenant's ledger has grown, or has been projected.

They carry ids and numbers, never an account or an amount. A receiver treats one as a hint to look,
not as a fact: it may be late, doubled, lost or forged.
"""

from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID, uuid4

from pydantic import BaseModel, ConfigDict, Field

_DATA_EXAMPLE: dict[str, Any] = {
    "epoch": 1,
    "first_seq": 7,
    "last_seq": 9,
    "last_event_id": "019ca9a8-5a00-7000-8000-0009c0a8d5e1",
    "head_hash": "9f2c6c1d1d0f6d3a5c3cf1a3b7a7d4f1d0c7f3a49f2c6c1d1d0f6d3a5c3cf1a3",
}


def _envelope_example(kind: str, source: str, data: dict[str, Any]) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": "5f0c7b1e-3a1e-4f6b-9c1a-2f4d5e6a7b8c",
        "source": source,
        "type": kind,
        "subject": "acme",
        "time": "2026-03-01T12:00:00.300000Z",
        "datacontenttype": "application/json",
        "data": data,
    }


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LedgerRange(_Frozen):
    """A stretch of a tenant's ledger."""

    model_config = ConfigDict(json_schema_extra={"examples": [_DATA_EXAMPLE]})

    epoch: int = Field(ge=1, description="Counts the tenant's restores.")
    first_seq: int = Field(ge=1)
    last_seq: int = Field(ge=1)
    last_event_id: UUID
    head_hash: str | None = Field(
        default=None, pattern="^[0-9a-f]{64}$", description="The hash of the event at last_seq."
    )


class _Doorbell(_Frozen):
    specversion: Literal["1.0"] = "1.0"
    id: UUID = Field(default_factory=uuid4)
    subject: str = Field(pattern=r"^[a-z][a-z0-9-]{1,62}$", description="The tenant's id.")
    time: datetime = Field(default_factory=lambda: datetime.now(UTC))
    datacontenttype: Literal["application/json"] = "application/json"
    data: LedgerRange


class Appended(_Doorbell):
    """A tenant's ledger has grown to last_seq. Published by ingest after the commit."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                _envelope_example("freehold.ledger.appended.v1", "/freehold/ingest", _DATA_EXAMPLE)
            ]
        }
    )

    source: Literal["/freehold/ingest"] = "/freehold/ingest"
    type: Literal["freehold.ledger.appended.v1"] = "freehold.ledger.appended.v1"


class Projected(_Doorbell):
    """A tenant's state tables have caught up to last_seq. Published by projector."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                _envelope_example(
                    "freehold.ledger.projected.v1", "/freehold/projector", _DATA_EXAMPLE
                )
            ]
        }
    )

    source: Literal["/freehold/projector"] = "/freehold/projector"
    type: Literal["freehold.ledger.projected.v1"] = "freehold.ledger.projected.v1"


MESSAGES: tuple[type[BaseModel], ...] = (Appended, Projected)
