"""Append, one behaviour at a time. What holds in any order of calls is in test_model.py."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from freehold.ledger import client, rules, search
from freehold.ledger.append import AppendRequest, Capture, Outcome, Release, Row
from freehold.ledger.client import Connection
from support.builders import append, append_request, new_event, new_hold, undo
from support.ledgers import rolled_back

DAY = timedelta(days=1)
TABLES = [
    "ledger_events",
    "ledger_head",
    "external_ids",
    "reversals",
    "idempotency_keys",
    "holds",
    "ledger_settings",
    "account_balances",
    "account_blocks",
    "block_pages",
    "projection_checkpoint",
]


async def contents(connection: Connection) -> dict[str, list[tuple[Any, ...]]]:
    """Everything that the ledger holds."""
    return {
        table: [
            tuple(row) for row in await connection.fetch(f"SELECT * FROM {table} ORDER BY 1, 2")
        ]
        for table in TABLES
    }


async def create(connection: Connection, request: AppendRequest) -> Sequence[Row]:
    (answer,) = await append(connection, [request])
    assert answer.outcome is Outcome.CREATED
    return answer.events


async def test_an_event_is_written_as_it_was_asked_for(connection: Connection) -> None:
    event = new_event(
        "cus_42",
        -2000,
        currency="JPY",
        event_type="REFUND",
        transaction_time=datetime(2024, 2, 29, 23, 59, 59, 123456, tzinfo=UTC),
        external_id="re_1",
        metadata={"plan": "pro"},
    )
    before = datetime.now(UTC)
    (row,) = await create(connection, append_request(event))
    assert row["seq"] == 1
    assert (row["account_id"], row["event_type"]) == ("cus_42", "REFUND")
    assert (row["amount_minor"], row["currency"]) == (-2000, "JPY")
    assert row["transaction_time"] == event.transaction_time
    assert abs(row["recorded_at"] - before) < timedelta(minutes=1)
    assert row["external_id"] == "re_1"
    assert json.loads(row["metadata_json"]) == {"plan": "pro"}
    assert (row["transaction_id"], row["reverses_event_id"]) == (None, None)


async def test_an_event_without_a_time_happened_when_it_was_recorded(
    connection: Connection,
) -> None:
    (row,) = await create(connection, append_request(new_event()))
    assert row["transaction_time"] == row["recorded_at"]


async def test_the_offset_of_a_time_does_not_matter(connection: Connection) -> None:
    instant = datetime(2026, 3, 1, 12, tzinfo=UTC)
    there = instant.astimezone(timezone(timedelta(hours=-9, minutes=-30)))
    (row,) = await create(connection, append_request(new_event(transaction_time=there)))
    assert row["transaction_time"] == instant


async def test_an_answer_says_what_the_ledger_holds(connection: Connection) -> None:
    """append answers only ids, hashes and the time; the rest is taken from what was asked for."""
    chance = random.Random(0)
    texts = [
        " ",
        '"',
        "\\",
        "/",
        "é",
        "ß",
        "\u2028",
        "\ufeff",
        "\uffff",
        "\U0001f600",
        "a",
        "Z",
        "~",
    ]

    def text(most: int) -> str:
        return "".join(chance.choices(texts, k=chance.randint(1, most)))

    events = [
        new_event(
            currency=chance.choice(["USD", "JPY"]),
            transaction_time=chance.choice([None, datetime(1999, 1, 1, tzinfo=UTC)]),
            external_id=chance.choice([None, f"{number}{text(20)}"]),
            metadata={text(4): text(50) for _ in range(chance.randint(0, 50))},
        )
        for number in range(300)
    ]
    answers = await append(
        connection, [append_request(*events[:200]), append_request(*events[200:])]
    )
    stored = await search.events(connection, rows_max=1000)
    assert [dict(row) for answer in answers for row in answer.events] == [
        dict(row) for row in stored
    ]


async def test_a_refused_request_changes_nothing(connection: Connection) -> None:
    target, taken, smallest = await create(
        connection,
        append_request(new_event(), new_event(external_id="ch_1"), new_event("whale", -(2**63))),
    )
    used = append_request(undo(target["event_id"]))
    await create(connection, used)
    before = await contents(connection)
    answers = await append(
        connection,
        [
            append_request(new_event("other"), key=used.key),
            append_request(new_event(), new_event(external_id="ch_1")),
            append_request(new_event(external_id="twice"), new_event(external_id="twice")),
            append_request(undo(target["event_id"])),
            append_request(undo(taken["event_id"]), undo(taken["event_id"])),
            append_request(undo(taken["event_id"]), undo(uuid4())),
            append_request(undo(smallest["event_id"])),
        ],
    )
    reversal = (await search.events(connection, rows_max=9))[-1]
    assert [(answer.outcome, answer.conflicting_id) for answer in answers] == [
        (Outcome.KEY_REUSED, None),
        (Outcome.DUPLICATE_EXTERNAL_ID, taken["event_id"]),
        (Outcome.DUPLICATE_EXTERNAL_ID, None),
        (Outcome.ALREADY_REVERSED, reversal["event_id"]),
        (Outcome.ALREADY_REVERSED, None),
        (Outcome.EVENT_NOT_FOUND, None),
        (Outcome.NOT_REVERSIBLE, None),
    ]
    assert not any(answer.events for answer in answers)
    assert await contents(connection) == before


async def test_a_refused_request_does_not_affect_others(connection: Connection) -> None:
    await create(connection, append_request(new_event(external_id="ch_1")))
    refused = append_request(new_event("x"), new_event("x", external_id="ch_1"))
    answers = await append(
        connection,
        [
            append_request(new_event("a"), new_event("b")),
            refused,
            append_request(new_event("c")),
            append_request(undo(uuid4())),
            append_request(new_event("d")),
        ],
    )
    assert [answer.outcome for answer in answers] == [
        Outcome.CREATED,
        Outcome.DUPLICATE_EXTERNAL_ID,
        Outcome.CREATED,
        Outcome.EVENT_NOT_FOUND,
        Outcome.CREATED,
    ]
    rows = [row for answer in answers for row in answer.events]
    assert [(row["seq"], row["account_id"]) for row in rows] == [
        (2, "a"),
        (3, "b"),
        (4, "c"),
        (5, "d"),
    ]
    # A refusal is not remembered: its key is free for the corrected request.
    await create(connection, append_request(new_event("x"), key=refused.key))


async def test_of_several_reasons_the_first_is_given(connection: Connection) -> None:
    taken, _ = await create(
        connection, append_request(new_event(external_id="ch_1"), new_event(external_id="ch_2"))
    )
    events = [new_event(external_id=external) for external in ("new", "ch_1", "new", "ch_2")]
    (answer,) = await append(connection, [append_request(*events)])
    assert answer.conflicting_id == taken["event_id"]


async def test_requests_of_one_call_that_clash_are_served_in_their_order(
    connection: Connection,
) -> None:
    same = append_request(new_event("a", external_id="x"), key="k1")
    answers = await append(
        connection,
        [
            same,
            append_request(new_event("b", external_id="x"), new_event("b", external_id="y")),
            append_request(new_event("c", external_id="y")),
            same,
            append_request(new_event("d"), key="k1"),
        ],
    )
    assert [answer.outcome for answer in answers] == [
        Outcome.CREATED,
        Outcome.DUPLICATE_EXTERNAL_ID,
        Outcome.CREATED,
        Outcome.REPLAYED,
        Outcome.KEY_REUSED,
    ]
    assert answers[1].conflicting_id == answers[0].events[0]["event_id"]
    assert answers[3].events[0]["hash"] == answers[0].events[0]["hash"]


async def test_a_claim_is_judged_at_its_turn_and_not_by_what_comes_later(
    connection: Connection,
) -> None:
    (target,) = await create(connection, append_request(new_event()))
    answers = await append(
        connection,
        [
            append_request(new_event("a", external_id="x")),
            # Refused for x; so y is free for the next, and its key for the one after.
            append_request(
                new_event("b", external_id="y"), new_event("b", external_id="x"), key="k"
            ),
            append_request(new_event("c", external_id="y")),
            append_request(undo(target["event_id"]), key="k"),
            append_request(undo(target["event_id"])),
            append_request(new_event("d", external_id="z"), new_event("d", external_id="z")),
            append_request(new_event("e", external_id="z")),
        ],
    )
    first, second, reversal = (answers[place].events[0]["event_id"] for place in (0, 2, 3))
    assert len({first, second, reversal}) == 3
    assert [(answer.outcome, answer.conflicting_id) for answer in answers] == [
        (Outcome.CREATED, None),
        (Outcome.DUPLICATE_EXTERNAL_ID, first),
        (Outcome.CREATED, None),
        (Outcome.CREATED, None),
        (Outcome.ALREADY_REVERSED, reversal),
        (Outcome.DUPLICATE_EXTERNAL_ID, None),
        (Outcome.CREATED, None),
    ]
    assert (await client.verify(connection)).ok


async def test_many_requests_that_clash_are_judged_at_once(connection: Connection) -> None:
    number = 1024
    (target,) = await create(connection, append_request(new_event("limited", 1)))
    (hold,) = await create(connection, append_request(new_hold()))
    calls = {
        "one external id": [append_request(new_event(external_id="x")) for _ in range(number)],
        "one limit": [append_request(new_event("limited", -1)) for _ in range(number)],
        "one target": [append_request(undo(target["event_id"])) for _ in range(number)],
        "one original": [
            append_request(new_event("limited", -1, refunds=target["event_id"]))
            for _ in range(number)
        ],
        "one hold": [append_request(Capture(hold["hold_id"])) for _ in range(number)],
        "one key": [append_request(new_event(), key="k") for _ in range(number)],
        "each with the next": [
            append_request(new_event(external_id=f"{place}"), new_event(external_id=f"{place + 1}"))
            for place in range(number)
        ],
    }
    await connection.execute("SET LOCAL track_functions TO 'all'")
    for name, requests in calls.items():
        least = 0 if name == "one limit" else None
        await rules.limit_account(connection, "limited", "USD", least)
        async with rolled_back(connection):
            before = await work_done(connection)
            answers = await append(connection, requests)
            work = await work_done(connection) - before
        created = sum(answer.outcome is Outcome.CREATED for answer in answers)
        assert created == (number // 2 if name == "each with the next" else 1)
        # A round of judging for each request would call some function as often.
        assert max(count for what, count in work.items() if what.startswith("call")) == 2, name
        assert work.total() < 5 * number, name


async def work_done(connection: Connection) -> Counter[str]:
    """Count the calls of functions and the reads of rows and index entries in a transaction."""
    rows = await connection.fetch(
        "SELECT 'call of ' || proname, coalesce(pg_stat_get_xact_function_calls(oid), 0)"
        " FROM pg_proc WHERE pronamespace = 'ledger'::regnamespace"
        " UNION ALL SELECT 'read of ' || relname, pg_stat_get_xact_tuples_returned(oid)"
        " FROM pg_class WHERE relnamespace = 'ledger'::regnamespace AND relkind IN ('r', 'i')"
    )
    return Counter(dict(tuple(row) for row in rows))


async def test_a_call_is_one_statement_whatever_it_asks_for(connection: Connection) -> None:
    legs = append_request(new_event(amount_minor=1), new_event(amount_minor=-1), transaction=True)
    known = append_request(new_event(external_id="known"))
    setup = [
        append_request(new_event()),
        legs,
        *(append_request(new_hold()) for _ in range(3)),
        known,
    ]
    event, sale, *holds, _ = [
        answer.events[0]["event_id"] for answer in await append(connection, setup)
    ]
    await append(connection, [append_request(Release(holds[0]))])
    statements: list[str] = []
    with connection.query_logger(lambda query: statements.append(query.query)):
        answers = await append(
            connection,
            [
                append_request(undo(event)),
                append_request(undo(event)),
                append_request(undo(sale), transaction=True),
                append_request(Capture(holds[1])),
                append_request(Release(holds[2])),
                append_request(Release(holds[0])),
                legs,
                append_request(new_event(external_id="known")),
            ],
        )
        # Loggers are called by the event loop.
        await asyncio.sleep(0)
    assert [answer.outcome for answer in answers] == [
        Outcome.CREATED,
        Outcome.ALREADY_REVERSED,
        Outcome.CREATED,
        Outcome.CREATED,
        Outcome.CREATED,
        Outcome.HOLD_NOT_PENDING,
        Outcome.REPLAYED,
        Outcome.DUPLICATE_EXTERNAL_ID,
    ]
    assert [len(answer.events) for answer in answers] == [1, 0, 2, 2, 2, 0, 2, 0]
    existing = [answer.existing and answer.existing["event_type"] for answer in answers]
    assert existing == [None, "REVERSAL", None, None, None, "HOLD_RELEASE", None, "CHARGE"]
    assert len(statements) == 1


async def test_a_replay_answers_what_was_answered_first(connection: Connection) -> None:
    request = append_request(*(new_event(f"cus_{number}") for number in range(20)))
    first = await create(connection, request)
    await create(connection, append_request(undo(first[3]["event_id"]), new_event()))
    await client.project(connection, 10)
    before = await contents(connection)
    (answer,) = await append(connection, [request])
    assert answer.outcome is Outcome.REPLAYED
    names = [name for name in first[0].keys() if name != "outcome"]  # noqa: SIM118 (a Record)
    assert [[row[name] for name in names] for row in answer.events] == [
        [row[name] for name in names] for row in first
    ]
    assert await contents(connection) == before


async def test_a_key_is_kept_for_as_long_as_the_tenant_has_chosen(connection: Connection) -> None:
    await connection.execute("UPDATE ledger_settings SET idempotency_retention = '90 days'")
    request = append_request(new_event())
    (row,) = await create(connection, request)
    expires_at = await connection.fetchval("SELECT expires_at FROM idempotency_keys")
    assert expires_at == row["recorded_at"] + timedelta(days=90)


async def test_an_expired_key_may_be_used_for_anything(connection: Connection) -> None:
    await create(connection, append_request(new_event("a"), key="k"))
    await connection.execute("UPDATE idempotency_keys SET expires_at = now()")
    other = append_request(new_event("b"), new_event("b"), key="k")
    rows = await create(connection, other)
    assert [row["seq"] for row in rows] == [2, 3]
    (answer,) = await append(connection, [other])
    assert answer.outcome is Outcome.REPLAYED


async def test_an_external_id_outlives_its_key(connection: Connection) -> None:
    request = append_request(new_event(external_id="ch_1"))
    (row,) = await create(connection, request)
    await connection.execute("UPDATE idempotency_keys SET expires_at = now()")
    (answer,) = await append(connection, [request])
    assert answer.outcome is Outcome.DUPLICATE_EXTERNAL_ID
    assert answer.conflicting_id == row["event_id"]


async def test_a_reversal_is_its_event_with_the_opposite_amount(connection: Connection) -> None:
    (charge,) = await create(
        connection, append_request(new_event("cus_9", 1250, currency="JPY", external_id="ch_1"))
    )
    (reversal,) = await create(
        connection, append_request(undo(charge["event_id"], "charged twice"))
    )
    assert (reversal["account_id"], reversal["currency"]) == ("cus_9", "JPY")
    assert (reversal["event_type"], reversal["amount_minor"]) == ("REVERSAL", -1250)
    assert reversal["reverses_event_id"] == charge["event_id"]
    assert reversal["external_id"] is None
    assert json.loads(reversal["metadata_json"]) == {"reason": "charged twice"}
    assert reversal["transaction_time"] == reversal["recorded_at"]
    # The reversal is an event like any other, and can be undone itself.
    (again,) = await create(connection, append_request(undo(reversal["event_id"])))
    assert again["amount_minor"] == 1250
    (balance,) = await client.balances(connection, ["cus_9"], strong=True)
    assert (balance["current_balance_minor"], balance["event_count"]) == (1250, 3)


async def test_a_reversal_is_no_earlier_than_its_event(connection: Connection) -> None:
    soon = datetime.now(UTC) + timedelta(hours=20)
    tick = timedelta(microseconds=1)
    for time_ in (datetime(2020, 1, 1, tzinfo=UTC), soon):
        (event,) = await create(connection, append_request(new_event(transaction_time=time_)))
        request = append_request(undo(event["event_id"], at=time_ - tick), key=f"{time_}")
        (answer,) = await append(connection, [request])
        assert (answer.outcome, answer.index) == (Outcome.PREDATES_ORIGINAL, 0)
        # The key is as free as it was.
        request = append_request(undo(event["event_id"], at=time_), key=f"{time_}")
        assert [row["transaction_time"] for row in await create(connection, request)] == [time_]


async def test_a_reversal_without_a_time_is_of_now_or_as_far_ahead_as_its_event(
    connection: Connection,
) -> None:
    soon = datetime.now(UTC) + timedelta(hours=20)
    past, ahead = await create(
        connection,
        append_request(*(new_event(transaction_time=time_) for time_ in (soon - 9 * DAY, soon))),
    )
    (reversal,) = await create(connection, append_request(undo(past["event_id"])))
    assert reversal["transaction_time"] == reversal["recorded_at"]
    (reversal,) = await create(connection, append_request(undo(ahead["event_id"])))
    assert reversal["transaction_time"] == soon > reversal["recorded_at"]


async def test_the_largest_amount_can_be_reversed(connection: Connection) -> None:
    (row,) = await create(connection, append_request(new_event("whale", 2**63 - 1)))
    (reversal,) = await create(connection, append_request(undo(row["event_id"])))
    assert reversal["amount_minor"] == -(2**63 - 1)


async def test_a_full_batch_and_many_requests_fit_in_one_call(connection: Connection) -> None:
    batch = append_request(*(new_event(f"cus_{number % 97}") for number in range(10_000)))
    singles = [append_request(new_event(external_id=f"ch_{number}")) for number in range(500)]
    answers = await append(connection, [batch, *singles])
    assert len(answers[0].events) == 10_000
    assert {answer.outcome for answer in answers} == {Outcome.CREATED}
    assert (await client.head(connection)).seq == 10_500
    assert (await client.verify(connection)).ok


async def test_a_clock_set_back_does_not_break_the_order(connection: Connection) -> None:
    (first,) = await create(connection, append_request(new_event()))
    tick = timedelta(microseconds=1)
    ahead = first["recorded_at"] + timedelta(hours=1)
    await connection.execute("UPDATE ledger_head SET last_recorded_at = $1", ahead)
    later = await create(connection, append_request(new_event(), new_event()))
    assert [row["recorded_at"] for row in later] == [ahead + tick, ahead + tick]
    (last,) = await create(connection, append_request(new_event()))
    assert last["recorded_at"] == ahead + 2 * tick
    ids: list[UUID] = [row["event_id"] for row in (first, *later, last)]
    assert ids == sorted(ids)


async def test_what_the_database_cannot_take_is_refused_whole(connection: Connection) -> None:
    before = await contents(connection)
    bad = new_event().model_copy(update={"amount_minor": 2**63})
    with pytest.raises(asyncpg.NumericValueOutOfRangeError):
        async with connection.transaction():
            await append(connection, [append_request(new_event()), append_request(bad)])
    zero = new_event().model_copy(update={"amount_minor": 0})
    with pytest.raises(asyncpg.CheckViolationError):
        async with connection.transaction():
            await append(connection, [append_request(new_event(), zero)])
    assert await contents(connection) == before


async def test_a_request_must_add_something(connection: Connection) -> None:
    with pytest.raises(ValueError, match="at least one event"):
        await append(connection, [append_request()])
