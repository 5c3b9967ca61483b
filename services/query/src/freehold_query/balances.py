"""The routes of balances: of an account, in one currency, and as a list."""

import re
from collections.abc import Callable, Sequence

import orjson
from fastapi import APIRouter, Request, Response

from freehold.contracts.balances import AccountBalance, AccountBalances, BalancePage
from freehold.contracts.fields import ACCOUNT_ID_PATTERN
from freehold.contracts.problems import NOT_FOUND, Problem
from freehold.ledger.client import Record
from freehold.ledger.rendering import balance_document, page_json
from freehold.security.api_keys import Scope
from freehold.service.application import json_response
from freehold.service.authentication import authenticate, sole_authorization
from freehold.service.parameters import read_query
from freehold.tenancy.directory import Directory
from freehold.tenancy.homes import Home
from freehold_query.caching import CACHING, balances_etag, none_match
from freehold_query.cursors import CursorScope
from freehold_query.parameters import BalanceListQuery, BalanceQuery, documented
from freehold_query.reads import Reads

_ACCOUNT_ID = re.compile(ACCOUNT_ID_PATTERN)
_DOCUMENTED_RESPONSES: dict[int | str, dict[str, str]] = {
    304: {"description": "Unchanged since the ETag that If-None-Match names."},
}


def balance_routes(directory: Directory, reads: Reads) -> APIRouter:
    """Make the routes of balances."""
    router = APIRouter(tags=["balances"])

    async def reader(request: Request) -> Home:
        caller = await authenticate(directory, sole_authorization(request), Scope.READ)
        return caller.home

    async def account_rows(request: Request) -> list[Record]:
        home = await reader(request)
        strong = read_query(BalanceQuery, request).consistency == "strong"
        account_id = request.path_params["account_id"]
        # An id that cannot exist is answered like one that does not.
        if not _ACCOUNT_ID.fullmatch(account_id):
            return []
        return await reads.balances(home, account_id, strong=strong)

    @router.get(
        "/v1/accounts/{account_id}/balances",
        summary="All balances of an account",
        response_model=AccountBalances,
        responses=_DOCUMENTED_RESPONSES,
        openapi_extra=documented(BalanceQuery, account_id="The account."),
    )
    async def account_balances(request: Request) -> Response:
        return _conditional(request, await account_rows(request), _account_json)

    @router.get(
        "/v1/accounts/{account_id}/balances/{currency}",
        summary="One balance of an account",
        response_model=AccountBalance,
        responses=_DOCUMENTED_RESPONSES,
        openapi_extra=documented(
            BalanceQuery, account_id="The account.", currency="An ISO 4217 code, in capitals."
        ),
    )
    async def account_balance(request: Request) -> Response:
        currency = request.path_params["currency"]
        rows = [row for row in await account_rows(request) if row["currency"] == currency]
        return _conditional(request, rows, _balance_json)

    @router.get(
        "/v1/balances",
        summary="Balances in order of account and currency, as projected",
        response_model=BalancePage,
        openapi_extra=documented(BalanceListQuery),
    )
    async def list_balances(request: Request) -> Response:
        home = await reader(request)
        query = read_query(BalanceListQuery, request)
        cursors = CursorScope(
            home, "balances", query.account_prefix, query.currency, query.least, query.most
        )
        rows = await reads.list_balances(
            home,
            account_prefix=query.account_prefix,
            currency=query.currency,
            least=query.least,
            most=query.most,
            after=None if query.cursor is None else cursors.read_balance(query.cursor),
            # One more than asked for tells whether a page follows.
            rows_max=query.limit + 1,
        )
        page = rows[: query.limit]
        more = len(rows) > query.limit
        next_cursor = cursors.write(page[-1]["account_id"], page[-1]["currency"]) if more else None
        return json_response(page_json(map(_document, page), next_cursor), headers=CACHING)

    return router


def _conditional(
    request: Request, rows: Sequence[Record], render: Callable[[Sequence[Record]], bytes]
) -> Response:
    """Answer with balances, or only that they are what the client has already.

    Raises:
        Problem: not-found, where there are none.
    """
    if not rows:
        raise Problem(NOT_FOUND, "the account has no such balance")
    etag = balances_etag(rows)
    headers = {"ETag": etag, **CACHING}
    if not none_match(request.headers.getlist("if-none-match"), etag):
        return Response(status_code=304, headers=headers)
    return json_response(render(rows), headers=headers)


def _account_json(rows: Sequence[Record]) -> bytes:
    return orjson.dumps(
        {
            "account_id": rows[0]["account_id"],
            "balances": [balance_document(row) for row in rows],
        }
    )


def _balance_json(rows: Sequence[Record]) -> bytes:
    return orjson.dumps(_document(rows[0]))


def _document(row: Record) -> dict[str, object]:
    return {"account_id": row["account_id"], **balance_document(row)}
