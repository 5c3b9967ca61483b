"""Refunds: what may be given back of an event, to the last unit and in any order."""

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any
from uuid import UUID, uuid4

from freehold.contracts.events import NewEvent
from freehold.ledger import client, search
from freehold.ledger.append import Addition, Answer, AppendRequest, Capture, Outcome, Row
from freehold.ledger.client import Connection
from freehold.ledger.search import EventFilters
from support.builders import append, append_request, new_event, new_hold, undo
from support.ledgers import Ledger

WRITERS = 8


async def decide(connection: Connection, *additions: Addition, transaction: bool = False) -> Answer:
    (answer,) = await append(connection, [append_request(*additions, transaction=transaction)])
    return answer


async def written(connection: Connection, *additions: Addition, **kind: bool) -> Sequence[Row]:
    answer = await decide(connection, *additions, **kind)
    assert answer.outcome is Outcome.CREATED, answer.outcome
    return answer.events


async def charge(connection: Connection, amount_minor: int = 2000) -> UUID:
    (row,) = await written(connection, new_event(amount_minor=amount_minor))
    found: UUID = row["event_id"]
    return found


def refund(event_id: UUID, amount_minor: int, **given: Any) -> NewEvent:
    return new_event(amount_minor=amount_minor, event_type="REFUND", refunds=event_id, **given)


async def undoing(connection: Connection, event_id: UUID, refunds_max: int = 100) -> dict[str, Any]:
    row = await client.event_with_undoing(connection, event_id, refunds_max=refunds_max)
    assert row is not None
    return {
        "reversed_by": row["reversed_by_event_id"],
        "refunded_minor": int(row["refunded_minor"]),
        "refunds": [
            (UUID(one["event_id"]), one["amount_minor"], one["reversed_by_event_id"])
            for one in json.loads(row["refunds"])
        ],
    }


async def test_an_event_is_refunded_in_parts_and_never_beyond_its_amount(
    connection: Connection,
) -> None:
    paid = await charge(connection)
    (first,) = await written(connection, refund(paid, -500))
    assert (first["refunds_event_id"], first["reverses_event_id"]) == (paid, None)
    answer = await decide(connection, refund(paid, -1501))
    assert (answer.outcome, answer.conflicting_id, answer.index, answer.room) == (
        Outcome.REFUND_EXCEEDS,
        paid,
        0,
        1500,
    )
    (second,) = await written(connection, refund(paid, -1500))
    assert (await decide(connection, refund(paid, -1))).outcome is Outcome.REFUND_EXCEEDS
    assert await undoing(connection, paid) == {
        "reversed_by": None,
        "refunded_minor": 2000,
        "refunds": [(first["event_id"], -500, None), (second["event_id"], -1500, None)],
    }
    (total,) = await client.balances(connection, ["cus_1"], strong=True)
    assert total["current_balance_minor"] == 0
    assert (await client.verify(connection)).ok


async def test_refunds_of_one_batch_count_together(connection: Connection) -> None:
    paid, other = await charge(connection), await charge(connection, 10)
    parts = [refund(other, -10), refund(paid, -1500), refund(paid, -501)]
    answer = await decide(connection, *parts)
    assert (answer.outcome, answer.conflicting_id, answer.index) == (
        Outcome.REFUND_EXCEEDS,
        paid,
        1,
    )
    assert len(await written(connection, *parts[:2], refund(paid, -500))) == 3


async def test_requests_of_one_call_are_decided_in_their_order(connection: Connection) -> None:
    paid = await charge(connection)
    requests = [
        append_request(refund(paid, -1500)),
        append_request(refund(paid, -501)),
        append_request(undo(paid)),
        append_request(refund(paid, -500)),
        append_request(refund(paid, -1)),
    ]
    assert [answer.outcome for answer in await append(connection, requests)] == [
        Outcome.CREATED,
        Outcome.REFUND_EXCEEDS,
        Outcome.ALREADY_REFUNDED,
        Outcome.CREATED,
        Outcome.REFUND_EXCEEDS,
    ]


async def test_what_is_taken_is_refunded_by_what_adds(connection: Connection) -> None:
    fee = await charge(connection, -300)
    assert (await decide(connection, refund(fee, -1))).outcome is Outcome.REFUND_SIGN
    assert (await decide(connection, refund(fee, 301))).outcome is Outcome.REFUND_EXCEEDS
    await written(connection, refund(fee, 300))
    assert (await undoing(connection, fee))["refunded_minor"] == 300


async def test_the_smallest_amount_is_refunded_in_two_parts(connection: Connection) -> None:
    paid = await charge(connection, -(2**63))
    await written(connection, refund(paid, 2**63 - 1))
    assert (await decide(connection, refund(paid, 2))).outcome is Outcome.REFUND_EXCEEDS
    assert (await decide(connection, *[refund(paid, 2**63 - 1)] * 3)).outcome is (
        Outcome.REFUND_EXCEEDS
    )
    await written(connection, refund(paid, 1))
    assert (await undoing(connection, paid))["refunded_minor"] == 2**63


async def test_an_event_is_either_reversed_or_refunded(connection: Connection) -> None:
    reversed_one, refunded_one = await charge(connection), await charge(connection)
    (reversal,) = await written(connection, undo(reversed_one))
    answer = await decide(connection, refund(reversed_one, -1))
    assert (answer.outcome, answer.conflicting_id) == (Outcome.REFUND_EXCEEDS, reversed_one)
    assert (await undoing(connection, reversed_one))["reversed_by"] == reversal["event_id"]
    await written(connection, refund(refunded_one, -1))
    answer = await decide(connection, undo(refunded_one))
    assert (answer.outcome, answer.conflicting_id) == (Outcome.ALREADY_REFUNDED, refunded_one)


async def test_a_mistaken_refund_is_reversed_and_its_amount_is_free_again(
    connection: Connection,
) -> None:
    paid = await charge(connection)
    (mistaken,) = await written(connection, refund(paid, -2000))
    (back,) = await written(connection, undo(mistaken["event_id"]))
    assert await undoing(connection, paid) == {
        "reversed_by": None,
        "refunded_minor": 0,
        "refunds": [(mistaken["event_id"], -2000, str(back["event_id"]))],
    }
    await written(connection, refund(paid, -1200))
    # The reversal is undone only as far as there is room for what it had given back.
    answer = await decide(connection, undo(back["event_id"]))
    assert (answer.outcome, answer.conflicting_id) == (Outcome.ALREADY_REFUNDED, paid)
    (total,) = await client.balances(connection, ["cus_1"], strong=True)
    assert total["current_balance_minor"] == 800


async def test_an_event_whose_reversal_is_reversed_stands_again(connection: Connection) -> None:
    paid = await charge(connection)
    (reversal,) = await written(connection, undo(paid))
    await written(connection, undo(reversal["event_id"]))
    (part,) = await written(connection, refund(paid, -2000))
    assert (await decide(connection, refund(paid, -1))).outcome is Outcome.REFUND_EXCEEDS
    # So does a refund. Both still name their own reversal, which is reversed now.
    (back,) = await written(connection, undo(part["event_id"]))
    await written(connection, undo(back["event_id"]))
    assert await undoing(connection, paid) == {
        "reversed_by": reversal["event_id"],
        "refunded_minor": 2000,
        "refunds": [(part["event_id"], -2000, str(back["event_id"]))],
    }


async def test_what_is_freed_within_a_call_can_be_taken_in_it(connection: Connection) -> None:
    paid = await charge(connection)
    (mistaken,) = await written(connection, refund(paid, -2000))
    requests = [
        append_request(refund(paid, -1)),
        append_request(undo(mistaken["event_id"])),
        append_request(undo(paid)),
        append_request(refund(paid, -1)),
    ]
    assert [answer.outcome for answer in await append(connection, requests)] == [
        Outcome.REFUND_EXCEEDS,
        Outcome.CREATED,
        Outcome.CREATED,
        Outcome.REFUND_EXCEEDS,
    ]


async def test_a_refund_fits_what_it_refunds(connection: Connection) -> None:
    paid = await charge(connection)
    for misfit, outcome in (
        (refund(paid, -1, account_id="cus_2"), Outcome.REFUND_ACCOUNT),
        (refund(paid, -1, currency="EUR"), Outcome.REFUND_CURRENCY),
        (refund(paid, 1), Outcome.REFUND_SIGN),
    ):
        answer = await decide(connection, new_event(), misfit)
        assert (answer.outcome, answer.conflicting_id, answer.index) == (outcome, paid, 1)


async def test_only_an_event_that_posts_an_amount_can_be_refunded(connection: Connection) -> None:
    paid, undone = await charge(connection), await charge(connection)
    (part,) = await written(connection, refund(paid, -500))
    (reversal,) = await written(connection, undo(undone))
    (hold,) = await written(connection, new_hold(amount_minor=300))
    for event_id, outcome in (
        (uuid4(), Outcome.REFUNDED_NOT_FOUND),
        (part["event_id"], Outcome.REFUND_OF_REFUND),
        (reversal["event_id"], Outcome.REFUND_OF_REVERSAL),
        (hold["event_id"], Outcome.REFUND_OF_HOLD),
    ):
        assert (await decide(connection, refund(event_id, 1))).outcome is outcome
    captured = (await written(connection, Capture(hold["hold_id"], 200)))[-1]
    await written(connection, refund(captured["event_id"], 200))
    assert (await decide(connection, refund(captured["event_id"], 1))).outcome is (
        Outcome.REFUND_EXCEEDS
    )


async def test_a_leg_is_refunded_by_a_leg_and_then_its_transaction_not_reversed(
    connection: Connection,
) -> None:
    sale = await written(
        connection, new_event("cus_1", -2400), new_event("shop", 2400), transaction=True
    )
    back = await written(
        connection,
        refund(sale[1]["event_id"], -400, account_id="shop"),
        refund(sale[0]["event_id"], 400),
        transaction=True,
    )
    answer = await decide(connection, undo(sale[0]["transaction_id"]), transaction=True)
    assert (answer.outcome, answer.conflicting_id, answer.index) == (
        Outcome.ALREADY_REFUNDED,
        sale[0]["event_id"],
        0,
    )
    await written(connection, undo(back[0]["transaction_id"]), transaction=True)
    await written(connection, undo(sale[0]["transaction_id"]), transaction=True)
    balances = await client.balances(connection, ["cus_1", "shop"], strong=True)
    assert [row["current_balance_minor"] for row in balances] == [0, 0]


async def test_a_refused_request_leaves_what_it_would_have_taken(connection: Connection) -> None:
    paid = await charge(connection)
    requests = [
        append_request(refund(paid, -2000), new_event("b", 1), transaction=True),
        append_request(refund(paid, -2000)),
    ]
    assert [answer.outcome for answer in await append(connection, requests)] == [
        Outcome.UNBALANCED,
        Outcome.CREATED,
    ]


async def test_a_key_stands_for_what_was_refunded_too(connection: Connection) -> None:
    one, other = await charge(connection), await charge(connection)

    def asked(event_id: UUID) -> AppendRequest:
        return append_request(refund(event_id, -5), key="re_1")

    answers = await append(connection, [asked(one), asked(one), asked(other)])
    assert [answer.outcome for answer in answers] == [
        Outcome.CREATED,
        Outcome.REPLAYED,
        Outcome.KEY_REUSED,
    ]
    assert [dict(row) for row in answers[0].events] == [dict(row) for row in answers[1].events]


async def test_an_events_refunds_are_listed(connection: Connection) -> None:
    paid, other = await charge(connection), await charge(connection)
    parts = [*await written(connection, *[refund(paid, -1)] * 5, refund(other, -1))]
    found = await search.events(connection, EventFilters(refunds_event_id=paid), rows_max=10)
    assert [dict(row) for row in found] == parts[:5]
    latest = await search.events(
        connection,
        EventFilters(refunds_event_id=paid),
        descending=True,
        after=parts[4]["event_id"],
        rows_max=2,
    )
    assert [row["event_id"] for row in latest] == [parts[3]["event_id"], parts[2]["event_id"]]
    shown = await undoing(connection, paid, refunds_max=2)
    assert [event_id for event_id, *_ in shown["refunds"]] == [
        part["event_id"] for part in parts[:2]
    ]
    assert shown["refunded_minor"] == 5


async def test_many_refunds_at_once_never_exceed_the_event(ledger: Ledger) -> None:
    async with AsyncExitStack() as stack:
        connections = [await stack.enter_async_context(ledger.connection()) for _ in range(WRITERS)]
        paid = await charge(connections[0], 1000)

        async def give_back(connection: Connection) -> list[Answer]:
            answers: list[Answer] = []
            for amount_minor in range(1, 30):
                requests = [append_request(refund(paid, -amount_minor)) for _ in range(2)]
                answers += await append(connection, [*requests, append_request(undo(paid))])
            return answers

        answers = await asyncio.gather(*map(give_back, connections))
        outcomes = Counter(answer.outcome for some in answers for answer in some)
        assert set(outcomes) == {Outcome.CREATED, Outcome.REFUND_EXCEEDS, Outcome.ALREADY_REFUNDED}
        parts = await search.events(
            connections[0], EventFilters(refunds_event_id=paid), rows_max=1000
        )
        given_back = -sum(part["amount_minor"] for part in parts)
        # The last refunds that were refused took less than 30.
        assert 1000 - 30 < given_back <= 1000
        shown = await undoing(connections[0], paid)
        assert (shown["reversed_by"], shown["refunded_minor"]) == (None, given_back)
        (total,) = await client.balances(connections[0], ["cus_1"], strong=True)
        assert total["current_balance_minor"] == 1000 - given_back
