"""The route of totals: what a branch of accounts has together."""

import orjson
from fastapi import APIRouter, Request

from freehold.http.direct import Reply
from freehold.http.parameters import read_query
from freehold.ledger import points_in_time
from freehold.ledger.client import Record
from freehold.ledger.documents import total_document
from freehold.security.api_keys import Scope
from freehold_query.answers import DOCUMENTED_ANSWERS, answer
from freehold_query.contracts import Totals
from freehold_query.parameters import BranchQuery, documented
from freehold_query.readers import Readers
from freehold_query.reads import Reads


def total_routes(readers: Readers, reads: Reads) -> APIRouter:
    """Make the route of totals, a direct one."""
    router = APIRouter(tags=["balances"])

    @router.get(
        "/v1/totals",
        operation_id="get_totals",
        summary="All balances of a branch summed by currency, as projected or at a point in time",
        response_model=Totals,
        responses=DOCUMENTED_ANSWERS,
        openapi_extra=documented(BranchQuery),
    )
    async def totals(request: Request) -> Reply:
        reader = await readers.reader(request, Scope.READ)
        query = read_query(BranchQuery, request)
        account_prefix = reader.within(query.account_prefix)
        rows: list[Record] = []
        if account_prefix is not None:
            async with reads.connection(reader.home, "totals") as connection:
                rows = await points_in_time.totals(
                    connection, query.moment, account_prefix=account_prefix, currency=query.currency
                )
        return answer(request, orjson.dumps({"data": [total_document(row) for row in rows]}))

    return router
