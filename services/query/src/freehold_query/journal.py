"""The route of the journal: all events of a period in ledger order, as one file."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import Field

from freehold.http.parameters import documented_query, read_query
from freehold.http.response_headers import documented_headers
from freehold.ledger import client as ledger
from freehold.ledger import search
from freehold.ledger.client import Record
from freehold.ledger.search import EventFilters
from freehold.security.api_keys import Scope
from freehold.tenants.homes import Home
from freehold_query.csv_rows import (
    AFTER_AMOUNTS,
    BEFORE_AMOUNTS,
    CSV,
    METADATA,
    Columns,
    csv_pieces,
)
from freehold_query.parameters import PeriodQuery
from freehold_query.readers import Readers
from freehold_query.reads import Reads
from freehold_query.streamed_answers import answered_within, streamed

JOURNAL_PATH = "/v1/export/journal"
JOURNAL_COLUMNS: Columns = {
    **BEFORE_AMOUNTS,
    **AFTER_AMOUNTS,
    "hold_id": lambda row: row["hold_id"],
    "held_minor": lambda row: row["held_minor"],
    **METADATA,
    "hash": lambda row: row["hash"].hex(),
}
_PAGE_EVENTS = 1_000


class JournalQuery(PeriodQuery):
    """Parameters of a journal."""

    format: Literal["csv"] = Field(description="The only form that there is.")


_DOCUMENTED: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {CSV: {"schema": {"type": "string", "format": "binary"}}},
        **documented_headers("Content-Disposition"),
    }
}


def journal_routes(readers: Readers, reads: Reads, *, timeout_s: float) -> APIRouter:
    """Make the route of journals.

    Args:
        readers: Authenticates who asks.
        reads: Reads tenants' ledgers.
        timeout_s: An answer begins within this time.
    """
    router = APIRouter(tags=["exports"])

    @router.get(
        JOURNAL_PATH,
        operation_id="export_journal",
        summary="All events of a period in ledger order, as one file (scope audit)",
        description="The events that the ledger had when the request came, those of holds too.",
        response_class=Response,
        responses=_DOCUMENTED,
        openapi_extra={"parameters": documented_query(JournalQuery)},
    )
    async def journal(request: Request) -> Response:
        async with answered_within(timeout_s):
            home = (await readers.reader(request, Scope.AUDIT)).home
            query = read_query(JournalQuery, request)
            return await journal_file(request, reads, home, query.from_time, query.to_time)

    return router


async def journal_file(
    request: Request, reads: Reads, home: Home, since: datetime | None, until: datetime | None
) -> Response:
    """Answer with the journal of a period as CSV.

    Raises:
        Overloaded, Unavailable: The ledger cannot be read.
    """
    parts = ["journal", home.tenant_id]
    if since is not None:
        parts.append(f"from-{since:%Y-%m-%d}")
    if until is not None:
        parts.append(f"to-{until:%Y-%m-%d}")
    parts.append(f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
    headers = {
        "Cache-Control": "no-store",
        "Content-Disposition": f'attachment; filename="{"_".join(parts)}.csv"',
    }
    rows = csv_pieces(
        JOURNAL_COLUMNS, _pages(reads, home, EventFilters(from_time=since, to_time=until))
    )
    return await streamed(request, rows, CSV, headers)


async def _pages(reads: Reads, home: Home, filters: EventFilters) -> AsyncIterator[list[Record]]:
    """Read the events that the ledger has now, page by page."""
    async with reads.connection(home, "head") as connection:
        end = (await ledger.head(connection)).seq
    after = None
    while True:
        async with reads.connection(home, "events") as connection:
            rows = await search.events(connection, filters, after=after, rows_max=_PAGE_EVENTS)
        # A search whose time was over before its end says how far it came.
        goes_on = len(rows) == _PAGE_EVENTS or bool(rows and rows[-1]["seq"] is None)
        after = rows[-1]["event_id"] if goes_on else None
        page = [row for row in rows if row["seq"] is not None]
        yield [row for row in page if row["seq"] <= end]
        if not goes_on or (page and page[-1]["seq"] >= end):
            return
