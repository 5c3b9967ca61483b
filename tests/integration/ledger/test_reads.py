"""What can be read of a ledger, page by page."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

import pytest

from freehold.ledger import client, search
from freehold.ledger.append import Row
from freehold.ledger.client import Connection
from freehold.ledger.search import EventFilters
from support.builders import append, append_request, new_event


@pytest.fixture
async def written(connection: Connection) -> Sequence[Row]:
    """Seven events on accounts whose names are easily confused; all are projected."""
    names = ["a", "a_b", "a-b", "A", "aa", "a", "b"]
    events = [
        new_event(name, 10 * number, currency="JPY" if number == 6 else "USD")
        for number, name in enumerate(names, start=1)
    ]
    # Not a name that the contract lets in, but SQL has its own view of "%", as it has of "_".
    events[2] = events[2].model_copy(update={"account_id": "a%b"})
    (answer,) = await append(connection, [append_request(*events)])
    await client.project(connection, 100)
    return answer.events


async def accounts(
    connection: Connection,
    *,
    after: tuple[str, str] | None = None,
    rows_max: int = 100,
    **filters: Any,
) -> list[tuple[str, str]]:
    rows = await client.list_balances(
        connection, client.BalanceFilters(**filters), after=after, rows_max=rows_max
    )
    return [(row["account_id"], row["currency"]) for row in rows]


async def seqs(
    connection: Connection,
    account_id: str | None = None,
    after: UUID | None = None,
    rows_max: int = 100,
) -> list[int]:
    rows = await search.events(connection, EventFilters(account_id), after=after, rows_max=rows_max)
    return [row["seq"] for row in rows]


async def test_events_come_page_by_page(connection: Connection, written: Sequence[Row]) -> None:
    assert await seqs(connection) == [1, 2, 3, 4, 5, 6, 7]
    assert await seqs(connection, rows_max=3) == [1, 2, 3]
    assert await seqs(connection, after=written[2]["event_id"], rows_max=3) == [4, 5, 6]
    assert await seqs(connection, after=written[6]["event_id"]) == []
    assert await seqs(connection, after=UUID(int=0), rows_max=2) == [1, 2]


async def test_events_of_one_account(connection: Connection, written: Sequence[Row]) -> None:
    assert await seqs(connection, "a") == [1, 6]
    assert await seqs(connection, "a", after=written[0]["event_id"]) == [6]
    assert await seqs(connection, "a", rows_max=1) == [1]
    assert await seqs(connection, "A") == [4]
    assert await seqs(connection, "unknown") == []


async def test_one_event_by_its_id(connection: Connection, written: Sequence[Row]) -> None:
    found = await client.event(connection, written[4]["event_id"])
    assert found is not None
    assert all(written[4][name] == value for name, value in found.items())
    assert await client.event(connection, uuid4()) is None


async def test_the_hash_at_a_seq(connection: Connection, written: Sequence[Row]) -> None:
    assert await client.hash_at(connection, 5) == written[4]["hash"]
    assert await client.hash_at(connection, 8) is None
    assert await client.hash_at(connection, 0) is None


async def test_the_head_is_the_last_event(connection: Connection, written: Sequence[Row]) -> None:
    head = await client.head(connection)
    last = written[6]
    assert (head.seq, head.event_id, head.hash) == (7, last["event_id"], last["hash"])


async def test_balances_of_the_accounts_asked_for(
    connection: Connection, written: Sequence[Row]
) -> None:
    for strong in (False, True):
        rows = await client.balances(connection, ["a", "b", "unknown"], strong=strong)
        assert [
            (row["account_id"], row["currency"], row["current_balance_minor"]) for row in rows
        ] == [("a", "JPY", 60), ("a", "USD", 10), ("b", "USD", 70)]
        assert [row["last_ledger_event_id"] for row in rows] == [
            written[number]["event_id"] for number in (5, 0, 6)
        ]
        assert await client.balances(connection, [], strong=strong) == []


@pytest.mark.usefixtures("written")
async def test_balances_are_listed_in_order_of_bytes(connection: Connection) -> None:
    everything = await accounts(connection)
    assert everything == [
        ("A", "USD"),
        ("a", "JPY"),
        ("a", "USD"),
        ("a%b", "USD"),
        ("a_b", "USD"),
        ("aa", "USD"),
        ("b", "USD"),
    ]
    for place, after in enumerate(everything, start=1):
        assert await accounts(connection, after=after, rows_max=2) == everything[place : place + 2]


@pytest.mark.usefixtures("written")
async def test_lists_of_balances_are_filtered(connection: Connection) -> None:
    assert await accounts(connection, currency="JPY") == [("a", "JPY")]
    assert await accounts(connection, least=50, most=60) == [("a", "JPY"), ("aa", "USD")]
    assert await accounts(connection, most=-1) == []
    assert await accounts(connection, least=-(10**30), most=9) == []
    assert await accounts(connection, account_prefix="b") == [("b", "USD")]
    # A prefix is text, not a pattern.
    assert await accounts(connection, account_prefix="a_") == [("a_b", "USD")]
    assert await accounts(connection, account_prefix="a%") == [("a%b", "USD")]
    assert await accounts(connection, account_prefix="%") == []
    assert await accounts(connection, account_prefix="a", currency="JPY", least=60, most=60) == [
        ("a", "JPY")
    ]


@pytest.mark.usefixtures("written")
async def test_a_list_is_walked_backwards(connection: Connection) -> None:
    listed = await accounts(connection)
    for filters in (
        client.ALL_BALANCES,
        client.BalanceFilters("a"),
        client.BalanceFilters("", "USD"),
    ):
        kept = await accounts(
            connection, account_prefix=filters.account_prefix, currency=filters.currency
        )
        for position in listed:
            before = [balance for balance in kept if balance < position]
            for steps in (1, 2, 9):
                found = await client.balance_before(connection, filters, position, steps=steps)
                assert found == (before[-steps] if len(before) >= steps else None)
