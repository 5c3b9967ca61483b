"""A page of a statement as JSON."""

from collections.abc import Sequence

import orjson

from freehold.contracts.currency import MINOR_UNIT_EXPONENTS
from freehold.contracts.times import rfc_3339
from freehold.ledger.client import Record
from freehold.ledger.documents import event_document, integer
from freehold_query.statements.statement import Statement


def json_page(statement: Statement, lines: Sequence[Record], next_cursor: str | None) -> bytes:
    """Write some lines, with the balances and sums of the whole statement."""
    period, totals = statement.period, statement.totals
    return orjson.dumps(
        {
            "account_id": period.account_id,
            "currency": period.currency,
            "exponent": MINOR_UNIT_EXPONENTS[period.currency],
            "from": period.since and rfc_3339(period.since),
            "to": period.until and rfc_3339(period.until),
            "by": period.by,
            "opening_balance_minor": integer(totals.opening_balance_minor),
            "closing_balance_minor": integer(totals.closing_balance_minor),
            "total_in_minor": integer(totals.total_in_minor),
            "total_out_minor": integer(totals.total_out_minor),
            "data": [
                {**event_document(line), "balance_minor": integer(line["balance_minor"])}
                for line in lines
            ],
            "next_cursor": next_cursor,
        }
    )
