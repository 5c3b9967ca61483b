"""Holds: amounts set aside, and let go of once: by capture, by release, or by time."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from freehold.contracts.holds import NewHold
from freehold.ledger import client, holds, search
from freehold.ledger.append import Answer, AppendRequest, Capture, Outcome, Release, Row
from freehold.ledger.client import Connection
from support.builders import append, append_request, let_pass, new_event, new_hold, stop_clock, undo

HOUR = timedelta(hours=1)
HOLDS_MAX = 1000
"""How many expired holds are settled at once (`settle_expired_holds`)."""


async def decide(connection: Connection, request: AppendRequest) -> Answer:
    (answer,) = await append(connection, [request])
    return answer


async def place(connection: Connection, *holds: NewHold) -> list[UUID]:
    answers = await append(connection, [append_request(hold) for hold in holds])
    assert {answer.outcome for answer in answers} == {Outcome.CREATED}
    return [answer.events[0]["hold_id"] for answer in answers]


async def posted_and_held(connection: Connection, account_id: str = "cus_1") -> tuple[int, int]:
    """An account's balance and what is held of it, the same by state and by strong read."""
    head = await client.head(connection)
    await client.project(connection, head.seq)
    (projected,) = await client.balances(connection, [account_id])
    (strong,) = await client.balances(connection, [account_id], strong=True)
    both = [(row["current_balance_minor"], row["held_minor"]) for row in (projected, strong)]
    assert both[0] == both[1]
    return both[0]


async def events(connection: Connection) -> list[client.Record]:
    return await search.events(connection, rows_max=100_000)


async def saved_expiry(connection: Connection) -> datetime | None:
    expiry: datetime | None = await connection.fetchval(
        "SELECT next_hold_expiry FROM ledger_settings"
    )
    return expiry


async def test_a_hold_is_an_event_that_posts_nothing(connection: Connection) -> None:
    expires_at = datetime(2099, 1, 1, tzinfo=UTC)
    hold = new_hold(
        amount_minor=300, expires_at=expires_at, external_id="auth_1", metadata={"order": "1017"}
    )
    await append(connection, [append_request(new_event(amount_minor=1000))])
    (event,) = (await decide(connection, append_request(hold))).events
    assert (event["event_type"], event["amount_minor"], event["held_minor"]) == ("HOLD", 0, 300)
    assert event["hold_id"] == event["event_id"]
    assert event["hold_expires_at"] == expires_at
    assert (event["external_id"], event["metadata_json"]) == ("auth_1", '{"order": "1017"}')
    assert await posted_and_held(connection) == (1000, 300)
    again = await decide(connection, append_request(new_event(external_id="auth_1")))
    assert (again.outcome, again.conflicting_id) == (
        Outcome.DUPLICATE_EXTERNAL_ID,
        event["event_id"],
    )


@pytest.mark.parametrize(("captured", "posted"), [(None, -300), (300, -300), (200, -200), (1, -1)])
async def test_a_capture_posts_its_amount_and_lets_go_of_all(
    connection: Connection, captured: int | None, posted: int
) -> None:
    (hold_id,) = await place(connection, new_hold(amount_minor=300, currency="JPY"))
    placed, capture = (await decide(connection, append_request(Capture(hold_id, captured)))).events
    assert placed["event_id"] == capture["hold_id"] == hold_id
    assert (capture["event_type"], capture["amount_minor"], capture["held_minor"]) == (
        "HOLD_CAPTURE",
        posted,
        -300,
    )
    assert (capture["account_id"], capture["currency"]) == ("cus_1", "JPY")
    assert await posted_and_held(connection) == (posted, 0)


async def test_a_release_lets_go_of_all_and_posts_nothing(connection: Connection) -> None:
    (hold_id,) = await place(connection, new_hold(amount_minor=300))
    _, release = (await decide(connection, append_request(Release(hold_id)))).events
    assert (release["event_type"], release["amount_minor"]) == ("HOLD_RELEASE", 0)
    assert await posted_and_held(connection) == (0, 0)


async def test_the_largest_hold_can_be_captured(connection: Connection) -> None:
    (hold_id,) = await place(connection, new_hold(amount_minor=2**63 - 1))
    assert (await decide(connection, append_request(Capture(hold_id)))).outcome is Outcome.CREATED
    assert await posted_and_held(connection) == (1 - 2**63, 0)


@pytest.mark.parametrize("first", [Capture, Release])
@pytest.mark.parametrize("second", [Capture, Release])
async def test_a_hold_is_settled_once(
    connection: Connection, first: type[Capture | Release], second: type[Capture | Release]
) -> None:
    one, other = await place(connection, new_hold(), new_hold())
    settled = (await decide(connection, append_request(first(one)))).events[1]["event_id"]
    again = await decide(connection, append_request(second(one)))
    assert (again.outcome, again.conflicting_id) == (Outcome.HOLD_NOT_PENDING, settled)
    # In one call as in two.
    answers = await append(
        connection, [append_request(first(other)), append_request(second(other))]
    )
    assert [(answer.outcome, answer.conflicting_id) for answer in answers] == [
        (Outcome.CREATED, None),
        (Outcome.HOLD_NOT_PENDING, answers[0].events[1]["event_id"]),
    ]


async def test_what_is_no_hold_cannot_be_settled(connection: Connection) -> None:
    (hold_id,) = await place(connection, new_hold())
    capture = (await decide(connection, append_request(Capture(hold_id)))).events[1]
    plain = (await decide(connection, append_request(new_event()))).events[0]
    for no_hold in (uuid4(), capture["event_id"], plain["event_id"]):
        for settlement in (Capture(no_hold), Capture(no_hold, 1), Release(no_hold)):
            answer = await decide(connection, append_request(settlement))
            assert (answer.outcome, answer.index) == (Outcome.HOLD_NOT_FOUND, 0)


async def test_a_refused_settlement_leaves_the_hold_to_the_next(connection: Connection) -> None:
    (hold_id,) = await place(connection, new_hold(amount_minor=300))
    answers = await append(
        connection,
        [
            append_request(Capture(hold_id, 301)),
            append_request(Capture(hold_id, 1)),
            # At its turn the hold is gone, however much it asks for.
            append_request(Capture(hold_id, 301)),
            append_request(Release(hold_id)),
        ],
    )
    captured = answers[1].events[1]["event_id"]
    assert [(answer.outcome, answer.conflicting_id) for answer in answers] == [
        (Outcome.HOLD_EXCEEDED, None),
        (Outcome.CREATED, None),
        (Outcome.HOLD_NOT_PENDING, captured),
        (Outcome.HOLD_NOT_PENDING, captured),
    ]
    assert await posted_and_held(connection) == (-1, 0)


async def test_replays_answer_what_was_answered_first(connection: Connection) -> None:
    placing = append_request(new_hold(amount_minor=300))
    placed = (await decide(connection, placing)).events
    capturing = append_request(Capture(placed[0]["hold_id"], 200))
    captured = (await decide(connection, capturing)).events
    # The same several times, as from clients who gave up on one connection after another.
    answers = await append(connection, [capturing, placing, capturing, placing])
    assert {answer.outcome for answer in answers} == {Outcome.REPLAYED}
    assert [rows(answer.events) for answer in answers] == [rows(captured), rows(placed)] * 2
    assert len(captured) == 2


def rows(events: Sequence[Row]) -> list[dict[str, object]]:
    return [dict(event) for event in events]


async def test_a_capture_can_be_reversed_and_leaves_the_hold_settled(
    connection: Connection,
) -> None:
    (hold_id, released) = await place(connection, new_hold(amount_minor=300), new_hold())
    capture = (await decide(connection, append_request(Capture(hold_id, 200)))).events[1]
    release = (await decide(connection, append_request(Release(released)))).events[1]
    reversal = (await decide(connection, append_request(undo(capture["event_id"])))).events[0]
    assert (reversal["amount_minor"], reversal["held_minor"], reversal["hold_id"]) == (
        200,
        None,
        None,
    )
    assert await posted_and_held(connection) == (0, 0)
    # There is nothing to give back of the others.
    for event_id in (hold_id, released, release["event_id"]):
        answer = await decide(connection, append_request(undo(event_id)))
        assert answer.outcome is Outcome.NOT_REVERSIBLE
    assert (await client.verify(connection)).ok


async def test_a_hold_must_expire_later_than_it_is_placed(connection: Connection) -> None:
    (event,) = (await decide(connection, append_request(new_event()))).events
    past = new_hold(expires_at=event["recorded_at"] - HOUR)
    answer = await decide(connection, append_request(past))
    assert (answer.outcome, answer.index) == (Outcome.HOLD_EXPIRY_PAST, 0)
    now = datetime.now(UTC) + HOUR
    await stop_clock(connection, now)
    answers = await append(
        connection,
        [
            append_request(new_hold(expires_at=now)),
            append_request(new_hold(expires_at=now + timedelta(microseconds=1))),
        ],
    )
    assert [answer.outcome for answer in answers] == [Outcome.HOLD_EXPIRY_PAST, Outcome.CREATED]


async def test_a_hold_that_has_expired_is_settled_before_anything_else(
    connection: Connection,
) -> None:
    soon = datetime.now(UTC) + HOUR
    due, later, _ = await place(
        connection,
        new_hold(amount_minor=1, expires_at=soon),
        new_hold(amount_minor=2, expires_at=soon + 2 * HOUR),
        new_hold(amount_minor=4),
    )
    assert await posted_and_held(connection) == (0, 7)
    await let_pass(connection, 2 * HOUR)
    answers = await append(connection, [append_request(Capture(due)), append_request(new_event())])
    expiry = (await events(connection))[3]
    assert (expiry["event_type"], expiry["hold_id"]) == ("HOLD_EXPIRY", due)
    assert (expiry["amount_minor"], expiry["held_minor"]) == (0, -1)
    assert [(answer.outcome, answer.conflicting_id) for answer in answers] == [
        (Outcome.HOLD_NOT_PENDING, expiry["event_id"]),
        (Outcome.CREATED, None),
    ]
    assert answers[1].events[0]["seq"] == 5
    assert await posted_and_held(connection) == (100, 6)
    assert await saved_expiry(connection) == soon + 2 * HOUR
    life = await holds.hold_events(connection, due)
    assert [event["event_type"] for event in life] == ["HOLD", "HOLD_EXPIRY"]
    assert [event["event_id"] for event in await holds.hold_events(connection, later)] == [later]
    assert await holds.hold_events(connection, expiry["event_id"]) == []


async def test_what_an_expired_hold_lets_go_of_can_be_taken_at_once(connection: Connection) -> None:
    await append(connection, [append_request(new_event(amount_minor=100))])
    await connection.execute("SELECT limit_account('cus_1', 'USD', 0)")
    await place(connection, new_hold(amount_minor=100, expires_at=datetime.now(UTC) + HOUR))
    take = append_request(new_event(amount_minor=-100))
    assert (await decide(connection, take)).outcome is Outcome.INSUFFICIENT_FUNDS
    await let_pass(connection, 2 * HOUR)
    assert (await decide(connection, take)).outcome is Outcome.CREATED
    assert await posted_and_held(connection) == (0, 0)


async def test_what_the_last_of_many_expired_holds_lets_go_of_can_be_taken_at_once(
    connection: Connection,
) -> None:
    number = HOLDS_MAX + HOLDS_MAX // 2
    await append(connection, [append_request(new_event("last", 100))])
    await connection.execute("SELECT limit_account('last', 'USD', 0)")
    soon = datetime.now(UTC) + HOUR
    holds = [new_hold(f"cus_{place % 7}", expires_at=soon) for place in range(number - 1)]
    much_later = soon + 10 * HOUR
    await place(
        connection,
        *holds,
        new_hold("last", 100, expires_at=soon + timedelta(seconds=1)),
        new_hold("patient", expires_at=much_later),
    )
    await let_pass(connection, 2 * HOUR)
    (taken,) = (await decide(connection, append_request(new_event("last", -100)))).events
    assert taken["seq"] == 1 + number + 1 + number + 1
    assert await saved_expiry(connection) == much_later
    assert await posted_and_held(connection, "last") == (0, 0)
    found = await client.verify(connection)
    assert (found.ok, found.events_checked) == (True, taken["seq"])
    assert await client.reconcile(connection) == []


async def test_many_holds_that_expire_together_are_settled_call_by_call(
    connection: Connection,
) -> None:
    number = 2 * HOLDS_MAX + 10
    soon = datetime.now(UTC) + HOUR
    much_later = soon + 10 * HOUR
    holds = [new_hold(f"cus_{place % 7}", expires_at=soon) for place in range(number)]
    placed = await place(connection, *holds, new_hold("patient", expires_at=much_later))
    await append(connection, [append_request(Release(placed[0]))])
    await client.project(connection, HOLDS_MAX)
    await let_pass(connection, 2 * HOUR)

    done = await client.expire_holds(connection)
    assert (done.last_seq, done.next_hold_expiry) == (number + 2 + HOLDS_MAX, soon)
    # An append settles as many, and one that it does not come to has expired all the same.
    answers = await append(
        connection, [append_request(Capture(placed[-2])), append_request(new_event("cus_0"))]
    )
    assert (answers[0].outcome, answers[0].conflicting_id) == (Outcome.HOLD_NOT_PENDING, None)
    assert answers[1].events[0]["seq"] == number + 3 + 2 * HOLDS_MAX
    assert (await client.project(connection, 10**6)).next_hold_expiry == soon
    last_seq = 2 * number + 2
    for _ in range(2):
        done = await client.expire_holds(connection)
        assert (done.last_seq, done.next_hold_expiry) == (last_seq, much_later)

    expired = [row["hold_id"] for row in await events(connection) if row["amount_minor"] == 0]
    assert sorted(expired) == sorted([*placed, *placed[:-1]])
    found = await client.verify(connection)
    assert (found.ok, found.events_checked) == (True, last_seq)
    assert [await posted_and_held(connection, f"cus_{place}") for place in range(7)] == [
        (100, 0),
        *[(0, 0)] * 6,
    ]
    assert await posted_and_held(connection, "patient") == (0, 100)
    before = await connection.fetch("SELECT * FROM account_balances ORDER BY 1, 2")
    assert await client.reconcile(connection) == []
    await client.rebuild(connection)
    assert await connection.fetch("SELECT * FROM account_balances ORDER BY 1, 2") == before


async def test_nothing_expires_before_the_saved_time(connection: Connection) -> None:
    start = datetime.now(UTC)
    assert (await client.expire_holds(connection)).next_hold_expiry is None
    await place(connection, new_hold())
    assert await saved_expiry(connection) is None
    (third,) = await place(connection, new_hold(expires_at=start + 3 * HOUR))
    assert await saved_expiry(connection) == start + 3 * HOUR
    await place(connection, new_hold(expires_at=start + 5 * HOUR))
    assert await saved_expiry(connection) == start + 3 * HOUR
    (second, _) = await place(
        connection, new_hold(expires_at=start + 2 * HOUR), new_hold(expires_at=start + 4 * HOUR)
    )
    assert (await client.project(connection, 1)).next_hold_expiry == start + 2 * HOUR
    # It may be too early, when the hold was settled; then the next is found at that time.
    await append(connection, [append_request(Release(second)), append_request(Release(third))])
    assert await saved_expiry(connection) == start + 2 * HOUR
    await let_pass(connection, 2 * HOUR)
    done = await client.expire_holds(connection)
    assert (done.last_seq, done.next_hold_expiry) == (7, start + 4 * HOUR)
    await let_pass(connection, 4 * HOUR)
    done = await client.expire_holds(connection)
    assert (done.last_seq, done.next_hold_expiry) == (9, None)
    assert await posted_and_held(connection) == (0, 100)
    assert (await client.verify(connection)).ok


async def test_a_hold_that_is_no_event_holds_up_nothing(connection: Connection) -> None:
    past = datetime.now(UTC) - HOUR
    (hold_id,) = await place(connection, new_hold(expires_at=datetime.now(UTC) + HOUR))
    await connection.execute("INSERT INTO holds VALUES ($1, $2)", uuid4(), past)
    await connection.execute("UPDATE ledger_settings SET next_hold_expiry = $1", past)
    await append(connection, [append_request(new_event())])
    assert await saved_expiry(connection) not in {None, past}
    await let_pass(connection, 2 * HOUR)
    done = await client.expire_holds(connection)
    assert (done.last_seq, done.next_hold_expiry) == (3, None)
    assert [row["hold_id"] for row in await events(connection)][2:] == [hold_id]
    found = await client.verify(connection)
    assert found.reason == "holds has a row that is no event's"
