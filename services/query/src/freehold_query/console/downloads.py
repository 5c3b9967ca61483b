"""The page of downloads: statements, the journal, and the whole ledger as one file."""

from typing import Annotated, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BeforeValidator, Field

from freehold.console.forms import Form, read_form
from freehold.console.pages import is_fragment
from freehold.contracts.fields import AccountId, Currency
from freehold.contracts.values import INT_64_MAX
from freehold.http.parameters import NoQuery, read_integer, read_query
from freehold.ledger.statements import Period, StatementTime
from freehold.security.api_keys import Scope
from freehold.security.export_tickets import LASTS_S, ExportTicket, ExportTickets
from freehold_query.console.console import Console, page_router
from freehold_query.console.parameters import PeriodParameters
from freehold_query.csv_rows import CSV
from freehold_query.journal import journal_file
from freehold_query.statements.files import StatementFiles
from freehold_query.statements.pdf_document import PDF
from freehold_query.streamed_answers import answered_within

PATH = "/console/downloads"
STATEMENT_FILE_PATH = f"{PATH}/statement"
JOURNAL_FILE_PATH = f"{PATH}/journal"
_LEDGER_PATH = f"{PATH}/ledger"
_FORMS = {"csv": CSV, "pdf": PDF}

_Seq = Annotated[int, Field(ge=1, le=INT_64_MAX), BeforeValidator(read_integer)]


class StatementParameters(PeriodParameters):
    """The parameters of a statement that is downloaded."""

    account_id: AccountId
    currency: Currency
    by: StatementTime = "transaction_time"
    order: Literal["asc", "desc"] = "asc"
    through_seq: _Seq | None = None
    """The state of the ledger that it is of; None for the newest."""
    format: Literal["csv", "pdf"] = "csv"


def download_pages(
    console: Console,
    files: StatementFiles,
    tickets: ExportTickets,
    tenant_manager_url: str | None,
    *,
    timeout_s: float,
) -> APIRouter:
    """Make the page of the section, and its files, which begin within a time.

    Args:
        console: What all sections are made of.
        files: Writes statements.
        tickets: Signs what tenant-manager asks for.
        tenant_manager_url: Where browsers reach tenant-manager; None where they do not.
        timeout_s: For the beginning of a file.
    """
    router = page_router()

    @router.get("/downloads")
    async def page(request: Request) -> Response:
        await console.reader(request, Scope.READ, Scope.AUDIT, Scope.EXPORT)
        read_query(NoQuery, request)
        return console.answer(
            request,
            "downloads.html",
            may={scope.value: await console.has(request, scope) for scope in Scope},
            statement=STATEMENT_FILE_PATH,
            journal=JOURNAL_FILE_PATH,
            ledger=_LEDGER_PATH if tenant_manager_url else None,
        )

    @router.get("/downloads/statement")
    async def statement(request: Request) -> Response:
        async with answered_within(timeout_s):
            reader = await console.reader(request, Scope.READ)
            query = read_query(StatementParameters, request)
            period = Period(
                query.account_id, query.currency, query.by, query.from_time, query.to_time
            )
            return await files.answer(
                request,
                reader.home,
                period,
                _FORMS[query.format],
                newest_first=query.order == "desc",
                through_seq=query.through_seq,
            )

    @router.get("/downloads/journal")
    async def journal(request: Request) -> Response:
        async with answered_within(timeout_s):
            reader = await console.reader(request, Scope.AUDIT)
            period = read_query(PeriodParameters, request)
            return await journal_file(
                request, console.reads, reader.home, period.from_time, period.to_time
            )

    @router.post("/downloads/ledger")
    async def ledger(request: Request) -> Response:
        reader = await console.reader(request, Scope.EXPORT)
        await read_form(request, Form)
        ticket = tickets.sign(ExportTicket(reader.home.tenant_id, reader.key_id))
        return console.answer(
            request,
            "_ledger_ready.html" if is_fragment(request) else "ledger_ready.html",
            address=f"{tenant_manager_url}/v1/export/by-ticket",
            ticket=ticket,
            lasts_s=LASTS_S,
        )

    return router
