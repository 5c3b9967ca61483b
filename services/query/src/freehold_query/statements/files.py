"""Whole statements as files: CSV of any length, and PDF."""

from fastapi import Request, Response

from freehold.http.bodies import header_values
from freehold.ledger.statements import Period
from freehold.tenants.homes import Home
from freehold_query.answers import CACHING, none_match, weak_tag
from freehold_query.csv_rows import CSV, csv_pieces
from freehold_query.reads import Reads
from freehold_query.statements.csv_document import STATEMENT_COLUMNS
from freehold_query.statements.pdf_document import PDF
from freehold_query.statements.printer import Printer
from freehold_query.statements.statement import Statement, find_statement
from freehold_query.streamed_answers import streamed

CSV_PAGE_LINES = 1_000
STATEMENT_CACHING = {**CACHING, "Vary": f"{CACHING['Vary']}, Accept"}


class StatementFiles:
    """Writes statements. A process has one, since it prints one PDF at a time."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads
        self._printer = Printer()

    async def answer(
        self,
        request: Request,
        home: Home,
        period: Period,
        form: str,
        *,
        newest_first: bool,
        through_seq: int | None = None,
    ) -> Response:
        """Answer with a whole statement, or with 304 where the client has it already.

        It is of the newest state of the ledger, or of that at a seq.

        Raises:
            NotFound: The account has no event in the currency.
            StatementTooLong: A PDF cannot show so many lines.
            Overloaded, Unavailable: The ledger cannot be read.
        """
        whole = await find_statement(
            self._reads, home, period, newest_first=newest_first, through_seq=through_seq
        )
        headers = _headers(whole, form)
        if not none_match(header_values(request, b"if-none-match"), headers["ETag"]):
            return Response(status_code=304, headers=headers)
        if form == PDF:
            return Response(await self._printer.print(whole), headers=headers, media_type=PDF)
        rows = csv_pieces(STATEMENT_COLUMNS, whole.pages(CSV_PAGE_LINES))
        return await streamed(request, rows, CSV, headers)


def _headers(statement: Statement, form: str) -> dict[str, str]:
    """Make the header fields of a whole statement: its tag, and the name of its file."""
    period = statement.period
    # Not every file system takes a colon, or more than 255 bytes.
    parts = ["statement", period.account_id.replace(":", "_")[:100], period.currency]
    if period.since is not None:
        parts.append(f"from-{period.since:%Y-%m-%d}")
    if period.until is not None:
        parts.append(f"to-{period.until:%Y-%m-%d}")
    name = f"{'_'.join(parts)}.{form.partition('/')[2]}"
    state = repr((form, statement.home.epoch, period, statement.newest_first, statement.totals))
    return {
        **STATEMENT_CACHING,
        "ETag": weak_tag(state.encode()),
        "Content-Disposition": f'attachment; filename="{name}"',
    }
