"""The parts of append, each alone: what they decide about additions that no ledger has yet."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import orjson
import pytest

from freehold.ledger import rules
from freehold.ledger.client import Connection
from support.builders import append, append_request, new_event

ASKED = "ARRAY(SELECT a FROM json_populate_recordset(NULL::addition, $1) AS a)"

Addition = dict[str, Any]


def additions(*requests: Sequence[Addition]) -> str:
    """Write requests as append takes them, on one account unless they say otherwise."""
    numbered = [
        {"request": request, "account_id": "a", "currency": "USD", "amount_minor": 1, **addition}
        for request, asked in enumerate(requests, start=1)
        for addition in asked
    ]
    placed = [{**addition, "index": index} for index, addition in enumerate(numbered, start=1)]
    return orjson.dumps(placed).decode()


async def answers(connection: Connection, call: str, asked: str) -> list[tuple[Any, ...]]:
    """Request, index, outcome and conflicting index of each answer that a part gives."""
    rows = await connection.fetch(f"SELECT r.* FROM unnest({call.format(ASKED)}) AS r", asked)
    return [
        (row["request"], row["index"], row["outcome"], row["conflicting_index"]) for row in rows
    ]


async def test_each_hash_follows_the_one_before(connection: Connection) -> None:
    first = sha256(b"start" + b"one").digest()
    assert await connection.fetchval("SELECT chained($1, $2)", b"start", [b"one", b"two"]) == [
        first,
        sha256(first + b"two").digest(),
    ]
    assert await connection.fetchval("SELECT chained($1, '{}')", b"start") == []


@pytest.mark.parametrize(
    ("requests", "contested"),
    [
        ([[{}], [{}]], False),
        ([[{"key": "k"}], [{"key": "k"}]], True),
        ([[{"key": "k"}], [{"key": "l", "external_id": "k"}]], False),
        ([[{"external_id": "x"}], [{}, {"external_id": "x"}]], True),
        ([[{"external_id": "x"}, {"external_id": "x"}], [{}]], False),
    ],
)
async def test_requests_contest_what_another_claims(
    connection: Connection, requests: list[list[Addition]], contested: bool
) -> None:
    has = 'jsonb_populate_record(NULL::traits, \'{"many": true, "claims": true}\')'
    found = await connection.fetchval(f"SELECT are_contested({ASKED}, {has})", additions(*requests))
    assert found is contested


async def test_legs_balance_in_each_currency(connection: Connection) -> None:
    asked = additions(
        [{"leg": 1, "amount_minor": 5}, {"leg": 2, "amount_minor": -5}],
        [{"leg": 1, "amount_minor": 5}, {"leg": 2, "amount_minor": -5, "currency": "JPY"}],
        [{"amount_minor": 5}],
    )
    assert await answers(connection, "refused_transactions({})", asked) == [
        (2, None, "unbalanced", None)
    ]


async def test_accounts_are_short_by_what_is_taken_and_the_tail_counts(
    connection: Connection,
) -> None:
    await rules.limit_account(connection, "a", "USD", -10)
    await append(connection, [append_request(new_event("a", 7))])
    for taken, short in ((17, []), (18, [("a", "USD", None, 17)])):
        rows = await connection.fetch(
            f"SELECT s.* FROM unnest(short_accounts({ASKED})) AS s",
            additions([{"amount_minor": -taken}], [{"amount_minor": 5}], [{"account_id": "b"}]),
        )
        assert [tuple(row) for row in rows] == short


async def test_events_are_short_of_what_is_left_of_them(connection: Connection) -> None:
    (answer,) = await append(connection, [append_request(new_event("a", 9))])
    paid = answer.events[0]["event_id"]
    await append(connection, [append_request(new_event("a", -2, refunds=paid))])
    part, whole = {"refunds_event_id": str(paid)}, {"reverses_event_id": str(paid)}
    for requests, short in (
        ([[{**part, "amount_minor": -7}], [{}]], []),
        ([[{**part, "amount_minor": -4}], [{**part, "amount_minor": -4}]], [(None, None, paid, 7)]),
        ([[{**whole, "amount_minor": -9}]], [(None, None, paid, 7)]),
    ):
        rows = await connection.fetch(
            f"SELECT s.* FROM unnest(short_originals({ASKED})) AS s", additions(*requests)
        )
        assert [tuple(row) for row in rows] == short


async def test_what_a_refused_request_claims_and_takes_is_the_next_ones(
    connection: Connection,
) -> None:
    asked = additions(
        [{"external_id": "x", "amount_minor": -6}],
        [{"external_id": "x", "amount_minor": -2}],
        [{"external_id": "x"}],
        [{"amount_minor": -3}, {"account_id": "b"}],
        [{"key": "k"}],
        [{"key": "k", "external_id": "x"}],
    )
    call = "judge_in_order({}, '{{}}', ARRAY[('a', 'USD', NULL, 4)::shortage])"
    assert await answers(connection, call, asked) == [
        (1, 1, "insufficient_funds", None),
        (3, 3, "duplicate_external_id", 2),
        (4, 4, "insufficient_funds", None),
        # It waits for what becomes of the key, whatever else it claims.
        (6, None, None, 0),
    ]
