"""The route of activity: sums of events by the hour, day or month of their transaction_time."""

from fastapi import APIRouter, Request

from freehold.http.direct import Reply
from freehold.http.parameters import read_query
from freehold.ledger.activity import ActivityFilters
from freehold.ledger.documents import activity_document
from freehold.security.api_keys import Scope
from freehold_query.activity.buckets import Buckets
from freehold_query.activity.contracts import ActivityList, ActivityQuery
from freehold_query.activity.pages import ActivityQuestion, Position, read_page
from freehold_query.answers import DOCUMENTED_ANSWERS, list_answer
from freehold_query.cursors import CursorScope
from freehold_query.parameters import documented
from freehold_query.readers import Readers
from freehold_query.reads import Reads


def activity_routes(readers: Readers, reads: Reads) -> APIRouter:
    """Make the route of activity. It is a direct one."""
    router = APIRouter(tags=["activity"])

    @router.get(
        "/v1/activity",
        operation_id="get_activity",
        summary="What happened in each hour, day or month, by currency and event type",
        description="By `transaction_time`, in order of bucket, currency and event type. Buckets"
        " without events are left out; the first and the last one hold only what lies from `from`"
        " until before `to`. Every event that was committed before the request is included. A page"
        " may be shorter than its `limit` although another one follows. With `account_id`, or with"
        " a read token that has a prefix, the events of these accounts are added up one by one.",
        response_model=ActivityList,
        responses=DOCUMENTED_ANSWERS,
        openapi_extra=documented(ActivityQuery),
    )
    async def activity(request: Request) -> Reply:
        reader = await readers.reader(request, Scope.READ)
        query = read_query(ActivityQuery, request)
        cursors = CursorScope(reader.home, "activity", query, reader.account_prefix)
        after = None if query.cursor is None else Position(*cursors.read_activity(query.cursor))
        filters = ActivityFilters(
            query.account_id, reader.account_prefix or None, query.currency, query.event_type
        )
        buckets = Buckets(query.bucket, query.time_zone)
        question = ActivityQuestion(filters, buckets, query.from_time, query.to_time)
        async with reads.connection(reader.home, "activity") as connection:
            page = await read_page(connection, question, after=after, lines_max=query.limit)
        return list_answer(
            request,
            [activity_document(buckets.label(start), row) for start, row in page.lines],
            page.reached and cursors.write_activity(*page.reached),
        )

    return router
