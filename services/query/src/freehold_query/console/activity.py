"""The page of activity: what happened in each hour, day or month, by event type."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Self
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import AfterValidator, Field, model_validator

from freehold.console.pages import is_fragment
from freehold.contracts.errors import ValidationFailed
from freehold.contracts.fields import CALENDAR_END, EARLIEST, AccountId, Currency, EventType
from freehold.http.parameters import read_query
from freehold.ledger.activity import ActivityFilters
from freehold.security.api_keys import Scope
from freehold_query.activity.buckets import Buckets, Unit, time_zones
from freehold_query.activity.contracts import TimeZone
from freehold_query.activity.pages import ActivityQuestion, Position, read_page
from freehold_query.console.activity_chart import Measure, activity_chart, activity_lines
from freehold_query.console.console import Console, page_router
from freehold_query.console.parameters import PageParameters
from freehold_query.cursors import CursorScope

PATH = "/console/activity"
_LINES_MAX = 500
_SHOWN_DAYS = {"hour": 2, "day": 30, "month": 365}
_DAY = timedelta(days=1)


def _in_range(day: date) -> date:
    """Bound days as the times of events are."""
    if not EARLIEST.date() <= day < CALENDAR_END.date():
        raise ValueError(f"must lie between {EARLIEST:%Y-%m-%d} and {CALENDAR_END:%Y-%m-%d}")
    return day


_Day = Annotated[date, AfterValidator(_in_range)]


class ActivityParameters(PageParameters):
    """The parameters of the page: days are those of the time zone."""

    bucket: Unit = "day"
    time_zone: TimeZone = "UTC"
    first_day: _Day | None = Field(default=None, alias="from")
    last_day: _Day | None = Field(default=None, alias="through")
    currency: Currency | None = None
    event_type: EventType | None = None
    account_id: AccountId | None = None
    show: Measure = "events"
    cursor: str | None = None

    @model_validator(mode="after")
    def _is_in_order(self) -> Self:
        if self.first_day and self.last_day and self.first_day > self.last_day:
            raise ValueError("from must not be after through")
        return self


def activity_pages(console: Console) -> APIRouter:
    """Make the page of activity."""
    router = page_router()

    @router.get("/activity")
    async def activity(request: Request) -> Response:
        reader = await console.reader(request, Scope.READ)
        query = read_query(ActivityParameters, request)
        first_day, last_day = _days(query)
        cursors = CursorScope(reader.home, "console activity", query, f"{first_day}", f"{last_day}")
        try:
            after = None if query.cursor is None else Position(*cursors.read_activity(query.cursor))
        except ValidationFailed:
            # The ledger was restored meanwhile, or it is tomorrow.
            return RedirectResponse(query.address(PATH, cursor=None), status_code=303)
        question = ActivityQuestion(
            ActivityFilters(query.account_id, None, query.currency, query.event_type),
            Buckets(query.bucket, query.time_zone),
            _midnight(first_day, query.time_zone),
            _midnight(last_day + _DAY, query.time_zone),
        )
        async with console.reads.connection(reader.home, "activity") as connection:
            page = await read_page(connection, question, after=after, lines_max=_LINES_MAX)
        following = page.reached and cursors.write_activity(*page.reached)
        lines = activity_lines(page.lines, question.buckets)
        return console.answer(
            request,
            "_activity.html" if is_fragment(request) else "activity.html",
            headers={"HX-Replace-Url": query.address(PATH)},
            query=query,
            first_day=first_day,
            last_day=last_day,
            time_zones=sorted(time_zones()),
            lines=lines,
            chart=activity_chart(lines, query.show, ZoneInfo(query.time_zone)),
            first_lines=query.address(PATH, cursor=None) if query.cursor else None,
            following=following and query.address(PATH, cursor=following),
        )

    return router


def _days(query: ActivityParameters) -> tuple[date, date]:
    """Give the first and the last day that are shown: the latest ones, where none are named."""
    days = timedelta(_SHOWN_DAYS[query.bucket] - 1)
    today = datetime.now(ZoneInfo(query.time_zone)).date()
    last_day = query.last_day or max(today, query.first_day or today)
    return query.first_day or last_day - days, last_day


def _midnight(day: date, time_zone: str) -> datetime:
    return datetime.combine(day, time(), ZoneInfo(time_zone)).astimezone(UTC)
