"""The routes of balances: of one account, and as a list."""

from collections.abc import Callable, Sequence
from typing import Any

import orjson
from fastapi import APIRouter, Request

from freehold.contracts.errors import NotFound
from freehold.http.direct import Reply
from freehold.http.openapi import answering
from freehold.http.parameters import read_query
from freehold.ledger import client as ledger
from freehold.ledger import points_in_time
from freehold.ledger.client import BalanceFilters, Record
from freehold.ledger.documents import balance_document, past_balance_document
from freehold.ledger.points_in_time import NOW
from freehold.security.api_keys import Scope
from freehold_query.answers import DOCUMENTED_ANSWERS, answer, page_answer
from freehold_query.contracts import AccountBalance, AccountBalances, BalancePage
from freehold_query.cursors import CursorScope
from freehold_query.parameters import BalanceListQuery, BalanceQuery, documented
from freehold_query.readers import Readers
from freehold_query.reads import Reads

Document = Callable[[Record], dict[str, Any]]


def balance_routes(readers: Readers, reads: Reads) -> APIRouter:
    """Make the routes of balances. They are direct ones."""
    router = APIRouter(tags=["balances"])

    async def account_rows(request: Request) -> tuple[list[Record], Document]:
        reader = await readers.reader(request, Scope.READ)
        query = read_query(BalanceQuery, request)
        moment = query.moment
        account_id = request.path_params["account_id"]
        if not reader.may_see(account_id):
            return [], balance_document
        if moment != NOW:
            async with reads.connection(reader.home, "balances_at") as connection:
                rows = await points_in_time.balances_at(connection, [account_id], moment)
            return rows, past_balance_document
        strong = query.consistency == "strong"
        return await reads.balances(reader.home, account_id, strong=strong), balance_document

    @router.get(
        "/v1/accounts/{account_id}/balances",
        operation_id="get_balances",
        summary="All balances of an account",
        response_model=AccountBalances,
        responses=DOCUMENTED_ANSWERS,
        openapi_extra={**documented(BalanceQuery), **answering(NotFound)},
    )
    async def account_balances(request: Request) -> Reply:
        rows, document = await account_rows(request)
        return _answer(request, rows, lambda: _account_document(rows, document))

    @router.get(
        "/v1/accounts/{account_id}/balances/{currency}",
        operation_id="get_balance",
        summary="One balance of an account",
        response_model=AccountBalance,
        responses=DOCUMENTED_ANSWERS,
        openapi_extra={**documented(BalanceQuery), **answering(NotFound)},
    )
    async def account_balance(request: Request) -> Reply:
        rows, document = await account_rows(request)
        rows = [row for row in rows if row["currency"] == request.path_params["currency"]]
        return _answer(request, rows, lambda: _whose(rows[0], document))

    @router.get(
        "/v1/balances",
        operation_id="list_balances",
        summary="Balances in order of account and currency, as projected or at a point in time",
        description="A page at a point in time may be shorter than `limit`, even empty, with more"
        " to follow: `next_cursor` alone says that there is no more.",
        response_model=BalancePage,
        responses=DOCUMENTED_ANSWERS,
        openapi_extra=documented(BalanceListQuery),
    )
    async def list_balances(request: Request) -> Reply:
        reader = await readers.reader(request, Scope.READ)
        query = read_query(BalanceListQuery, request)
        account_prefix = reader.within(query.account_prefix)
        moment = query.moment
        cursors = CursorScope(reader.home, "balances", query, account_prefix)
        after = None if query.cursor is None else cursors.read_balance(query.cursor)
        filters = BalanceFilters(account_prefix, query.currency, query.least, query.most)
        rows_max = query.limit + 1
        rows: list[Record] = []
        stopped_at, document = None, balance_document
        if account_prefix is not None and moment != NOW:
            async with reads.connection(reader.home, "list_balances_at") as connection:
                rows, stopped_at = await points_in_time.list_balances_at(
                    connection, moment, filters, after=after, rows_max=rows_max
                )
            document = past_balance_document
        elif account_prefix is not None:
            async with reads.connection(reader.home, "list_balances") as connection:
                rows = await ledger.list_balances(
                    connection, filters, after=after, rows_max=rows_max
                )
        return page_answer(
            request,
            rows,
            query.limit,
            lambda row: _whose(row, document),
            lambda last: cursors.write(last["account_id"], last["currency"]),
            stopped_at,
        )

    return router


def _answer(
    request: Request, rows: Sequence[Record], document: Callable[[], dict[str, Any]]
) -> Reply:
    """Answer with balances.

    Raises:
        NotFound: There are none.
    """
    if not rows:
        raise NotFound("the account has no such balance")
    # The times in projected and in strong balances differ.
    state = ";".join(
        [f"{row['currency']}:{row['last_seq']}:{row['last_ledger_event_id']}" for row in rows]
    )
    return answer(request, orjson.dumps(document()), state)


def _account_document(rows: Sequence[Record], document: Document) -> dict[str, Any]:
    return {"account_id": rows[0]["account_id"], "balances": [document(row) for row in rows]}


def _whose(row: Record, document: Document) -> dict[str, Any]:
    return {"account_id": row["account_id"], **document(row)}
