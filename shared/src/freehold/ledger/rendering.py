"""Ledger rows as JSON bytes, the same for whoever answers with them.

A replayed request must get its first answer byte for byte, so one function writes events for all.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import orjson

from freehold.ledger.client import Record


def rfc_3339(instant: datetime) -> str:
    """Write a UTC time with microseconds and a `Z` (RFC 3339, section 5.6)."""
    return instant.isoformat(timespec="microseconds")[:26] + "Z"


def event_document(row: Record) -> dict[str, Any]:
    """Turn a row of the ledger into the JSON document of api.md."""
    transaction_id = row["transaction_id"]
    reverses_event_id = row["reverses_event_id"]
    return {
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


def event_json(row: Record) -> bytes:
    """One event as JSON."""
    return orjson.dumps(event_document(row))


def balance_document(row: Record) -> dict[str, Any]:
    """Turn a row of balances into the JSON document of api.md."""
    return {
        "currency": row["currency"],
        "current_balance_minor": _integer(row["current_balance_minor"]),
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
    return orjson.Fragment(f"{amount:f}".encode())
