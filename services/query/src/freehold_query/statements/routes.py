"""The route of statements: in pages of JSON, or whole as CSV or PDF."""

from typing import Any

from fastapi import APIRouter, Request, Response

from freehold.contracts.errors import NotFound, StatementTooLong
from freehold.http.application import response_of
from freehold.http.bodies import field_errors, header_values
from freehold.http.errors import NotAcceptable
from freehold.http.media_types import JSON, preferred
from freehold.http.openapi import answering
from freehold.http.parameters import read_query
from freehold.http.response_headers import documented_headers
from freehold.ledger.statements import Period
from freehold.security.api_keys import Scope
from freehold_query.answers import DOCUMENTED_ANSWERS, answer
from freehold_query.csv_rows import CSV
from freehold_query.cursors import CursorScope
from freehold_query.parameters import documented
from freehold_query.readers import Reader, Readers
from freehold_query.reads import Reads
from freehold_query.statements.contracts import StatementPage, StatementQuery
from freehold_query.statements.files import STATEMENT_CACHING, StatementFiles
from freehold_query.statements.json_document import json_page
from freehold_query.statements.pdf_document import PDF
from freehold_query.statements.printer import PDF_LINES_MAX
from freehold_query.statements.statement import find_statement, no_such_statement
from freehold_query.streamed_answers import answered_within

STATEMENT_PATH = "/v1/accounts/{account_id}/statement"

_FORMS = (JSON, CSV, PDF)
_FILE = {"schema": {"type": "string", "format": "binary"}}
_DOCUMENTED: dict[int | str, dict[str, Any]] = {
    **DOCUMENTED_ANSWERS,
    200: {
        "content": {CSV: _FILE, PDF: _FILE},
        **documented_headers("ETag", "Preference-Applied", "Content-Disposition"),
    },
}


def statement_routes(
    readers: Readers, reads: Reads, files: StatementFiles, *, timeout_s: float
) -> APIRouter:
    """Make the route of statements.

    Args:
        readers: Authenticates who asks.
        reads: Reads tenants' ledgers.
        files: Writes whole statements.
        timeout_s: An answer begins within this time. CSV may take longer to its end.
    """
    router = APIRouter(tags=["statements"])

    @router.get(
        STATEMENT_PATH,
        operation_id="get_statement",
        summary="What moved an account's balance in a period, with the balance after each line",
        description="Events that only place or let go of a hold move nothing and are left out."
        " All pages are of one state of the ledger, the one at the first page. `Accept: text/csv`"
        f" and `application/pdf` answer the whole statement; a PDF has at most {PDF_LINES_MAX}"
        " lines.",
        response_model=StatementPage,
        responses=_DOCUMENTED,
        openapi_extra={
            **documented(StatementQuery),
            **answering(NotFound, NotAcceptable, StatementTooLong),
        },
    )
    async def statement(request: Request) -> Response:
        async with answered_within(timeout_s):
            reader = await readers.reader(request, Scope.READ)
            query = read_query(StatementQuery, request)
            form = preferred(_FORMS, header_values(request, b"accept"))
            period = _period(request, reader, query)
            if form == JSON:
                return await _page(request, reads, reader, period, query)
            _require_whole(query)
            return await files.answer(
                request, reader.home, period, form, newest_first=query.order == "desc"
            )

    return router


def _period(request: Request, reader: Reader, query: StatementQuery) -> Period:
    """Give the period that is asked for.

    Raises:
        NotFound: The reader has no such account.
    """
    account_id = request.path_params["account_id"]
    if not reader.may_see(account_id):
        raise no_such_statement()
    return Period(account_id, query.currency, query.by, query.from_time, query.to_time)


def _require_whole(query: StatementQuery) -> None:
    """Refuse parameters of pages.

    Raises:
        ValidationFailed: There are some.
    """
    given = query.model_fields_set & {"limit", "cursor"}
    if given:
        raise field_errors(
            (f"/{name}", f"{name} must be left out: a whole statement has no pages")
            for name in sorted(given)
        )


async def _page(
    request: Request, reads: Reads, reader: Reader, period: Period, query: StatementQuery
) -> Response:
    cursors = CursorScope(reader.home, "statement", query, period.account_id)
    through_seq, after = (None, None) if query.cursor is None else cursors.read_line(query.cursor)
    statement = await find_statement(
        reads, reader.home, period, newest_first=query.order == "desc", through_seq=through_seq
    )
    lines = await statement.lines(after=after, rows_max=query.limit + 1)
    page, next_cursor = lines[: query.limit], None
    if len(lines) > query.limit:
        at, seq = statement.position(page[-1])
        next_cursor = cursors.write(str(statement.totals.through_seq), at.isoformat(), str(seq))
    reply = answer(request, json_page(statement, page, next_cursor))
    return response_of(reply._replace(headers={**reply.headers, **STATEMENT_CACHING}))
