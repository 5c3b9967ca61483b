"""Ledger rows as JSON bytes, the same for whoever answers with them.

A replayed request must get its first answer byte for byte, so one function writes events for all.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from freehold.contracts.times import rfc_3339
from freehold.ledger.appending import NewlyWritten, Row, metadata_as_stored
from freehold.ledger.client import Record

_SETTLED_BY = {"HOLD_CAPTURE": "captured", "HOLD_RELEASE": "released", "HOLD_EXPIRY": "expired"}


def event_document(row: Row) -> dict[str, Any]:
    """Turn an event into the JSON document of api.md; what concerns a hold says so."""
    transaction_id = row["transaction_id"]
    reverses_event_id = row["reverses_event_id"]
    document = {
        "event_id": str(row["event_id"]),
        "seq": row["seq"],
        "account_id": row["account_id"],
        "event_type": row["event_type"],
        "amount_minor": row["amount_minor"],
        "currency": row["currency"],
        "transaction_time": rfc_3339(row["transaction_time"]),
        "recorded_at": rfc_3339(row["recorded_at"]),
        "external_id": row["external_id"],
        # The database's own JSON text goes out as it is.
        "metadata": orjson.Fragment(row["metadata_json"]),
        "transaction_id": None if transaction_id is None else str(transaction_id),
        "reverses_event_id": None if reverses_event_id is None else str(reverses_event_id),
        "hash": row["hash"].hex(),
    }
    if row["hold_id"] is not None:
        document["hold_id"] = str(row["hold_id"])
        document["held_minor"] = row["held_minor"]
    return document


def event_json(row: Row) -> bytes:
    """One event as JSON."""
    return orjson.dumps(event_document(row))


def new_event_json(new: NewlyWritten) -> bytes:
    """One event as JSON that was just written, and is no leg: at once, and in the same bytes."""
    event, seq, event_id, recorded_at, digest = new
    id_ = event_id.hex()
    recorded = rfc_3339(recorded_at)
    at = recorded if event.transaction_time is None else rfc_3339(event.transaction_time)
    external_id = "null" if event.external_id is None else orjson.dumps(event.external_id).decode()
    # Nothing that the other fields may hold is written otherwise in JSON.
    return (
        f'{{"event_id":"{id_[:8]}-{id_[8:12]}-{id_[12:16]}-{id_[16:20]}-{id_[20:]}","seq":{seq},'
        f'"account_id":"{event.account_id}","event_type":"{event.event_type}",'
        f'"amount_minor":{event.amount_minor},"currency":"{event.currency}",'
        f'"transaction_time":"{at}","recorded_at":"{recorded}","external_id":{external_id},'
        f'"metadata":{metadata_as_stored(event.metadata)},"transaction_id":null,'
        f'"reverses_event_id":null,"hash":"{digest.hex()}"}}'
    ).encode()


def transaction_document(legs: Sequence[Row]) -> dict[str, Any]:
    """Turn a transaction's legs, in their order, into the JSON document of api.md."""
    first = legs[0]
    document = {"transaction_id": str(first["transaction_id"])}
    if first["reverses_event_id"] is not None:
        # A transaction is named after its first leg, and reversed leg by leg in their order.
        document["reverses_transaction_id"] = str(first["reverses_event_id"])
    return {**document, "events": [event_document(leg) for leg in legs]}


def hold_document(life: Sequence[Row]) -> dict[str, Any]:
    """Turn a hold's life into the JSON document of api.md.

    Args:
        life: The event that placed the hold, and the one that settled it if any.
    """
    placed, latest = life[0], life[-1]
    status = _SETTLED_BY.get(latest["event_type"], "pending")
    expires_at = placed["hold_expires_at"]
    return {
        "hold_id": str(placed["hold_id"]),
        "status": status,
        "account_id": placed["account_id"],
        "currency": placed["currency"],
        "amount_minor": placed["held_minor"],
        # Of these events only a capture posts anything.
        "captured_minor": -latest["amount_minor"],
        "expires_at": None if expires_at is None else rfc_3339(expires_at),
        "created_at": rfc_3339(placed["recorded_at"]),
        "settled_at": None if status == "pending" else rfc_3339(latest["recorded_at"]),
        "external_id": placed["external_id"],
        "metadata": orjson.Fragment(placed["metadata_json"]),
        "event_id": str(latest["event_id"]),
        "seq": latest["seq"],
    }


def balance_document(row: Record) -> dict[str, Any]:
    """Turn a row of balances into the JSON document of api.md."""
    return {
        "currency": row["currency"],
        "current_balance_minor": _integer(row["current_balance_minor"]),
        "held_minor": _integer(row["held_minor"]),
        "available_minor": _integer(int(row["current_balance_minor"]) - int(row["held_minor"])),
        "event_count": row["event_count"],
        "last_ledger_event_id": str(row["last_ledger_event_id"]),
        "last_seq": row["last_seq"],
        "last_updated_time": rfc_3339(row["last_updated_time"]),
    }


def page_json(documents: Iterable[dict[str, Any]], next_cursor: str | None) -> bytes:
    """A page of a list."""
    return orjson.dumps({"data": list(documents), "next_cursor": next_cursor})


def _integer(amount: Any) -> Any:
    """Write numeric(38,0) as a JSON integer: orjson's own stop at 64 bits."""
    return orjson.Fragment(str(int(amount)).encode())
