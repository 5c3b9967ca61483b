"""Statements in SQL, held against sums in plain Python, and page by page."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.ledger import client
from freehold.ledger.append import Addition, Capture, Release
from freehold.ledger.client import Connection, Record
from freehold.ledger.statements import Period, Totals, statement_lines, statement_totals
from support.builders import (
    append,
    append_request,
    make_blocks_small,
    new_event,
    new_hold,
    stop_clock,
    undo,
)
from support.ledgers import Ledger, rolled_back

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
ACCOUNT, CURRENCY = "cus_42", "USD"

# Few, so that many events share an instant, or are next to one; some lie ahead.
instants = st.sampled_from(
    [
        *(NOW + number * MICROSECOND for number in range(-1, 2)),
        NOW - timedelta(days=400),
        NOW + timedelta(hours=23),
    ]
)


@dataclass(frozen=True)
class Step:
    """What is appended at one time of the ledger's clock."""

    kind: str
    account_id: str
    currency: str
    amount_minor: int
    at: datetime
    later: timedelta


steps = st.builds(
    Step,
    st.sampled_from([*["event"] * 8, "hold", "capture", "release", "reversal"]),
    st.sampled_from([*[ACCOUNT] * 5, "cus_43"]),
    st.sampled_from([*[CURRENCY] * 5, "JPY"]),
    st.integers(-1000, 1000).filter(bool) | st.sampled_from([2**63 - 1, -(2**63)]),
    instants,
    st.sampled_from([timedelta(0), timedelta(0), MICROSECOND, timedelta(hours=1)]),
)
bounds = st.none() | instants


@st.composite
def periods(draw: st.DrawFn) -> Period:
    """Periods of one account, which may be empty, or open at either end."""
    by = draw(st.sampled_from(["transaction_time", "recorded_at"]))
    since, until = draw(bounds), draw(bounds)
    if since and until and since > until:
        since, until = until, since
    return Period(ACCOUNT, CURRENCY, by, since, until)  # type: ignore[arg-type]


async def write(connection: Connection, wanted: Sequence[Step]) -> None:
    """Append what the steps say; a reversal or a settlement takes the first that it finds."""
    clock = NOW
    for step in wanted:
        clock += step.later
        await stop_clock(connection, clock)
        addition = await addition_of(connection, step)
        if addition is not None:
            await append(connection, [append_request(addition)])


async def addition_of(connection: Connection, step: Step) -> Addition | None:
    match step.kind:
        case "event":
            return new_event(
                step.account_id, step.amount_minor, currency=step.currency, transaction_time=step.at
            )
        case "hold":
            return new_hold(step.account_id, 10, currency=step.currency)
        case "reversal":
            event_id = await connection.fetchval(
                "SELECT event_id FROM ledger_events WHERE amount_minor <> 0"
                " AND event_id NOT IN (SELECT reversed_event_id FROM reversals) LIMIT 1"
            )
            return event_id and undo(event_id)
        case _:
            hold_id = await connection.fetchval(
                "SELECT hold_id FROM holds WHERE settled_event_id IS NULL LIMIT 1"
            )
            return hold_id and (Capture(hold_id, 7) if step.kind == "capture" else Release(hold_id))


async def pages(
    connection: Connection, period: Period, *, through_seq: int, newest_first: bool, rows_max: int
) -> list[Record]:
    """Read all lines, page by page."""
    found: list[Record] = []
    while True:
        page = await statement_lines(
            connection,
            period,
            through_seq=through_seq,
            after=(found[-1][period.by], found[-1]["seq"]) if found else None,
            newest_first=newest_first,
            rows_max=rows_max,
        )
        found += page
        if len(page) < rows_max:
            return found


def model(
    events: Sequence[Record], period: Period, through_seq: int
) -> tuple[Totals | None, list[tuple[int, int, int]]]:
    """Add up events one by one: the totals, and the seq, amount and balance of each line."""
    mine = sorted(
        (event[period.by], event["seq"], event["amount_minor"])
        for event in events
        if (event["account_id"], event["currency"]) == (period.account_id, period.currency)
        and event["seq"] <= through_seq
    )
    if not mine:
        return None, []
    opening = balance = sum_in = sum_out = 0
    lines = []
    for at, seq, amount in mine:
        if period.until is not None and at >= period.until:
            break
        balance += amount
        if period.since is not None and at < period.since:
            opening = balance
        elif amount:
            lines.append((seq, amount, balance))
            sum_in += max(amount, 0)
            sum_out += max(-amount, 0)
    return Totals(opening, sum_in, sum_out, balance, through_seq), lines


@pytest.fixture(scope="module")
async def shared(empty_ledger: Ledger) -> AsyncIterator[Connection]:
    """A connection that examples share, each in a transaction that it undoes."""
    async with empty_ledger.connection() as connection:
        yield connection


@given(
    st.lists(steps, min_size=10, max_size=20),
    st.lists(periods(), min_size=3, max_size=3),
    st.data(),
)
async def test_opening_and_lines_make_closing_in_every_state_order_and_page_size(
    shared: Connection, wanted: list[Step], wanted_periods: list[Period], data: st.DataObject
) -> None:
    async with rolled_back(shared):
        # Some of the events are in blocks, and some are not yet.
        await make_blocks_small(shared)
        await write(shared, wanted)
        await client.project(shared, data.draw(st.integers(0, len(wanted))))
        events = await shared.fetch("SELECT * FROM ledger_events")
        for period in wanted_periods:
            through_seq = data.draw(st.integers(1, max(1, len(events))))
            totals, lines = model(events, period, through_seq)
            assert await statement_totals(shared, period, through_seq=through_seq) == totals
            for newest_first in (False, True):
                found = await pages(
                    shared,
                    period,
                    through_seq=through_seq,
                    newest_first=newest_first,
                    rows_max=data.draw(st.sampled_from([1, 2, 3, 100])),
                )
                assert [
                    (line["seq"], line["amount_minor"], line["balance_minor"]) for line in found
                ] == (lines[::-1] if newest_first else lines)


async def test_without_a_state_the_newest_one_is_taken(connection: Connection) -> None:
    period = Period("cus_1", "USD", "transaction_time", None, None)
    assert await statement_totals(connection, period, through_seq=None) is None
    await append(connection, [append_request(new_event(), new_event("cus_2"))])
    assert await statement_totals(connection, period, through_seq=None) == Totals(0, 100, 0, 100, 2)


async def test_a_line_is_the_event_as_it_is_read_by_its_id(connection: Connection) -> None:
    event = new_event(external_id="ch_1", metadata={"plan": "pro"}, transaction_time=NOW)
    (answer,) = await append(connection, [append_request(event)])
    period = Period("cus_1", "USD", "transaction_time", None, None)
    (line,) = await pages(connection, period, through_seq=1, newest_first=False, rows_max=10)
    (row,) = answer.events
    read = await client.event(connection, row["event_id"])
    assert read is not None
    assert dict(line) == {**read, "balance_minor": 100}


async def test_sums_may_be_larger_than_any_amount(connection: Connection) -> None:
    await append(connection, [append_request(*[new_event(amount_minor=2**63 - 1)] * 3)])
    period = Period("cus_1", "USD", "recorded_at", None, None)
    assert await statement_totals(connection, period, through_seq=3) == Totals(
        0, 3 * (2**63 - 1), 0, 3 * (2**63 - 1), 3
    )
    lines = await pages(connection, period, through_seq=3, newest_first=True, rows_max=10)
    assert [line["balance_minor"] for line in lines] == [n * (2**63 - 1) for n in (3, 2, 1)]
