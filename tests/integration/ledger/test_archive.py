"""The archive: segments taken from one ledger and replayed into another make the same ledger."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from freehold.ledger import client, rules
from freehold.ledger.append import Capture, Outcome
from freehold.ledger.client import SESSION_SETTINGS, Connection
from freehold.ledger.schema import LEDGER_SCHEMA, LEDGER_SOURCE
from freehold_tenant_manager.archive.segments import (
    BEGINNING,
    Position,
    Replayed,
    Segment,
    SegmentError,
    SegmentReader,
    find_segment,
    replay,
    stage,
    take,
)
from freehold_tenant_manager.server.migrator import migrate
from support.builders import append, append_request, let_pass, new_event, new_hold, undo
from support.ledgers import Ledgers

# What is kept of a ledger, but for what says when it was projected.
TABLES = {
    "ledger_events": "event_id",
    "ledger_head": "only_row",
    "external_ids": "external_id",
    "reversals": "reversed_event_id",
    "holds": "hold_id",
    "idempotency_keys": "idempotency_key",
    "event_types": "event_type",
    "account_limits": "account_id, currency",
    "searchable_metadata": "metadata_key",
    "rule_changes": "change_id",
    "ledger_settings": "only_row",
}


@pytest.fixture
async def other(ledgers: Ledgers) -> AsyncIterator[Connection]:
    """A ledger to replay into."""
    async with ledgers.fresh() as ledger, ledger.connection(**SESSION_SETTINGS) as connection:
        await stage(connection)
        yield connection


async def contents(connection: Connection) -> dict[str, list[Any]]:
    return {
        table: [
            tuple(row) for row in await connection.fetch(f"SELECT * FROM {table} ORDER BY {by}")
        ]
        for table, by in TABLES.items()
    }


async def fill(connection: Connection) -> None:
    """One of everything that a ledger can hold."""
    await rules.declare_event_type(connection, "CHARGE", "positive", "")
    await rules.limit_account(connection, "cus_1", "USD", -10)
    await rules.declare_searchable_metadata(connection, ["plan", "order_id"])
    (first,) = await append(
        connection,
        [append_request(new_event(external_id="ch_1", metadata={"a\\b": '\\N "ä'}), key="first")],
    )
    await append(connection, [append_request(undo(first.events[0]["event_id"]), key="back")])
    (paid,) = await append(connection, [append_request(new_event())])
    refund = new_event(amount_minor=-40, event_type="REFUND", refunds=paid.events[0]["event_id"])
    await append(connection, [append_request(refund)])
    (held,) = await append(connection, [append_request(new_hold(amount_minor=5), key="held")])
    await append(connection, [append_request(new_hold(amount_minor=1), key="pending")])
    later = datetime.now(UTC) + timedelta(days=1)
    await append(connection, [append_request(new_hold(amount_minor=2, expires_at=later))])
    await append(connection, [append_request(Capture(held.events[0]["hold_id"], None))])
    await append(
        connection,
        [
            append_request(
                new_event("a", 3), new_event("b", -3, event_type="MOVE"), transaction=True
            )
        ],
    )
    await rules.limit_account(connection, "cus_1", "USD", None)
    await rules.limit_account(connection, "cus_2", "EUR", 7)
    await rules.declare_searchable_metadata(connection, ["plan", "colour"])
    await rules.close_event_types(connection, closed=True)
    await connection.execute("UPDATE ledger_settings SET idempotency_retention = '36 hours 3 ms'")


async def segment_bytes(
    connection: Connection, after: Position = BEGINNING, events_max: int = 1000
) -> tuple[Segment, bytes] | None:
    segment = await find_segment(connection, "acme", 1, after, events_max)
    if segment is None:
        return None
    return segment, b"".join([piece async for piece in take(connection, segment)])


async def all_segments(connection: Connection, events_max: int) -> list[tuple[Segment, bytes]]:
    found: list[tuple[Segment, bytes]] = []
    after = BEGINNING
    while (one := await segment_bytes(connection, after, events_max)) is not None:
        found.append(one)
        after = one[0].end
    return found


async def in_pieces(content: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


async def replay_bytes(
    connection: Connection,
    content: bytes,
    *,
    until: datetime | None = None,
    through: Position | None = None,
    piece_bytes: int = 1000,
) -> Replayed:
    reader = SegmentReader(in_pieces(content, piece_bytes))
    await reader.header()
    limit = None if through is None else (through.seq, through.change)
    return await replay(connection, [reader], until=until, through=limit)


async def replay_all(
    connection: Connection, segments: Sequence[tuple[Segment, bytes]], **limits: Any
) -> Replayed:
    for _, content in segments:
        replayed = await replay_bytes(connection, content, **limits)
    return replayed


@pytest.mark.parametrize("events_max", [1, 2, 3, 1000])
async def test_what_is_replayed_is_the_same_ledger(
    connection: Connection, other: Connection, events_max: int
) -> None:
    await fill(connection)
    segments = await all_segments(connection, events_max)
    assert sorted(segments, key=lambda one: one[0].name) == segments
    replayed = await replay_all(other, segments)
    assert await contents(other) == await contents(connection)
    assert replayed.end == segments[-1][0].end
    assert not replayed.reached
    found = await client.verify(other)
    assert (found.ok, found.events_checked) == (True, 10)
    await client.rebuild(other)
    assert await client.reconcile(other) == []


async def test_a_replayed_ledger_takes_appends(connection: Connection, other: Connection) -> None:
    await fill(connection)
    await replay_all(other, await all_segments(connection, 4))
    (first,) = await other.fetch("SELECT event_id FROM ledger_events WHERE seq = 1")
    answers = await append(
        other,
        [
            append_request(new_event(external_id="ch_1", metadata={"a\\b": '\\N "ä'}), key="first"),
            append_request(new_event(), key="held"),
            append_request(new_event(external_id="ch_1")),
            append_request(undo(first["event_id"])),
            append_request(new_event(event_type="UNHEARD_OF")),
            append_request(new_event("cus_2", 6, currency="EUR")),
            append_request(new_event("cus_2", 3)),
        ],
    )
    assert [answer.outcome for answer in answers] == [
        Outcome.REPLAYED,
        Outcome.KEY_REUSED,
        Outcome.DUPLICATE_EXTERNAL_ID,
        Outcome.ALREADY_REVERSED,
        Outcome.EVENT_TYPE_UNKNOWN,
        Outcome.CREATED,
        Outcome.CREATED,
    ]
    assert (await client.verify(other)).ok
    settings = await other.fetchrow("SELECT * FROM ledger_settings")
    assert settings is not None
    assert settings["next_hold_expiry"] is not None


async def test_a_segment_ends_where_an_append_does(connection: Connection) -> None:
    await append(connection, [append_request(*[new_event() for _ in range(7)], key="seven")])
    await append(connection, [append_request(new_event())])
    segments = await all_segments(connection, 2)
    assert [(one.after.seq, one.end.seq) for one, _ in segments] == [(0, 7), (7, 8)]
    assert segments[0][1].count(b"seven") == 1
    assert segments[0][0].last_recorded_at is not None


async def test_nothing_new_makes_no_segment_and_a_rule_alone_makes_one(
    connection: Connection, other: Connection
) -> None:
    assert await segment_bytes(connection) is None
    await append(connection, [append_request(new_event())])
    one = await segment_bytes(connection)
    assert one is not None
    assert await segment_bytes(connection, one[0].end) is None
    await rules.limit_account(connection, "cus_1", "USD", 0)
    two = await segment_bytes(connection, one[0].end)
    assert two is not None
    assert two[0].events == 0
    assert one[0].name < two[0].name
    await replay_all(other, [one, two])
    assert await contents(other) == await contents(connection)


async def test_a_ledger_is_brought_to_an_instant(connection: Connection, other: Connection) -> None:
    await append(connection, [append_request(new_event("a", 1), new_event("b", 2), key="one")])
    await rules.limit_account(connection, "a", "USD", -5)
    instant: datetime = await connection.fetchval("SELECT clock_timestamp()")
    await rules.limit_account(connection, "a", "USD", -9)
    await append(connection, [append_request(new_event("a", 4, external_id="late"), key="two")])
    replayed = await replay_all(other, await all_segments(connection, 1000), until=instant)
    assert (replayed.end.seq, replayed.end.change) == (2, 1)
    assert (replayed.reached, replayed.rules_reached) == (True, True)
    assert await other.fetchval("SELECT count(*) FROM external_ids") == 0
    keys = await other.fetch("SELECT idempotency_key FROM idempotency_keys")
    assert [row[0] for row in keys] == ["one"]
    assert await other.fetchval("SELECT min_balance_minor FROM account_limits") == -5
    assert (await client.verify(other)).ok
    # And from there it has a history of its own.
    (answer,) = await append(other, [append_request(new_event("a", 4, external_id="late"))])
    assert answer.events[0]["seq"] == 3


async def test_a_later_rule_in_an_early_segment_does_not_end_the_replay(
    connection: Connection, other: Connection
) -> None:
    """A segment with fewer events than follow has no later rule; one that had would do no harm."""
    segment_end = await connection.fetchval(
        "SELECT pg_get_functiondef(oid) FROM pg_proc WHERE proname = 'segment_end'"
    )
    condition = "WHERE stop.event_id IS NULL OR c.changed_at <= stop.recorded_at"
    assert condition in segment_end
    await connection.execute(segment_end.replace(condition, ""))
    for amount in (1, 2):
        await append(connection, [append_request(new_event(amount_minor=amount))])
    instant: datetime = await connection.fetchval("SELECT clock_timestamp()")
    await rules.limit_account(connection, "cus_1", "USD", 0)
    first, *later = await all_segments(connection, 1)
    assert first[0].end.change == 1
    replayed = await replay_bytes(other, first[1], until=instant)
    assert (replayed.reached, replayed.rules_reached) == (False, True)
    replayed = await replay_all(other, later, until=instant)
    assert (replayed.end.seq, replayed.end.change) == (2, 0)


async def test_a_ledger_is_brought_to_a_position(connection: Connection, other: Connection) -> None:
    await append(connection, [append_request(new_event())])
    position = (await all_segments(connection, 1000))[0][0].end
    await rules.limit_account(connection, "cus_1", "USD", 0)
    await append(connection, [append_request(new_event())])
    replayed = await replay_all(other, await all_segments(connection, 1000), through=position)
    assert replayed.end == position
    assert replayed.reached


async def test_the_same_segment_twice_and_overlapping_ones_change_nothing(
    connection: Connection, other: Connection
) -> None:
    await append(connection, [append_request(new_event(external_id="x"))])
    short = await segment_bytes(connection)
    await rules.limit_account(connection, "cus_1", "USD", 0)
    await append(connection, [append_request(new_event())])
    long = await segment_bytes(connection)
    assert short is not None
    assert long is not None
    await replay_all(other, [short, short, long, short, long])
    assert await contents(other) == await contents(connection)


async def test_a_key_that_was_used_again_comes_back_as_it_was_last(
    connection: Connection, other: Connection
) -> None:
    await append(connection, [append_request(new_event(), key="key")])
    one = await segment_bytes(connection)
    assert one is not None
    await let_pass(connection, timedelta(days=2))
    await append(connection, [append_request(new_event(amount_minor=7), key="key")])
    two = await segment_bytes(connection, one[0].end)
    assert two is not None
    readers = [SegmentReader(in_pieces(content, 100)) for _, content in (one, two)]
    for reader in readers:
        await reader.header()
    await replay(other, readers, until=None, through=None)
    assert await contents(other) == await contents(connection)


async def test_a_gap_another_history_and_a_changed_event_are_refused(
    connection: Connection, other: Connection, ledgers: Ledgers
) -> None:
    for amount in (1, 2, 3):
        await append(connection, [append_request(new_event(amount_minor=amount))])
    one, two, three = await all_segments(connection, 1)
    await replay_bytes(other, one[1])
    before = await contents(other)
    with pytest.raises(SegmentError, match="missing"):
        await replay_bytes(other, three[1])
    assert two[1].count(b"CHARGE\t2\tUSD") == 1
    with pytest.raises(SegmentError, match="hash of the event 2"):
        await replay_bytes(other, two[1].replace(b"CHARGE\t2\tUSD", b"CHARGE\t9\tUSD"))
    with pytest.raises(SegmentError, match="middle"):
        await replay_bytes(other, two[1][:-7])
    async with ledgers.fresh() as stranger, stranger.connection() as strange:
        await append(strange, [append_request(new_event())])
        await append(strange, [append_request(new_event())])
        for _, content in list(await all_segments(strange, 5)):
            with pytest.raises(SegmentError, match="another history"):
                await replay_bytes(other, content)
    assert await contents(other) == before
    await replay_all(other, [two, three])
    assert await contents(other) == await contents(connection)


async def test_a_lost_change_of_rules_is_refused(connection: Connection, other: Connection) -> None:
    segments = []
    after = BEGINNING
    for limit in (1, 2, 3):
        await rules.limit_account(connection, "cus_1", "USD", limit)
        one = await segment_bytes(connection, after)
        assert one is not None
        segments.append(one)
        after = one[0].end
    await replay_bytes(other, segments[0][1])
    with pytest.raises(SegmentError, match="change of rules 2"):
        await replay_bytes(other, segments[2][1])


async def test_a_ledger_that_is_not_what_was_archived_is_not_archived_further(
    connection: Connection,
) -> None:
    await append(connection, [append_request(new_event())])
    one = await segment_bytes(connection)
    assert one is not None
    end = one[0].end
    for other in (
        Position(end.seq, end.event_id, bytes(32), end.change),
        Position(2, end.event_id, end.hash, end.change),
        Position(1, BEGINNING.event_id, end.hash, end.change),
        Position(end.seq, end.event_id, end.hash, 1),
    ):
        with pytest.raises(SegmentError):
            await segment_bytes(connection, other)


async def test_events_of_past_years_get_their_partitions(
    connection: Connection, ledgers: Ledgers
) -> None:
    await append(connection, [append_request(new_event())])
    await let_pass(connection, timedelta(days=800))
    await append(connection, [append_request(new_event())])
    segments = await all_segments(connection, 1000)
    async with ledgers.unmade() as made_later, made_later.connection(**SESSION_SETTINGS) as later:
        await migrate(later, LEDGER_SOURCE, LEDGER_SCHEMA)
        rows = await later.fetch(
            "SELECT inhrelid::regclass::text FROM pg_inherits"
            " WHERE inhparent = 'ledger_events'::regclass ORDER BY 1"
        )
        await later.execute(f"DROP TABLE {rows[0][0]}")
        await later.execute("SELECT make_partitions(now() + interval '3 years')")
        await stage(later)
        await replay_all(later, segments)
        assert (await client.verify(later)).events_checked == 2


async def test_a_rule_that_is_set_again_as_it_stands_is_no_change(connection: Connection) -> None:
    for sign, least in (("any", 4), ("any", 4), ("positive", 5), ("positive", 5)):
        assert await rules.declare_event_type(connection, "CHARGE", sign, "")
        await rules.limit_account(connection, "cus_1", "USD", least)
        await rules.close_event_types(connection, closed=False)
        await rules.declare_searchable_metadata(connection, ["order_id"])
    kinds = [row[0] for row in await connection.fetch("SELECT kind FROM rule_changes ORDER BY 1")]
    assert kinds == [*["account_limit"] * 2, *["event_type"] * 2, "searchable_metadata"]


async def test_rules_changed_by_hand_are_saved_too(connection: Connection) -> None:
    await connection.execute("UPDATE ledger_settings SET partition_span = 'month'")
    await connection.execute("UPDATE ledger_settings SET partition_span = 'month'")
    await connection.execute("INSERT INTO account_limits VALUES ('a', 'USD', 1)")
    await connection.execute("DELETE FROM account_limits")
    rows = await connection.fetch("SELECT change_id, kind, subject, terms FROM rule_changes")
    assert [(row[0], row[1], row[2], row[3] is None) for row in rows] == [
        (1, "settings", "", False),
        (2, "account_limit", "a USD", False),
        (3, "account_limit", "a USD", True),
    ]
