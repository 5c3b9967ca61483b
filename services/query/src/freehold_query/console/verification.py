"""The page of verification: the ledger's hash chain is computed anew at a click, with progress."""

from fastapi import APIRouter, Request, Response

from freehold.contracts.imports import NDJSON
from freehold.http.parameters import NoQuery, read_query
from freehold.security.api_keys import Scope
from freehold_query.audit.contracts import RangeQuery
from freehold_query.audit.routes import read_head, verification_lines
from freehold_query.console.console import Console, page_router
from freehold_query.streamed_answers import answered_within, streamed

RUN_PATH = "/console/verification/run"


def verification_pages(console: Console, *, timeout_s: float) -> APIRouter:
    """Make the page of the section, and what it runs, which begins to answer within a time."""
    router = page_router()

    @router.get("/verification")
    async def page(request: Request) -> Response:
        reader = await console.reader(request, Scope.AUDIT)
        read_query(NoQuery, request)
        head = await read_head(console.reads, reader.home)
        return console.answer(request, "verification.html", head=head, run=RUN_PATH)

    @router.get("/verification/run")
    async def run(request: Request) -> Response:
        async with answered_within(timeout_s):
            reader = await console.reader(request, Scope.AUDIT)
            query = read_query(RangeQuery, request)
            lines = verification_lines(console.reads, reader.home, query)
            return await streamed(request, lines, NDJSON, {}, may_pack=False)

    return router
