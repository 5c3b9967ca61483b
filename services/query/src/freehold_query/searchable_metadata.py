"""The routes of searchable metadata: by which keys events are searched."""

import orjson
from fastapi import APIRouter, Request

from freehold.contracts.errors import ClocksDisagree
from freehold.http.bodies import json_body, parse, read_body
from freehold.http.direct import Reply
from freehold.http.openapi import answering
from freehold.http.parameters import NoQuery, read_query
from freehold.ledger import rules
from freehold.ledger.clocks import Clock
from freehold.security.api_keys import Scope
from freehold_query.answers import DOCUMENTED_ANSWERS, answer
from freehold_query.contracts import SearchableMetadata
from freehold_query.parameters import documented
from freehold_query.readers import Readers
from freehold_query.reads import Reads

SEARCHABLE_METADATA_MODELS = (SearchableMetadata,)


def searchable_metadata_routes(readers: Readers, reads: Reads, clock: Clock) -> APIRouter:
    """Make the routes of searchable metadata. They are direct ones."""
    router = APIRouter(prefix="/v1/searchable-metadata", tags=["searchable metadata"])

    @router.get(
        "",
        operation_id="get_searchable_metadata",
        summary="The metadata keys by which events are searched",
        response_model=SearchableMetadata,
        responses=DOCUMENTED_ANSWERS,
        openapi_extra=documented(NoQuery),
    )
    async def get_keys(request: Request) -> Reply:
        reader = await readers.reader(request, Scope.READ)
        read_query(NoQuery, request)
        async with reads.connection(reader.home, "searchable_keys") as connection:
            keys = await rules.searchable_keys(connection)
        return answer(request, orjson.dumps({"keys": keys}))

    @router.put(
        "",
        operation_id="set_searchable_metadata",
        summary="Set by which metadata keys events are searched (scope ingest)",
        description="The whole list: a key that is left out is no longer searchable. A new key can"
        " be searched at once. Until the projector has indexed the events that are there already,"
        " such a search looks at each event, and its pages may be shorter than their `limit`.",
        response_model=SearchableMetadata,
        openapi_extra={**json_body(SearchableMetadata), **answering(ClocksDisagree)},
    )
    async def put_keys(request: Request) -> Reply:
        reader = await readers.reader(request, Scope.INGEST)
        read_query(NoQuery, request)
        wanted = parse(SearchableMetadata, await read_body(request))
        async with reads.connection(reader.home, "declare_searchable_metadata") as connection:
            await rules.declare_searchable_metadata(connection, wanted.keys, clock)
            keys = await rules.searchable_keys(connection)
        return Reply(200, orjson.dumps({"keys": keys}))

    return router
