"""What is asked for an audit, and what it answers."""

from datetime import datetime
from typing import Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.json_schema import SkipJsonSchema

from freehold.contracts.events import HOLD_EVENT_EXAMPLE, LEDGER_EVENT_EXAMPLE, LedgerEvent
from freehold.contracts.problems import ProblemDocument
from freehold.contracts.values import Count, HexSha256, Seq
from freehold.http.parameters import NoQuery, SeqInteger

_HASH = LEDGER_EVENT_EXAMPLE["hash"]
_PREVIOUS = "55131ea6582bf545ecda97d24dc07dad722fc3efc910eb26b349d0949ad896cb"
AUDIT_EVENT_EXAMPLE: dict[str, Any] = {**LEDGER_EVENT_EXAMPLE, "previous_hash": _PREVIOUS}
PROGRESS_EXAMPLE: dict[str, Any] = {"verified_through_seq": 20000, "to_seq": 31000}
VERDICT_EXAMPLE: dict[str, Any] = {
    "done": True,
    "ok": True,
    "from_seq": 1,
    "to_seq": 31000,
    "events_checked": 31000,
    "first_bad_seq": None,
    "reason": None,
    "head_seq": 31000,
    "head_hash": _HASH,
}
_FAULT_EXAMPLE: dict[str, Any] = {
    **VERDICT_EXAMPLE,
    "ok": False,
    "events_checked": 20000,
    "first_bad_seq": 14,
    "reason": "the hash does not match the event and the hash before it",
}
_BROKEN_OFF_EXAMPLE: dict[str, Any] = {
    "done": False,
    "verified_through_seq": 20000,
    "error": {
        "type": "/problems/unavailable",
        "title": "Something this request needs is not available",
        "status": 503,
        "detail": "the tenant's database does not answer",
    },
}


class RangeQuery(NoQuery):
    """A range of the ledger."""

    from_seq: SeqInteger = Field(default=1, description="The first event.")
    to_seq: SeqInteger | None = Field(
        default=None, description="The last event; the ledger's last one where left out."
    )

    @model_validator(mode="after")
    def _is_in_order(self) -> Self:
        if self.to_seq is not None and self.from_seq > self.to_seq:
            raise ValueError(
                f"from_seq must not be above to_seq, and they were {self.from_seq} and"
                f" {self.to_seq}"
            )
        return self


class AuditHead(BaseModel):
    """Where the ledger ends. Whoever keeps it can find later that the ledger was cut or rewritten.

    An empty ledger ends at `seq` 0, and has null for the rest.
    """

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "seq": 7,
                    "event_id": LEDGER_EVENT_EXAMPLE["event_id"],
                    "hash": _HASH,
                    "recorded_at": LEDGER_EVENT_EXAMPLE["recorded_at"],
                }
            ]
        },
    )

    seq: Count
    event_id: UUID | None
    hash: HexSha256 | None
    recorded_at: datetime | None


class AuditEvent(LedgerEvent):
    """An event with all that its hash covers.

    `hash` is the SHA-256 of `previous_hash` and the event's canonical bytes.
    """

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={
            "examples": [
                AUDIT_EVENT_EXAMPLE,
                {
                    **HOLD_EVENT_EXAMPLE,
                    "hold_expires_at": "2026-12-08T12:00:00.000000Z",
                    "previous_hash": _PREVIOUS,
                },
            ]
        },
    )

    hold_expires_at: datetime | None = Field(
        default=None,
        description="Only in events of holds: when the hold expires by itself; null for never, and"
        " where the event settles one.",
    )
    previous_hash: HexSha256 = Field(
        description="The hash of the event before; 64 zeros for the first one."
    )


class VerificationProgress(BaseModel):
    """How far a verification is. A line comes after each range of events."""

    model_config = ConfigDict(frozen=True, json_schema_extra={"examples": [PROGRESS_EXAMPLE]})

    verified_through_seq: Count = Field(description="Every event of the range up to this one.")
    to_seq: Count = Field(description="The last event to verify, as far as is known now.")


class VerificationVerdict(BaseModel):
    """The last line of a verification."""

    model_config = ConfigDict(
        frozen=True, json_schema_extra={"examples": [VERDICT_EXAMPLE, _FAULT_EXAMPLE]}
    )

    done: Literal[True]
    ok: bool = Field(description="Whether every hash is right, and the end is the ledger's head.")
    from_seq: Seq
    to_seq: Count
    events_checked: Count
    first_bad_seq: Seq | None = Field(description="The first event at which something is wrong.")
    reason: str | None = Field(description="What is wrong there; null where nothing is.")
    head_seq: Count = Field(description="Where the ledger ended then.")
    head_hash: HexSha256 | None


class VerificationBrokenOff(BaseModel):
    """The last line of a verification that could not go on. Ask again from the next `seq`."""

    model_config = ConfigDict(frozen=True, json_schema_extra={"examples": [_BROKEN_OFF_EXAMPLE]})

    done: Literal[False]
    verified_through_seq: Count
    error: ProblemDocument | SkipJsonSchema[None] = None
