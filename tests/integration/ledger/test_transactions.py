"""Balanced transactions: legs that stand together, balance in each currency, and go together."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from freehold.contracts.events import NewEvent
from freehold.ledger import client, search
from freehold.ledger.append import Answer, AppendRequest, Outcome, Row
from freehold.ledger.client import Connection
from support.builders import append, append_request, new_event, undo

SALE = [
    new_event("cus_1", -2400, external_id="sale_1"),
    new_event("shop", 2000, event_type="SALE"),
    new_event("tax", 400, metadata={"rate": "20"}),
]


def transaction(*legs: NewEvent) -> AppendRequest:
    return append_request(*legs, transaction=True)


def reversal(transaction_id: UUID, at: datetime | None = None) -> AppendRequest:
    return append_request(undo(transaction_id, "returned", at), transaction=True)


async def decide(connection: Connection, request: AppendRequest) -> Answer:
    (answer,) = await append(connection, [request])
    return answer


async def written(connection: Connection, *legs: NewEvent) -> Sequence[Row]:
    answer = await decide(connection, transaction(*legs))
    assert answer.outcome is Outcome.CREATED
    return answer.events


async def test_legs_are_events_that_bear_the_first_ones_id(connection: Connection) -> None:
    await append(connection, [append_request(new_event())])
    answers = await append(connection, [transaction(*SALE), append_request(*SALE[1:])])
    legs = answers[0].events
    assert [(leg["seq"], leg["account_id"], leg["amount_minor"]) for leg in legs] == [
        (2, "cus_1", -2400),
        (3, "shop", 2000),
        (4, "tax", 400),
    ]
    assert {leg["transaction_id"] for leg in legs} == {legs[0]["event_id"]}
    # A batch is no transaction.
    assert {event["transaction_id"] for event in answers[1].events} == {None}
    stored = await search.events(connection, rows_max=10)
    assert [dict(row) for row in stored[1:4]] == legs
    assert (await client.verify(connection)).ok


async def test_a_transaction_is_reversed_no_earlier_than_its_latest_leg(
    connection: Connection,
) -> None:
    now = datetime.now(UTC)
    times = [now - timedelta(days=2), now + timedelta(hours=20), now - timedelta(days=1)]
    legs = await written(
        connection,
        *(
            leg.model_copy(update={"transaction_time": time})
            for leg, time in zip(SALE, times, strict=True)
        ),
    )
    answer = await decide(connection, reversal(legs[0]["event_id"], now))
    assert (answer.outcome, answer.index) == (Outcome.PREDATES_ORIGINAL, 1)
    # Without a time all are of one, too.
    answer = await decide(connection, reversal(legs[0]["event_id"]))
    assert [leg["transaction_time"] for leg in answer.events] == [times[1]] * 3


async def test_a_transactions_legs_are_found_by_its_id(connection: Connection) -> None:
    await append(connection, [append_request(new_event())])
    legs = await written(connection, *SALE)
    await written(connection, new_event("a", 1), new_event("b", -1))
    found = await client.legs(connection, legs[0]["event_id"])
    assert [dict(row) for row in found] == legs
    for other in (legs[1]["event_id"], UUID(int=0), uuid4(), UUID(int=2**128 - 1)):
        assert await client.legs(connection, other) == []


@pytest.mark.parametrize(
    "legs",
    [
        SALE[:2],
        [new_event("a", 1), new_event("b", -1, currency="EUR")],
        [new_event("a", 1), new_event("b", -1), new_event("c", 5, currency="JPY")],
        [new_event("a", 2**63 - 1), new_event("b", 2**63 - 1), new_event("c", -2)],
    ],
    ids=["too little", "across currencies", "in one currency of two", "but for 64 bits"],
)
async def test_legs_that_do_not_balance_are_refused(
    connection: Connection, legs: list[NewEvent]
) -> None:
    answer = await decide(connection, transaction(*legs))
    assert (answer.outcome, answer.conflicting_id, answer.index) == (Outcome.UNBALANCED, None, None)
    # Without being a transaction they may.
    assert (await decide(connection, append_request(*legs))).outcome is Outcome.CREATED


async def test_sums_past_64_bits_can_balance(connection: Connection) -> None:
    largest = 2**63 - 1
    legs = [new_event("a", largest), new_event("b", largest), new_event("c", -largest)]
    assert len(await written(connection, *legs, legs[2])) == 4


async def test_each_currency_balances_by_itself(connection: Connection) -> None:
    legs = [new_event("a", amount, currency=code) for code in ("USD", "JPY") for amount in (7, -7)]
    assert len(await written(connection, *legs)) == 4


async def test_a_hundred_legs_are_one_transaction(connection: Connection) -> None:
    legs = await written(
        connection, *(new_event(f"cus_{number}", 1) for number in range(99)), new_event("bank", -99)
    )
    await append(connection, [append_request(new_event())])
    assert len(await client.legs(connection, legs[0]["transaction_id"])) == 100


async def test_a_transaction_is_reversed_as_a_whole_and_once(connection: Connection) -> None:
    legs = await written(connection, *SALE)
    undone = (await decide(connection, reversal(legs[0]["event_id"]))).events
    assert [event["amount_minor"] for event in undone] == [2400, -2000, -400]
    assert {event["event_type"] for event in undone} == {"REVERSAL"}
    assert [event["reverses_event_id"] for event in undone] == [leg["event_id"] for leg in legs]
    assert {event["transaction_id"] for event in undone} == {undone[0]["event_id"]}
    again = await decide(connection, reversal(legs[0]["event_id"]))
    assert (again.outcome, again.conflicting_id, again.index) == (
        Outcome.ALREADY_REVERSED,
        undone[0]["event_id"],
        0,
    )
    # The reversal is a transaction like any other.
    assert (await decide(connection, reversal(undone[0]["event_id"]))).outcome is Outcome.CREATED
    balances = await client.balances(connection, ["cus_1", "shop", "tax"], strong=True)
    assert [row["current_balance_minor"] for row in balances] == [-2400, 2000, 400]


async def test_a_leg_alone_cannot_be_reversed(connection: Connection) -> None:
    legs = await written(connection, *SALE)
    (single,) = (await decide(connection, append_request(new_event()))).events
    request = append_request(undo(single["event_id"]), undo(legs[1]["event_id"]))
    answer = await decide(connection, request)
    assert (answer.outcome, answer.conflicting_id, answer.index) == (
        Outcome.TRANSACTION_LEG,
        legs[0]["event_id"],
        1,
    )
    # Nor is it what a transaction is named after, unless it is the first.
    for other in (legs[1]["event_id"], single["event_id"], uuid4()):
        answer = await decide(connection, reversal(other))
        assert (answer.outcome, answer.conflicting_id) == (Outcome.TRANSACTION_NOT_FOUND, None)


async def test_requests_of_one_call_see_what_earlier_ones_have_reversed(
    connection: Connection,
) -> None:
    legs = await written(connection, *SALE)
    answers = await append(
        connection,
        [
            append_request(undo(legs[2]["event_id"])),
            reversal(legs[0]["event_id"]),
            append_request(undo(legs[2]["event_id"])),
            reversal(legs[0]["event_id"]),
        ],
    )
    undone = [event["event_id"] for event in answers[1].events]
    assert [(answer.outcome, answer.conflicting_id, answer.index) for answer in answers] == [
        (Outcome.TRANSACTION_LEG, legs[0]["event_id"], 0),
        (Outcome.CREATED, None, None),
        (Outcome.ALREADY_REVERSED, undone[2], 0),
        (Outcome.ALREADY_REVERSED, undone[0], 0),
    ]


async def test_a_transaction_that_is_refused_gives_back_what_it_had_claimed(
    connection: Connection,
) -> None:
    (target,) = (await decide(connection, append_request(new_event()))).events
    answers = await append(
        connection,
        [
            transaction(new_event("a", 1, external_id="x"), new_event("b", -2, external_id="y")),
            reversal(target["event_id"]),
            append_request(new_event("c", external_id="y"), new_event("c", external_id="x")),
            append_request(undo(target["event_id"])),
        ],
    )
    assert [answer.outcome for answer in answers] == [
        Outcome.UNBALANCED,
        Outcome.TRANSACTION_NOT_FOUND,
        Outcome.CREATED,
        Outcome.CREATED,
    ]
    assert [event["seq"] for answer in answers for event in answer.events] == [2, 3, 4]
    assert (await client.verify(connection)).ok


async def test_a_transaction_is_replayed_like_any_request(connection: Connection) -> None:
    request = transaction(*SALE)
    first = (await decide(connection, request)).events
    undoing = reversal(first[0]["event_id"])
    undone = (await decide(connection, undoing)).events
    answers = await append(connection, [request, undoing, request])
    assert {answer.outcome for answer in answers} == {Outcome.REPLAYED}
    assert [[dict(row) for row in answer.events] for answer in answers] == [
        [dict(row) for row in rows] for rows in (first, undone, first)
    ]
    assert (await client.head(connection)).seq == 6
