"""Searchable metadata: an index of the declared keys alone, made in steps by the projection."""

import pytest

from freehold.ledger import client, rules, search
from freehold.ledger.client import Connection
from freehold.ledger.search import EventFilters
from support.builders import append, append_request, new_event

DAMAGE = {
    "another value": "UPDATE metadata_values SET metadata_value = 'x' WHERE seq = 2",
    "another event": "UPDATE metadata_values SET event_id = gen_random_uuid() WHERE seq = 2",
    "a lost value": "DELETE FROM metadata_values WHERE seq = 2",
    "an invented value": (
        "INSERT INTO metadata_values VALUES ('order_id', 'x', 9, gen_random_uuid())"
    ),
}


@pytest.fixture
async def filled(connection: Connection) -> Connection:
    """Thirty events with two keys each; nothing is projected."""
    events = [
        new_event(metadata={"order_id": f"o{number // 3}", "plan": "pro"}) for number in range(30)
    ]
    await append(connection, [append_request(*events)])
    return connection


async def indexed(connection: Connection) -> dict[str, int]:
    """Count the values of each key that has an index, if only of what is left to remove."""
    rows = await connection.fetch(
        "SELECT i.metadata_key, count(v.seq) FROM metadata_indexes AS i"
        " LEFT JOIN metadata_values AS v USING (metadata_key) GROUP BY 1"
    )
    return {row[0]: row[1] for row in rows}


async def found(connection: Connection, **metadata: str) -> list[int]:
    rows = await search.events(connection, EventFilters(metadata=metadata), rows_max=100)
    return [row["seq"] for row in rows]


async def test_undeclared_keys_have_no_index(filled: Connection) -> None:
    assert (await client.project(filled, 100)).unindexed is False
    assert await indexed(filled) == {}


async def test_a_declared_key_is_indexed_with_the_rest(filled: Connection) -> None:
    await rules.declare_searchable_metadata(filled, ["order_id", "none"])
    assert await rules.searchable_keys(filled) == ["none", "order_id"]
    assert (await client.project(filled, 100)).unindexed is False
    assert await indexed(filled) == {"order_id": 30, "none": 0}
    assert await client.reconcile_metadata(filled) == []
    await append(filled, [append_request(new_event(metadata={"order_id": "o3"}))])
    # Before it is projected, and after.
    assert await found(filled, order_id="o3") == [10, 11, 12, 31]
    await client.project(filled, 100)
    assert await indexed(filled) == {"order_id": 31, "none": 0}
    assert await found(filled, order_id="o3") == [10, 11, 12, 31]


async def test_a_key_declared_later_is_indexed_in_steps(filled: Connection) -> None:
    await client.project(filled, 100)
    await rules.declare_searchable_metadata(filled, ["order_id"])
    for count in (8, 16, 24):
        assert (await client.project(filled, 8)).unindexed is True
        assert await indexed(filled) == {"order_id": count}
        assert await found(filled, order_id="o7") == [22, 23, 24]
        assert await found(filled, order_id="o7", plan="pro") == [22, 23, 24]
    # A step behind, and one that is up to date, go on side by side.
    await rules.declare_searchable_metadata(filled, ["order_id", "plan"])
    assert (await client.project(filled, 8)).unindexed is True
    assert await indexed(filled) == {"order_id": 30, "plan": 8}
    while (await client.project(filled, 8)).unindexed:
        pass
    assert await indexed(filled) == {"order_id": 30, "plan": 30}
    assert await found(filled, order_id="o7", plan="pro") == [22, 23, 24]
    assert await found(filled, order_id="o7", plan="free") == []


async def test_a_key_that_is_taken_off_goes_in_steps(filled: Connection) -> None:
    await rules.declare_searchable_metadata(filled, ["order_id", "plan"])
    await client.project(filled, 100)
    await rules.declare_searchable_metadata(filled, ["plan"])
    assert await rules.searchable_keys(filled) == ["plan"]
    assert (await client.project(filled, 20)).unindexed is True
    assert await indexed(filled) == {"order_id": 10, "plan": 30}
    # Whoever asks by it all the same is answered from the events.
    assert await found(filled, order_id="o0") == [1, 2, 3]
    assert (await client.project(filled, 20)).unindexed is False
    assert await indexed(filled) == {"plan": 30}


async def test_a_key_that_comes_back_half_removed_is_indexed_anew(filled: Connection) -> None:
    await rules.declare_searchable_metadata(filled, ["order_id"])
    await client.project(filled, 100)
    await rules.declare_searchable_metadata(filled, [])
    await client.project(filled, 20)
    await rules.declare_searchable_metadata(filled, ["order_id"])
    assert await found(filled, order_id="o0") == [1, 2, 3]
    while (await client.project(filled, 20)).unindexed:
        assert await found(filled, order_id="o9") == [28, 29, 30]
    assert await indexed(filled) == {"order_id": 30}
    assert await client.reconcile_metadata(filled) == []


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=list(DAMAGE))
async def test_what_differs_is_found_and_rebuilt(filled: Connection, damage: str) -> None:
    await rules.declare_searchable_metadata(filled, ["order_id", "plan"])
    await client.project(filled, 100)
    values = "SELECT * FROM metadata_values ORDER BY 1, 2, 3"
    before = await filled.fetch(values)
    await filled.execute(damage.replace("WHERE", "WHERE metadata_key = 'order_id' AND"))
    assert await client.reconcile_metadata(filled) == ["order_id"]
    await client.rebuild(filled)
    assert await client.reconcile_metadata(filled) == []
    assert await filled.fetch(values) == before


async def test_a_ledger_that_was_cut_short_is_not_indexed_for_ever(filled: Connection) -> None:
    await client.project(filled, 100)
    await rules.declare_searchable_metadata(filled, ["order_id"])
    await filled.execute("ALTER TABLE ledger_events DISABLE TRIGGER append_only")
    await filled.execute("DELETE FROM ledger_events WHERE seq > 20")
    assert (await client.project(filled, 100)).unindexed is False
    await client.rebuild(filled)
    assert await indexed(filled) == {"order_id": 20}
