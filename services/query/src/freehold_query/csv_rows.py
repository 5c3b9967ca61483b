"""Events as CSV (RFC 4180), in UTF-8: a header, then a row for each event."""

import csv
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from io import StringIO
from operator import itemgetter

from freehold.contracts.currency import major_units
from freehold.contracts.times import rfc_3339
from freehold.ledger.client import Record

CSV = "text/csv"

Columns = Mapping[str, Callable[[Record], object]]
"""What a file has in each column, by its name in the header."""

# OWASP, "CSV Injection": with these a spreadsheet begins a formula.
_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def _as_text(text: str | None) -> str | None:
    """Keep a spreadsheet from taking text for a formula."""
    return f"'{text}" if text is not None and text.startswith(_FORMULA) else text


def _column(name: str) -> Callable[[Record], object]:
    return itemgetter(name)


BEFORE_AMOUNTS: Columns = {
    "seq": _column("seq"),
    "event_id": _column("event_id"),
    "account_id": _column("account_id"),
    "transaction_time": lambda row: rfc_3339(row["transaction_time"]),
    "recorded_at": lambda row: rfc_3339(row["recorded_at"]),
    "event_type": _column("event_type"),
    "external_id": lambda row: _as_text(row["external_id"]),
    "currency": _column("currency"),
    "amount_minor": _column("amount_minor"),
    "amount": lambda row: major_units(row["amount_minor"], row["currency"]),
}
AFTER_AMOUNTS: Columns = {
    "transaction_id": _column("transaction_id"),
    "reverses_event_id": _column("reverses_event_id"),
    "refunds_event_id": _column("refunds_event_id"),
}
# An object in JSON, so it begins no formula.
METADATA: Columns = {"metadata": _column("metadata_json")}


async def csv_pieces(columns: Columns, pages: AsyncIterator[list[Record]]) -> AsyncIterator[bytes]:
    """Write the rows of pages, the header with the first page."""
    header: list[Iterable[object]] = [columns]
    async for page in pages:
        yield _written([*header, *([cell(row) for cell in columns.values()] for row in page)])
        header = []


def _written(rows: Iterable[Iterable[object]]) -> bytes:
    text = StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()
