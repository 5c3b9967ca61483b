"""The pages of events: a search, and one event with what it is connected with and its proof."""

from typing import Any, Literal, NamedTuple, Self

import orjson
from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import model_validator

from freehold.console.pages import is_fragment
from freehold.contracts.currency import MINOR_UNIT_EXPONENTS
from freehold.contracts.errors import NotFound, ValidationFailed
from freehold.contracts.fields import (
    AccountId,
    Currency,
    EventId,
    EventType,
    ExternalId,
    MetadataKey,
    MetadataValue,
)
from freehold.http.parameters import NoQuery, path_id, read_query
from freehold.ledger import client as ledger
from freehold.ledger import search
from freehold.ledger.client import Record
from freehold.ledger.documents import hold_document
from freehold.ledger.holds import hold_events
from freehold.ledger.proofs import Proof, event_proof
from freehold.ledger.rules import searchable_keys
from freehold.ledger.search import EventFilters
from freehold.security.api_keys import Scope
from freehold_query.console.console import Console, page_router
from freehold_query.console.parameters import PeriodParameters, field_time
from freehold_query.contracts import REFUNDS_SHOWN_MAX
from freehold_query.cursors import CursorScope
from freehold_query.readers import Reader

PATH = "/console/events"
_ROWS_MAX = 100


class EventParameters(PeriodParameters):
    """The parameters of the search."""

    account_id: AccountId | None = None
    event_type: EventType | None = None
    currency: Currency | None = None
    external_id: ExternalId | None = None
    transaction_id: EventId | None = None
    refunds_event_id: EventId | None = None
    metadata_key: MetadataKey | None = None
    metadata_value: MetadataValue | None = None
    order: Literal["asc", "desc"] = "desc"
    cursor: str | None = None

    @model_validator(mode="after")
    def _knows_where_to_look(self) -> Self:
        if self.metadata_value is not None and self.metadata_key is None:
            raise ValueError("a value of metadata needs its key: choose one")
        return self

    @property
    def filters(self) -> EventFilters:
        """What the events must have."""
        metadata = None
        if self.metadata_key is not None:
            metadata = {self.metadata_key: self.metadata_value or ""}
        return EventFilters(
            account_id=self.account_id,
            external_id=self.external_id,
            transaction_id=self.transaction_id,
            refunds_event_id=self.refunds_event_id,
            event_type=self.event_type,
            currency=self.currency,
            from_time=self.from_time,
            to_time=self.to_time,
            metadata=metadata,
        )


class _Found(NamedTuple):
    """An event, and all that its page shows beside it."""

    event: Record
    legs: list[Record]
    hold: list[Record]
    proof: Proof | None


def event_pages(console: Console) -> APIRouter:
    """Make the pages of the section."""
    router = page_router()

    @router.get("/events")
    async def events(request: Request) -> Response:
        reader = await console.reader(request, Scope.READ, Scope.AUDIT)
        query = read_query(EventParameters, request)
        cursors = CursorScope(reader.home, "console events", query)
        try:
            after = None if query.cursor is None else cursors.read_event(query.cursor)
        except ValidationFailed:
            # The ledger was restored meanwhile: its list is another one now.
            return RedirectResponse(query.address(PATH, cursor=None), status_code=303)
        async with console.reads.connection(reader.home, "console_events") as connection:
            keys = await searchable_keys(connection)
            rows = await search.events(
                connection,
                query.filters,
                descending=query.order == "desc",
                after=after,
                rows_max=_ROWS_MAX + 1,
            )
        # A search whose time was over before its end says how far it came.
        stopped_at = rows.pop() if rows and rows[-1]["seq"] is None else None
        page = rows[:_ROWS_MAX]
        last = page[-1] if len(rows) > _ROWS_MAX else stopped_at
        following = None if last is None else cursors.write(str(last["event_id"]))
        return console.answer(
            request,
            "_events.html" if is_fragment(request) else "events.html",
            headers={"HX-Replace-Url": query.address(PATH)},
            query=query,
            is_filtered=bool(query.given().keys() - {"order", "cursor"}),
            since=field_time(query.from_time),
            until=field_time(query.to_time),
            keys=keys,
            rows=list(map(_shown, page)),
            first=None if query.cursor is None else query.address(PATH, cursor=None),
            following=following and query.address(PATH, cursor=following),
        )

    @router.get("/events/{event_id}")
    async def event(request: Request) -> Response:
        reader = await console.reader(request, Scope.READ, Scope.AUDIT)
        read_query(NoQuery, request)
        found = await _find(
            console, reader, request, is_auditor=await console.has(request, Scope.AUDIT)
        )
        metadata = orjson.loads(found.event["metadata_json"])
        return console.answer(
            request,
            "event.html",
            event=_shown(found.event),
            metadata=metadata,
            refunds=orjson.loads(found.event["refunds"]),
            legs=list(map(_shown, found.legs)),
            hold=hold_document(found.hold) if found.hold else None,
            proof=found.proof,
        )

    return router


async def _find(console: Console, reader: Reader, request: Request, *, is_auditor: bool) -> _Found:
    """Read the event that the path names.

    Raises:
        NotFound: There is none.
    """
    event_id = path_id(request.path_params["event_id"], "event")
    async with console.reads.connection(reader.home, "console_event") as connection:
        event = await ledger.event_with_undoing(connection, event_id, refunds_max=REFUNDS_SHOWN_MAX)
        if event is None:
            raise NotFound("there is no such event")
        legs, hold = [], []
        if event["transaction_id"] is not None:
            legs = await ledger.legs(connection, event["transaction_id"])
        if event["hold_id"] is not None:
            hold = await hold_events(connection, event["hold_id"])
        proof = await event_proof(connection, event_id) if is_auditor else None
    return _Found(event, legs, hold, proof)


def _shown(row: Record) -> dict[str, Any]:
    return {**row, "exponent": MINOR_UNIT_EXPONENTS[row["currency"]]}
