"""What reconciliation finds: in the state, in the chain, and against the head kept outside."""

from typing import cast

from freehold.ledger import client as ledger
from freehold.ledger import rules
from freehold.ledger.client import Connection, Projection
from freehold.messaging.broker import Broker
from freehold.tenants.catalog import Catalog
from freehold.tenants.connections import TenantConnections
from freehold.tenants.directory import Directory
from freehold.tenants.homes import Home
from freehold.tenants.traffic import Traffic
from freehold_projector.catch_up import CatchUp
from freehold_projector.reconciliation import examine
from freehold_projector.watchers import Watchers
from support.builders import append, append_request, new_event
from support.homes import new_home
from support.ledgers import Ledger


async def _append(connection: Connection, events: int) -> None:
    await append(connection, [append_request(*(new_event(f"cus_{n}") for n in range(events)))])


async def _tamper(connection: Connection, statement: str) -> None:
    """Do as a superuser what the triggers would refuse."""
    async with connection.transaction():
        partitions = await connection.fetch(
            "SELECT inhrelid::regclass::text AS name FROM pg_inherits"
            " WHERE inhparent = 'ledger_events'::regclass"
        )
        for table in ("ledger_events", *(row["name"] for row in partitions)):
            await connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER append_only")
        await connection.execute(statement)


async def test_a_correct_ledger_has_no_findings(connection: Connection) -> None:
    await _append(connection, 5)
    await ledger.project(connection, 100)
    findings, head = await examine(connection, 0, None)
    assert findings == []
    await _append(connection, 3)
    await ledger.project(connection, 100)
    findings, head = await examine(connection, head.seq, head.hash)
    assert (findings, head.seq) == ([], 8)


async def test_a_wrong_balance_is_found_and_named(connection: Connection) -> None:
    await _append(connection, 2)
    await ledger.project(connection, 100)
    await connection.execute(
        "UPDATE account_balances SET current_balance_minor = 1 WHERE account_id = 'cus_1'"
    )
    findings, _ = await examine(connection, 0, None)
    assert [(f.kind, f.account_id, f.currency) for f in findings] == [
        ("balance-differs", "cus_1", "USD")
    ]


async def test_what_else_is_derived_is_compared_too(connection: Connection) -> None:
    await rules.declare_searchable_metadata(connection, ["order_id"])
    event = new_event(currency="EUR", metadata={"order_id": "o1"})
    await append(connection, [append_request(event)])
    await ledger.project(connection, 100)
    assert (await examine(connection, 0, None))[0] == []
    await connection.execute("UPDATE activity_rollups SET event_count = 2")
    await connection.execute("DELETE FROM metadata_values")
    findings, _ = await examine(connection, 0, None)
    assert [(f.kind, f.currency) for f in findings] == [
        ("activity-differs", "EUR"),
        ("metadata-index-differs", None),
    ]


async def test_a_changed_amount_is_found_although_the_state_follows_it(
    connection: Connection,
) -> None:
    await _append(connection, 5)
    await _tamper(connection, "UPDATE ledger_events SET amount_minor = 999 WHERE seq = 3")
    await ledger.project(connection, 100)
    findings, _ = await examine(connection, 0, None)
    assert [(f.kind, f.seq) for f in findings] == [("chain-broken", 3)]


async def test_a_ledger_cut_short_is_found_with_its_head_left_or_put_back(
    connection: Connection,
) -> None:
    await _append(connection, 5)
    await ledger.project(connection, 100)
    _, head = await examine(connection, 0, None)
    await _tamper(connection, "DELETE FROM ledger_events WHERE seq > 3")
    findings, _ = await examine(connection, head.seq, head.hash)
    assert {("chain-broken", 4), ("ledger-rewritten", 5)} & {(f.kind, f.seq) for f in findings}
    await connection.execute(
        "UPDATE ledger_head SET last_seq = e.seq, last_event_id = e.event_id, last_hash = e.hash"
        " FROM (SELECT * FROM ledger_events ORDER BY seq DESC LIMIT 1) AS e"
    )
    findings, _ = await examine(connection, head.seq, head.hash)
    assert ("ledger-rewritten", 5) in {(f.kind, f.seq) for f in findings}


async def test_catch_up_ends_where_a_ledger_was_cut_short(
    ledger: Ledger, own_connection: Connection
) -> None:
    await _append(own_connection, 5)
    await _tamper(own_connection, "DELETE FROM ledger_events WHERE seq > 3")
    projection = await _caught_up(ledger)
    assert (projection.last_seq, projection.head_seq) == (3, 5)


async def test_catch_up_ends_when_a_new_key_is_indexed(
    ledger: Ledger, own_connection: Connection
) -> None:
    events = [new_event(metadata={"order_id": f"o{number}"}) for number in range(5)]
    await append(own_connection, [append_request(*events)])
    await _caught_up(ledger)
    await rules.declare_searchable_metadata(own_connection, ["order_id"])
    assert (await _caught_up(ledger)).unindexed is False
    assert await own_connection.fetchval("SELECT count(*) FROM metadata_values") == 5


async def _caught_up(ledger: Ledger) -> Projection:
    """Catch up, two events at a time."""
    home = new_home(ledger.url)
    connections = TenantConnections(
        application="test", connections_max=2, per_tenant_max=1, idle_s=60, timeout_s=5
    )
    watchers = Watchers(Broker("amqp://127.0.0.1:1/", name="test", timeout_s=1))
    directory = cast("Directory", _OneHome(home))
    traffic = Traffic(Catalog(ledger.url, application="test", timeout_s=5))
    catch_up = CatchUp(directory, connections, watchers, traffic, in_flight_max=1, events_max=2)
    projection: Projection = await catch_up.project(home.tenant_id)
    await watchers.close()
    await connections.close()
    return projection


class _OneHome:
    def __init__(self, home: Home) -> None:
        self._home = home

    async def home(self, _: str) -> Home:
        return self._home
