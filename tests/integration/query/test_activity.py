"""Activity over HTTP: hours, days and months of time zones, equal to sums of the events."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.contracts.fields import EARLIEST
from freehold_query.activity import pages
from freehold_query.activity.contracts import ActivityList
from integration.query.conftest import serve
from integration.query.tenants import Landlord, Tenant, read_token
from integration.query.test_lists import everything
from support.answers import pointers
from support.builders import new_event, new_hold

ACTIVITY = "/v1/activity"
# Each changes its clocks, or begins its days, in another way.
CHANGES = {
    "Europe/Berlin": ["2025-03-30T01:00Z", "2025-10-26T01:00Z"],
    "America/New_York": ["2025-03-09T07:00Z", "2025-11-02T06:00Z"],
    "Asia/Kolkata": ["2025-12-31T18:30Z"],
    "Australia/Lord_Howe": ["2025-04-05T15:00Z", "2025-10-04T15:30Z"],
    "Pacific/Apia": ["2011-12-30T10:00Z"],
    # Its clocks were 19 minutes and 32 seconds ahead of UTC.
    "Europe/Amsterdam": ["1936-12-31T23:40:28Z"],
    "UTC": ["2026-01-01T00:00Z"],
}


class Active:
    """A tenant with events on either side of each change, and query, asked with its key."""

    def __init__(self, query: httpx.AsyncClient, events: list[dict[str, Any]]) -> None:
        self.query = query
        self.events = events


@pytest.fixture(scope="module")
async def active(landlord: Landlord) -> AsyncIterator[Active]:
    random = Random(4)
    changes = [datetime.fromisoformat(at) for times in CHANGES.values() for at in times]
    async with AsyncExitStack() as stack:
        tenant = await stack.enter_async_context(landlord.tenant())
        query = await stack.enter_async_context(serve(landlord.dsn(), tenant))
        for batch in range(2):
            await tenant.append(
                *(
                    new_event(
                        random.choice(["a", "ab"]),
                        random.choice([5, -3, 2**62]),
                        currency=random.choice(["USD", "JPY"]),
                        event_type=random.choice(["CHARGE", "FEE"]),
                        transaction_time=change + timedelta(seconds=random.randint(-9000, 9000)),
                    )
                    for change in changes * 20
                )
            )
            # The second batch is not projected.
            if batch == 0:
                await tenant.project()
        yield Active(query, await everything(query, "/v1/events"))


def bucket_of(event: dict[str, Any], unit: str, zone: ZoneInfo) -> datetime:
    """Say in plain Python when an event's hour, day or month began."""
    local = datetime.fromisoformat(event["transaction_time"]).astimezone(zone)
    start = local.replace(minute=0, second=0, microsecond=0)
    if unit != "hour":
        start = start.replace(hour=0, fold=0)
    if unit == "month":
        start = start.replace(day=1)
    return start.astimezone(UTC)


times = st.sampled_from([at for times in CHANGES.values() for at in times]).flatmap(
    lambda at: st.integers(-9000, 9000).map(
        lambda seconds: datetime.fromisoformat(at) + timedelta(seconds=seconds)
    )
)


@given(
    unit=st.sampled_from(["hour", "day", "month"]),
    zone=st.sampled_from(list(CHANGES)),
    ends=st.lists(times, min_size=2, max_size=2, unique=True),
    open_ends=st.tuples(st.booleans(), st.booleans()),
    filters=st.fixed_dictionaries(
        {},
        optional={
            "account_id": st.sampled_from(["a", "ab", "unknown"]),
            "currency": st.sampled_from(["USD", "JPY", "EUR"]),
            "event_type": st.sampled_from(["CHARGE", "FEE", "NONE"]),
        },
    ),
    limit=st.sampled_from([3, 1000]),
)
async def test_activity_is_the_sum_of_the_events(
    active: Active,
    unit: str,
    zone: str,
    ends: list[datetime],
    open_ends: tuple[bool, bool],
    filters: dict[str, str],
    limit: int,
) -> None:
    first, last = sorted(ends)
    is_open, is_open_ended = open_ends
    expected: dict[tuple[datetime, str, str], list[int]] = {}
    for event in active.events:
        at = datetime.fromisoformat(event["transaction_time"])
        inside = (is_open or at >= first) and (is_open_ended or at < last)
        if inside and all(event[name] == value for name, value in filters.items()):
            start = bucket_of(event, unit, ZoneInfo(zone))
            sums = expected.setdefault((start, event["currency"], event["event_type"]), [0, 0, 0])
            sums[0] += 1
            sums[1 if event["amount_minor"] > 0 else 2] += abs(event["amount_minor"])
    found = await everything(
        active.query,
        ACTIVITY,
        bucket=unit,
        time_zone=zone,
        limit=limit,
        **({} if is_open else {"from": first.isoformat()}),
        **({} if is_open_ended else {"to": last.isoformat()}),
        **filters,
    )
    keys = [
        (datetime.fromisoformat(line["bucket"]), line["currency"], line["event_type"])
        for line in found
    ]
    assert keys == sorted(expected)
    for key, line in zip(keys, found, strict=True):
        count, into, out = expected[key]
        assert (line["event_count"], line["amount_in_minor"], line["amount_out_minor"]) == (
            count,
            into,
            out,
        )
        assert line["net_minor"] == into - out


async def test_an_hour_that_comes_twice_is_two_buckets(
    query: httpx.AsyncClient, tenant: Tenant
) -> None:
    for hour in (0, 1):
        at = datetime(2025, 10, 26, hour, 30, tzinfo=UTC)
        await tenant.append(new_event(amount_minor=7, transaction_time=at))
    await tenant.append(new_hold())
    answer = await query.get(
        ACTIVITY,
        params={"bucket": "hour", "time_zone": "Europe/Berlin", "to": "2025-10-26T02:00:00Z"},
    )
    page = ActivityList.model_validate_json(answer.content)
    assert [line.model_dump() for line in page.data] == [
        {
            "bucket": datetime(2025, 10, 26, hour, tzinfo=UTC),
            "currency": "USD",
            "exponent": 2,
            "event_type": "CHARGE",
            "event_count": 1,
            "amount_in_minor": 7,
            "amount_out_minor": 0,
            "net_minor": 7,
        }
        for hour in (0, 1)
    ]
    assert [line["bucket"] for line in answer.json()["data"]] == [
        "2025-10-26T02:00:00+02:00",
        "2025-10-26T02:00:00+01:00",
    ]
    (held,) = (await query.get(ACTIVITY, params={"bucket": "day", "event_type": "HOLD"})).json()[
        "data"
    ]
    assert (held["event_count"], held["amount_in_minor"], held["net_minor"]) == (1, 0, 0)


async def test_pages_that_end_early_leave_nothing_out(
    active: Active, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = await everything(active.query, ACTIVITY, bucket="hour", event_type="FEE")
    monkeypatch.setattr(pages, "PATIENCE_S", 0)
    for limit in (1, 100):
        assert whole == await everything(
            active.query, ACTIVITY, bucket="hour", event_type="FEE", limit=limit
        )


async def test_pages_go_on_in_a_bucket_that_begins_before_the_earliest_time(
    query: httpx.AsyncClient, tenant: Tenant
) -> None:
    for event_type in ("CHARGE", "FEE"):
        await tenant.append(new_event(event_type=event_type, transaction_time=EARLIEST))
    asked = {"bucket": "month", "time_zone": "Europe/Berlin"}
    pages = await everything(query, ACTIVITY, **asked, limit=1)
    assert [(line["bucket"], line["event_type"]) for line in pages] == [
        ("1900-01-01T00:00:00+01:00", event_type) for event_type in ("CHARGE", "FEE")
    ]


async def test_no_activity_is_an_empty_list(query: httpx.AsyncClient) -> None:
    answer = await query.get(ACTIVITY, params={"bucket": "month"})
    assert answer.json() == {"data": [], "next_cursor": None}


async def test_a_cursor_of_activity_is_good_for_its_filters_only(active: Active) -> None:
    page = await active.query.get(ACTIVITY, params={"bucket": "day", "limit": 1})
    cursor = page.json()["next_cursor"]
    for others in (
        {"bucket": "hour"},
        {"bucket": "day", "time_zone": "Europe/Berlin"},
        {"bucket": "day", "currency": "USD"},
        {"bucket": "day", "account_id": "a"},
        {"bucket": "day", "from": "2025-01-01T00:00:00Z"},
    ):
        answer = await active.query.get(ACTIVITY, params={**others, "cursor": cursor})
        assert pointers(answer) == ["/cursor"]


async def test_a_read_token_adds_up_its_accounts_only(active: Active) -> None:
    token = await read_token(active.query, account_prefix="ab")
    wanted = {"bucket": "month"}
    whole = await active.query.get(ACTIVITY, params={**wanted, "account_id": "ab"})
    for params in (wanted, {**wanted, "account_id": "ab"}):
        answer = await active.query.get(ACTIVITY, params=params, headers=token)
        assert answer.json()["data"] == whole.json()["data"] != []
    answer = await active.query.get(ACTIVITY, params={**wanted, "account_id": "a"}, headers=token)
    assert answer.json() == {"data": [], "next_cursor": None}
