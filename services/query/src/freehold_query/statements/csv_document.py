"""A statement as CSV (RFC 4180), in UTF-8: a header, then a row for each line."""

import csv
from collections.abc import AsyncIterator, Iterable
from io import StringIO

from freehold.contracts.currency import major_units
from freehold.contracts.times import rfc_3339
from freehold.ledger.client import Record

CSV = "text/csv"
COLUMNS = (
    "seq",
    "event_id",
    "account_id",
    "transaction_time",
    "recorded_at",
    "event_type",
    "external_id",
    "currency",
    "amount_minor",
    "amount",
    "balance_minor",
    "balance",
    "transaction_id",
    "reverses_event_id",
    "refunds_event_id",
    "metadata",
)
# OWASP, "CSV Injection": with these a spreadsheet begins a formula.
_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")


async def csv_pieces(pages: AsyncIterator[list[Record]]) -> AsyncIterator[bytes]:
    """Write a statement's pages, the header with the first."""
    first = True
    async for page in pages:
        rows = map(_row, page)
        yield _written([COLUMNS, *rows] if first else rows)
        first = False


def _row(line: Record) -> tuple[object, ...]:
    currency = line["currency"]
    balance_minor = int(line["balance_minor"])
    return (
        line["seq"],
        line["event_id"],
        line["account_id"],
        rfc_3339(line["transaction_time"]),
        rfc_3339(line["recorded_at"]),
        line["event_type"],
        _as_text(line["external_id"]),
        currency,
        line["amount_minor"],
        major_units(line["amount_minor"], currency),
        balance_minor,
        major_units(balance_minor, currency),
        line["transaction_id"],
        line["reverses_event_id"],
        line["refunds_event_id"],
        # An object in JSON, so it begins no formula.
        line["metadata_json"],
    )


def _as_text(text: str | None) -> str | None:
    """Keep a spreadsheet from taking text for a formula."""
    return f"'{text}" if text is not None and text.startswith(_FORMULA) else text


def _written(rows: Iterable[tuple[object, ...]]) -> bytes:
    text = StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()
