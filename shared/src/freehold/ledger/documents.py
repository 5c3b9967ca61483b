"""Ledger rows as JSON. A replayed request gets its first answer byte for byte."""

from collections.abc import Sequence
from typing import Any

import orjson

from freehold.contracts.currency import MINOR_UNIT_EXPONENTS
from freehold.contracts.events import NewEvent
from freehold.contracts.fields import AMOUNT_MAX, AMOUNT_MIN
from freehold.contracts.times import rfc_3339
from freehold.ledger.append import NewlyWritten, Row, metadata_json, row_of
from freehold.ledger.client import Head, Record

_SETTLED_BY = {"HOLD_CAPTURE": "captured", "HOLD_RELEASE": "released", "HOLD_EXPIRY": "expired"}


def event_document(row: Row) -> dict[str, Any]:
    """Turn an event into the JSON document of api.md; what concerns a hold says so."""
    transaction_id = row["transaction_id"]
    reverses_event_id = row["reverses_event_id"]
    refunds_event_id = row["refunds_event_id"]
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
        # The database's own JSON text: the bytes that were hashed.
        "metadata": orjson.Fragment(row["metadata_json"]),
        "transaction_id": None if transaction_id is None else str(transaction_id),
        "reverses_event_id": None if reverses_event_id is None else str(reverses_event_id),
        "refunds_event_id": None if refunds_event_id is None else str(refunds_event_id),
        "hash": row["hash"].hex(),
    }
    if row["hold_id"] is not None:
        document["hold_id"] = str(row["hold_id"])
        document["held_minor"] = row["held_minor"]
    return document


def event_with_undoing_json(row: Record) -> bytes:
    """Write one event, and what undoes it, as JSON."""
    reversed_by_event_id = row["reversed_by_event_id"]
    return orjson.dumps(
        {
            **event_document(row),
            "reversed_by_event_id": None
            if reversed_by_event_id is None
            else str(reversed_by_event_id),
            "refunded_minor": integer(row["refunded_minor"]),
            "refunds": orjson.loads(row["refunds"]),
        }
    )


def event_json(row: Row) -> bytes:
    """One event as JSON."""
    return orjson.dumps(event_document(row))


def new_event_json(new: NewlyWritten, transaction_id: str | None = None) -> bytes:
    """Write an event that was just appended as JSON, in the bytes of `event_json`."""
    event, seq, event_id, transaction_time, recorded_at, digest = new
    if not isinstance(event, NewEvent):
        return event_json(row_of(new))
    return orjson.dumps(
        {
            "event_id": _uuid_text(event_id),
            "seq": seq,
            "account_id": event.account_id,
            "event_type": event.event_type,
            "amount_minor": event.amount_minor,
            "currency": event.currency,
            "transaction_time": rfc_3339(transaction_time),
            "recorded_at": rfc_3339(recorded_at),
            "external_id": event.external_id,
            "metadata": orjson.Fragment(metadata_json(event.metadata)),
            "transaction_id": transaction_id,
            "reverses_event_id": None,
            "refunds_event_id": event.refunds_event_id,
            "hash": digest.hex(),
        }
    )


def new_transaction_json(legs: Sequence[NewlyWritten]) -> bytes:
    """Write a transaction that was just appended as JSON, as `transaction_document` would be."""
    # A transaction is named after its first leg.
    transaction_id = _uuid_text(legs[0].event_id)
    events = b",".join([new_event_json(leg, transaction_id) for leg in legs])
    return b'{"transaction_id":"%b","events":[%b]}' % (transaction_id.encode(), events)


def transaction_document(legs: Sequence[Row]) -> dict[str, Any]:
    """Turn a transaction's legs, in their order, into the JSON document of api.md."""
    first = legs[0]
    document = {"transaction_id": str(first["transaction_id"])}
    if first["reverses_event_id"] is not None:
        # A transaction is named after its first leg, and reversed leg by leg in their order.
        document["reverses_transaction_id"] = str(first["reverses_event_id"])
    return {**document, "events": [event_document(leg) for leg in legs]}


def hold_status(latest: Row) -> str:
    """Name what has become of a hold, after the latest of its events."""
    return _SETTLED_BY.get(latest["event_type"], "pending")


def hold_document(life: Sequence[Row]) -> dict[str, Any]:
    """Turn the event that placed a hold, and the one that settled it, into the JSON of api.md."""
    placed, latest = life[0], life[-1]
    status = hold_status(latest)
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


def head_document(head: Head) -> dict[str, Any]:
    """Turn the ledger's end into the JSON document of api.md. An empty ledger has no last event."""
    is_empty = head.seq == 0
    return {
        "seq": head.seq,
        "event_id": None if is_empty else str(head.event_id),
        "hash": None if is_empty else head.hash.hex(),
        "recorded_at": None if is_empty else rfc_3339(head.recorded_at),
    }


def balance_document(row: Record) -> dict[str, Any]:
    """Turn a row of balances into the JSON document of api.md."""
    return _balance(
        row,
        held_minor=integer(row["held_minor"]),
        available_minor=integer(int(row["current_balance_minor"]) - int(row["held_minor"])),
    )


def past_balance_document(row: Record) -> dict[str, Any]:
    """Turn a row of balances at a point in time into the JSON document of api.md."""
    return _balance(row)


def total_document(row: Record) -> dict[str, Any]:
    """Turn a row of totals into the JSON document of api.md."""
    return {
        "currency": row["currency"],
        "exponent": MINOR_UNIT_EXPONENTS[row["currency"]],
        "balance_minor": integer(row["balance_minor"]),
        "account_count": row["account_count"],
        "event_count": row["event_count"],
    }


def _balance(row: Record, **of_the_present: Any) -> dict[str, Any]:
    event_id, updated = row["last_ledger_event_id"], row["last_updated_time"]
    return {
        "currency": row["currency"],
        "exponent": MINOR_UNIT_EXPONENTS[row["currency"]],
        "current_balance_minor": integer(row["current_balance_minor"]),
        **of_the_present,
        "event_count": row["event_count"],
        "last_ledger_event_id": None if event_id is None else str(event_id),
        "last_seq": row["last_seq"],
        "last_updated_time": None if updated is None else rfc_3339(updated),
    }


def activity_document(bucket: str, row: Record) -> dict[str, Any]:
    """Turn a row of activity into the JSON document of api.md."""
    amount_in, amount_out = row["amount_in_minor"], row["amount_out_minor"]
    return {
        "bucket": bucket,
        "currency": row["currency"],
        "exponent": MINOR_UNIT_EXPONENTS[row["currency"]],
        "event_type": row["event_type"],
        "event_count": row["event_count"],
        "amount_in_minor": integer(amount_in),
        "amount_out_minor": integer(amount_out),
        "net_minor": integer(int(amount_in) - int(amount_out)),
    }


def _uuid_text(uuid: bytes) -> str:
    text = uuid.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def integer(amount: Any) -> Any:
    """Write an integer of any length in JSON: orjson's own stop at 64 bits."""
    whole = int(amount)
    if AMOUNT_MIN <= whole <= AMOUNT_MAX:
        return whole
    return orjson.Fragment(str(whole).encode())
