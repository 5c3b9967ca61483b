"""The hash chain verified from an export, written from its description alone (shared/README.md).

Nothing here comes from Freehold and nothing is asked of a database: the input is text as COPY and
pg_dump write it, so this is what a customer, or their auditor, could do on a machine of their own.
"""

import json
import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from uuid import UUID

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
START = bytes(32)

Row = dict[str, str | None]

_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


@dataclass(frozen=True, slots=True)
class Fault:
    """The first event that does not fit, by its place in the ledger, and why."""

    seq: int
    reason: str


def read_copy(export: bytes) -> list[Row]:
    """Read what COPY ... TO wrote in its text format, with a header line."""
    names, *lines = [line.split("\t") for line in export.decode().removesuffix("\n").split("\n")]
    return [dict(zip(map(str, names), map(_value, line), strict=True)) for line in lines]


def find_fault(
    rows: Iterable[Row], head_seq: int | None = None, head_hash: bytes | None = None
) -> Fault | None:
    """Recompute the chain over a whole ledger.

    Args:
        rows: The events, in order of event_id.
        head_seq: Where the ledger is known to have ended, if that is known from elsewhere.
        head_hash: The hash it ended with.
    """
    link, seq = START, 0
    for row in rows:
        if int(_text(row, "seq")) != seq + 1:
            return Fault(int(_text(row, "seq")), "an event is missing")
        seq += 1
        try:
            link = sha256(link + event_bytes(row)).digest()
        except ValueError as error:
            return Fault(seq, str(error))
        if bytes.fromhex(_text(row, "hash").removeprefix("\\x")) != link:
            return Fault(seq, "the hash is another")
        if seq == head_seq and link != head_hash:
            return Fault(seq, "the ledger was another")
    if head_seq is not None and seq < head_seq:
        return Fault(seq + 1, "the end is missing")
    return None


def event_bytes(row: Row) -> bytes:
    """The canonical bytes of an event."""
    return b"".join(
        [
            struct.pack(">q", int(_text(row, "seq"))),
            UUID(_text(row, "event_id")).bytes,
            struct.pack(">q", _microseconds(_text(row, "transaction_time"))),
            struct.pack(">q", _microseconds(_text(row, "recorded_at"))),
            struct.pack(">q", int(_text(row, "amount_minor"))),
            _text(row, "currency").encode("ascii"),
            _optional_uuid(row["transaction_id"]),
            _optional_uuid(row["reverses_event_id"]),
            _optional_uuid(row["refunds_event_id"]),
            _counted(_text(row, "account_id")),
            _counted(_text(row, "event_type")),
            _counted(row["external_id"]),
            _hold_part(row),
            _text(row, "metadata").encode(),
        ]
    )


def canonical_metadata(metadata: dict[str, str]) -> str:
    """Write metadata as the hash has it, for those who got it as JSON of any other spelling."""
    in_order = sorted(metadata.items(), key=lambda pair: (len(pair[0].encode()), pair[0].encode()))
    return json.dumps(dict(in_order), ensure_ascii=False, separators=(", ", ": "))


def _value(field: str) -> str | None:
    if field == "\\N":
        return None
    return _ESCAPED.sub(lambda match: _ESCAPES.get(match[1], match[1]), field)


def _text(row: Row, name: str) -> str:
    value = row[name]
    if value is None:
        raise ValueError(f"{name} is missing")
    return value


def _microseconds(time: str) -> int:
    return (datetime.fromisoformat(time) - EPOCH) // timedelta(microseconds=1)


def _optional_uuid(text: str | None) -> bytes:
    return bytes(16) if text is None else UUID(text).bytes


def _hold_part(row: Row) -> bytes:
    if not any(row.get(name) for name in ("hold_id", "held_minor", "hold_expires_at")):
        return b""
    expires_at = row["hold_expires_at"]
    return b"".join(
        [
            b"\x00",
            UUID(_text(row, "hold_id")).bytes,
            struct.pack(">q", int(_text(row, "held_minor"))),
            struct.pack(">q", 2**63 - 1 if expires_at is None else _microseconds(expires_at)),
        ]
    )


def _counted(text: str | None) -> bytes:
    if text is None:
        return b"\xff\xff\xff\xff"
    return struct.pack(">i", len(text.encode())) + text.encode()
