"""The routes of events, transactions, holds, and of the projection's lag."""

from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from uuid import UUID

import orjson
from fastapi import APIRouter, Request

from freehold.contracts.errors import NotFound
from freehold.contracts.events import EventPage
from freehold.contracts.excerpts import excerpt
from freehold.contracts.holds import Hold, HoldPage
from freehold.contracts.transactions import AppendedTransaction
from freehold.http.bodies import field_errors, pointer
from freehold.http.direct import Reply
from freehold.http.parameters import NoQuery, path_id, read_query
from freehold.ledger import client as ledger
from freehold.ledger import search
from freehold.ledger.client import Connection, Record
from freehold.ledger.documents import (
    event_document,
    event_with_undoing_json,
    hold_document,
    transaction_document,
)
from freehold.ledger.holds import hold_events, list_holds
from freehold.ledger.rules import searchable_keys
from freehold.ledger.search import EventFilters
from freehold.security.api_keys import Scope
from freehold_query.answers import DOCUMENTED_ANSWERS, answer, page_answer
from freehold_query.contracts import REFUNDS_SHOWN_MAX, EventWithUndoing, Lag
from freehold_query.cursors import CursorScope
from freehold_query.parameters import SEARCHED_METADATA, EventListQuery, HoldListQuery, documented
from freehold_query.readers import Reader, Readers
from freehold_query.reads import Reads

Find = Callable[[Connection, UUID], Awaitable[Sequence[Record]]]


def event_routes(readers: Readers, reads: Reads) -> APIRouter:
    """Make the routes of events, transactions, holds and the lag. They are direct ones."""
    router = APIRouter()

    async def found(
        request: Request, what: str, call: str, find: Find, *scopes: Scope
    ) -> Sequence[Record]:
        """Give the events of what the path's id names, all of which the reader may see.

        Raises:
            NotFound: There are none.
        """
        reader = await readers.reader(request, *scopes)
        read_query(NoQuery, request)
        named = path_id(request.path_params[f"{what}_id"], what)
        async with reads.connection(reader.home, call) as connection:
            rows = await find(connection, named)
        if not rows or not all(reader.may_see(row["account_id"]) for row in rows):
            raise NotFound(f"there is no such {what}")
        return rows

    @router.get(
        "/v1/events",
        operation_id="list_events",
        tags=["events"],
        summary="Events in ledger order or against it, filtered (scope read or audit)",
        description="All filters hold together. `metadata.order_id=o1` finds the events whose"
        " metadata has `o1` at `order_id`; `PUT /v1/searchable-metadata` declares such keys. A page"
        " may be shorter than its `limit` although another one follows: a search that takes long"
        " ends early, and its `next_cursor` goes on there.",
        response_model=EventPage,
        responses=DOCUMENTED_ANSWERS,
        openapi_extra=documented(EventListQuery, SEARCHED_METADATA),
    )
    async def list_events(request: Request) -> Reply:
        reader = await readers.reader(request, Scope.READ, Scope.AUDIT)
        query = read_query(EventListQuery, request)
        cursors = CursorScope(reader.home, "events", query, reader.account_prefix)
        after = None if query.cursor is None else cursors.read_event(query.cursor)
        async with reads.connection(reader.home, "events") as connection:
            if query.metadata:
                _refuse_unsearchable(query.metadata, await searchable_keys(connection))
            rows = await search.events(
                connection,
                _filters(query, reader),
                descending=query.order == "desc",
                after=after,
                rows_max=query.limit + 1,
            )
        # A search whose time was over before its end says how far it came.
        stopped_at = rows.pop() if rows and rows[-1]["seq"] is None else None
        return page_answer(
            request,
            rows,
            query.limit,
            event_document,
            lambda last: cursors.write(str(last["event_id"])),
            stopped_at,
        )

    @router.get(
        "/v1/events/{event_id}",
        operation_id="get_event",
        tags=["events"],
        summary="One event, with its reversal and its refunds (scope read or audit)",
        response_model=EventWithUndoing,
        responses=DOCUMENTED_ANSWERS,
        openapi_extra=documented(NoQuery),
    )
    async def event(request: Request) -> Reply:
        (row,) = await found(request, "event", "event", _event, Scope.READ, Scope.AUDIT)
        return answer(request, event_with_undoing_json(row))

    @router.get(
        "/v1/transactions/{transaction_id}",
        operation_id="get_transaction",
        tags=["transactions"],
        summary="A balanced transaction with its legs (scope read or audit)",
        response_model=AppendedTransaction,
        responses=DOCUMENTED_ANSWERS,
        openapi_extra=documented(NoQuery),
    )
    async def transaction(request: Request) -> Reply:
        rows = await found(request, "transaction", "legs", ledger.legs, Scope.READ, Scope.AUDIT)
        return answer(request, orjson.dumps(transaction_document(rows)))

    @router.get(
        "/v1/holds",
        operation_id="list_holds",
        tags=["holds"],
        summary="Holds, the newest first",
        description="A hold that is settled while pages are read may be missing from pages of"
        " pending ones, and appear on those of settled ones.",
        response_model=HoldPage,
        responses=DOCUMENTED_ANSWERS,
        openapi_extra=documented(HoldListQuery),
    )
    async def holds(request: Request) -> Reply:
        reader = await readers.reader(request, Scope.READ)
        query = read_query(HoldListQuery, request)
        cursors = CursorScope(reader.home, "holds", query, reader.account_prefix)
        async with reads.connection(reader.home, "list_holds") as connection:
            lives = await list_holds(
                connection,
                account_id=query.account_id,
                account_prefix=reader.account_prefix or None,
                pending=query.pending,
                before=None if query.cursor is None else cursors.read_event(query.cursor),
                holds_max=query.limit + 1,
            )
        return page_answer(
            request,
            lives,
            query.limit,
            hold_document,
            lambda life: cursors.write(str(life[0]["hold_id"])),
        )

    @router.get(
        "/v1/holds/{hold_id}",
        operation_id="get_hold",
        tags=["holds"],
        summary="A hold in its current state",
        description="A hold is pending until an event settles it. After `expires_at` that happens"
        " within seconds, and before the tenant's next append.",
        response_model=Hold,
        responses=DOCUMENTED_ANSWERS,
        openapi_extra=documented(NoQuery),
    )
    async def hold(request: Request) -> Reply:
        rows = await found(request, "hold", "hold_events", hold_events, Scope.READ)
        return answer(request, orjson.dumps(hold_document(rows)))

    @router.get(
        "/v1/lag",
        operation_id="get_lag",
        tags=["lag"],
        summary="How far the balances are behind the ledger",
        response_model=Lag,
        responses=DOCUMENTED_ANSWERS,
        openapi_extra=documented(NoQuery),
    )
    async def lag(request: Request) -> Reply:
        reader = await readers.reader(request, Scope.READ)
        read_query(NoQuery, request)
        async with reads.connection(reader.home, "projection_lag") as connection:
            behind = await ledger.projection_lag(connection)
        document = {
            "head_seq": behind.head_seq,
            "projected_seq": behind.projected_seq,
            "events_behind": behind.events_behind,
            "seconds_behind": behind.seconds_behind,
        }
        return answer(request, orjson.dumps(document))

    return router


async def _event(connection: Connection, event_id: UUID) -> list[Record]:
    event = await ledger.event_with_undoing(connection, event_id, refunds_max=REFUNDS_SHOWN_MAX)
    return [] if event is None else [event]


def _filters(query: EventListQuery, reader: Reader) -> EventFilters:
    return EventFilters(
        query.account_id,
        reader.account_prefix or None,
        query.external_id,
        query.transaction_id,
        query.refunds_event_id,
        query.event_type,
        query.currency,
        query.from_time,
        query.to_time,
        query.metadata,
    )


def _refuse_unsearchable(metadata: Iterable[str], searchable: Collection[str]) -> None:
    """Refuse to search by metadata keys that are not declared.

    Raises:
        ValidationFailed: There is such a key; the error names each.
    """
    undeclared = [key for key in metadata if key not in searchable]
    if undeclared:
        detail = "is not searchable: declare the key with PUT /v1/searchable-metadata"
        raise field_errors(
            (pointer([name]), f"{excerpt(name)} {detail}")
            for name in (f"metadata.{key}" for key in undeclared)
        )
