"""The hash chain: recomputed from an export by other code, and every kind of tampering found."""

import io
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import asyncpg
import pytest

from freehold.ledger import client, search
from freehold.ledger.append import Capture, Outcome, Release
from freehold.ledger.client import Connection, Head
from support.builders import append, append_request, let_pass, new_event, new_hold, undo
from support.chain import Fault, Row, canonical_metadata, event_bytes, find_fault, read_copy
from support.ledgers import Ledger, Ledgers, rolled_back
from support.tampering import tamper

LARGEST_AMOUNT = 2**63 - 1

AWKWARD_METADATA = {
    "_": "",
    "é": "naïve façade",
    "zz": "quotes \" and ' and \\ and \\\\n and \\u0041",
    "z": "tabs and newlines are refused; spaces   are kept ",
    "b": "\U0001f600 \u2028 \u200d \ufeff \uffff",
    "aaa": "</script>&amp;%s{}[]",
    "\U0001f511": "ключ 鍵",
    "null": "null",
}
AWKWARD_EVENTS = [
    new_event("a", 1),
    new_event("A" * 255, LARGEST_AMOUNT, currency="JPY", external_id="e" * 255),
    new_event("0.._:@-", -LARGEST_AMOUNT - 1, event_type="X" * 50),
    new_event("cus_1", -5, external_id="\\N", metadata={"n": "\\N"}),
    new_event("cus_1", 5, external_id="NULL", metadata=AWKWARD_METADATA),
    new_event("cus_1", 5, external_id="é\"'\\😀 ", metadata={}),
    new_event("cus_1", 7, transaction_time=datetime(1900, 1, 1, tzinfo=UTC)),
    new_event("cus_1", 7, transaction_time=datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)),
    new_event("cus_1", 7, transaction_time=datetime(2000, 2, 29, 12, 0, 0, 100, tzinfo=UTC)),
]


@pytest.fixture(scope="module")
async def chained_ledger(ledgers: Ledgers) -> AsyncIterator[Ledger]:
    """A ledger of the awkward events, some reversals and a refund, made by several calls."""
    async with ledgers.fresh() as ledger, ledger.connection() as connection:
        await append_chain(connection)
        yield ledger


@pytest.fixture
async def chained(chained_ledger: Ledger) -> AsyncIterator[Connection]:
    """A connection to that ledger; what a test does there is undone."""
    async with chained_ledger.connection() as connection, rolled_back(connection):
        yield connection


@pytest.fixture(scope="module")
async def held_ledger(ledgers: Ledgers) -> AsyncIterator[Ledger]:
    """The same ledger with holds: 21 pending, 22 captured, 23 expired, 24 released; 29 has legs."""
    async with ledgers.fresh() as ledger, ledger.connection() as connection:
        await append_chain(connection)
        await append_holds(connection)
        yield ledger


@pytest.fixture
async def held(held_ledger: Ledger) -> AsyncIterator[Connection]:
    """A connection to that ledger; what a test does there is undone."""
    async with held_ledger.connection() as connection, rolled_back(connection):
        yield connection


async def append_chain(connection: Connection) -> None:
    (first,) = await append(connection, [append_request(*AWKWARD_EVENTS)])
    await append(
        connection,
        [
            append_request(undo(first.events[0]["event_id"])),
            append_request(undo(first.events[1]["event_id"], 'a "reason"')),
            append_request(
                *(new_event("cus_2", number) for number in range(1, 9)),
                new_event("cus_1", -3, refunds=first.events[-1]["event_id"]),
            ),
        ],
    )


async def append_holds(chained: Connection) -> None:
    expires_at = datetime.now(UTC) + timedelta(minutes=30)
    placed = await append(
        chained,
        [
            append_request(new_hold("cus_3", 300, expires_at=datetime(9998, 12, 31, tzinfo=UTC))),
            append_request(
                new_hold("cus_3", LARGEST_AMOUNT, external_id="é", metadata=AWKWARD_METADATA)
            ),
            append_request(new_hold("cus_3", 5, expires_at=expires_at)),
            append_request(new_hold("cus_3", 7, expires_at=expires_at)),
        ],
    )
    _, captured, _, released = (answer.events[0]["event_id"] for answer in placed)
    answers = await append(
        chained, [append_request(Capture(captured, 9)), append_request(Release(released))]
    )
    await let_pass(chained, timedelta(hours=1))
    legs = [new_event("cus_3", -1), new_event("cus_4", 1)]
    answers += await append(
        chained, [append_request(new_event()), append_request(*legs, transaction=True)]
    )
    assert {answer.outcome for answer in answers} == {Outcome.CREATED}


async def test_an_export_verifies_without_any_of_freeholds_code(chained: Connection) -> None:
    head = await client.head(chained)
    rows = await export(chained)
    assert len(rows) == head.seq == 20
    assert find_fault(rows, head.seq, head.hash) is None


async def test_an_export_verifies_with_holds_and_transactions_in_it(held: Connection) -> None:
    head = await client.head(held)
    rows = await export(held)
    assert [row["event_type"] for row in rows[20:27]] == [
        *["HOLD"] * 4,
        "HOLD_CAPTURE",
        "HOLD_RELEASE",
        "HOLD_EXPIRY",
    ]
    assert rows[28]["transaction_id"] == rows[29]["transaction_id"] == rows[28]["event_id"]
    assert find_fault(rows, head.seq, head.hash) is None
    found = await client.verify(held)
    assert (found.ok, found.events_checked) == (True, 30)


async def test_an_export_verifies_whatever_the_time_zone_it_was_written_in(
    held_ledger: Ledger, held: Connection
) -> None:
    head = await client.head(held)
    for zone in ("Asia/Kolkata", "America/St_Johns", "Europe/Amsterdam"):
        async with held_ledger.connection(timezone=zone) as elsewhere:
            assert find_fault(await export(elsewhere), head.seq, head.hash) is None
            assert (await client.verify(elsewhere)).ok


async def test_events_appended_in_another_time_zone_hash_the_same_way(ledger: Ledger) -> None:
    async with ledger.connection(timezone="Pacific/Chatham", datestyle="SQL, DMY") as connection:
        await append(connection, [append_request(*AWKWARD_EVENTS)])
    async with ledger.connection() as connection:
        head = await client.head(connection)
        assert find_fault(await export(connection), head.seq, head.hash) is None
        times = [row["transaction_time"] for row in await events(connection)]
    assert times[6:9] == [event.transaction_time for event in AWKWARD_EVENTS[6:9]]


async def test_metadata_has_one_canonical_text(chained: Connection) -> None:
    rows = await export(chained)
    assert any(row["metadata"] == "{}" for row in rows)
    for row in rows:
        metadata = row["metadata"] or ""
        assert canonical_metadata(json.loads(metadata)) == metadata


CHANGES = {
    "account_id": "account_id = account_id || 'x'",
    "account_id and event_type run together": (
        "account_id = account_id || 'C', event_type = substr(event_type, 2)"
    ),
    "transaction_time": "transaction_time = transaction_time + interval '1 microsecond'",
    "recorded_at": "recorded_at = recorded_at - interval '1 microsecond'",
    "event_type": "event_type = 'REFUND'",
    "amount": "amount_minor = amount_minor + 1",
    "sign": "amount_minor = -amount_minor",
    "currency": "currency = 'EUR'",
    "transaction_id": "transaction_id = event_id",
    "reverses_event_id": "reverses_event_id = event_id",
    "refunds_event_id": "refunds_event_id = event_id",
    "external_id": "external_id = ''",
    "metadata": """metadata = '{"plan": "free"}'""",
    "hash": "hash = sha256(hash)",
    "an amount held": "held_minor = 100",
    "a hold": "hold_id = event_id",
    "an expiry": "hold_expires_at = now()",
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=list(CHANGES))
async def test_a_changed_event_is_found(chained: Connection, change: str) -> None:
    head = await client.head(chained)
    await tamper(chained, f"UPDATE ledger_events SET {change} WHERE seq = 14")
    await assert_both_find(chained, head, 14)


CHANGES_OF_HOLDS = {
    "which hold": (25, "hold_id = event_id"),
    "no hold": (25, "hold_id = NULL"),
    "how much": (25, "held_minor = held_minor + 1"),
    "nothing": (21, "held_minor = NULL"),
    "a later expiry": (21, "hold_expires_at = hold_expires_at + interval '1 microsecond'"),
    "no expiry": (21, "hold_expires_at = NULL"),
    "some expiry": (22, "hold_expires_at = now()"),
    "an event like any other": (25, "hold_id = NULL, held_minor = NULL, hold_expires_at = NULL"),
}


@pytest.mark.parametrize(("seq", "change"), CHANGES_OF_HOLDS.values(), ids=list(CHANGES_OF_HOLDS))
async def test_a_changed_hold_is_found(held: Connection, seq: int, change: str) -> None:
    head = await client.head(held)
    await held.execute("ALTER TABLE ledger_events DROP CONSTRAINT ledger_events_sound")
    await tamper(held, f"UPDATE ledger_events SET {change} WHERE seq = {seq}")
    await assert_both_find(held, head, seq)


async def test_a_changed_event_with_a_hash_that_fits_it_is_found_at_the_next(
    chained: Connection,
) -> None:
    head = await client.head(chained)
    await tamper(chained, "UPDATE ledger_events SET amount_minor = 1000 WHERE seq = 14")
    await tamper(chained, rehash(14, 14))
    await assert_both_find(chained, head, 15)


async def test_exchanged_events_are_found(chained: Connection) -> None:
    head = await client.head(chained)
    await tamper(chained, "UPDATE ledger_events SET seq = 33 - seq WHERE seq IN (16, 17)")
    found = await client.verify(chained)
    assert (found.ok, found.reason) == (
        False,
        "an event is missing, or out of order, before this one",
    )
    assert find_fault(await export(chained), head.seq, head.hash) == Fault(
        17, "an event is missing"
    )


async def test_a_deleted_event_is_found(chained: Connection) -> None:
    head = await client.head(chained)
    await tamper(chained, "DELETE FROM ledger_events WHERE seq = 14")
    await assert_both_find(chained, head, 15)


async def test_a_deleted_beginning_is_found(chained: Connection) -> None:
    head = await client.head(chained)
    await tamper(chained, "DELETE FROM ledger_events WHERE seq <= 3")
    await assert_both_find(chained, head, 4)


async def test_a_deleted_event_is_found_when_the_rest_is_numbered_anew(chained: Connection) -> None:
    head = await client.head(chained)
    await tamper(chained, "DELETE FROM ledger_events WHERE seq = 14")
    await tamper(chained, "UPDATE ledger_events SET seq = seq - 1 WHERE seq > 14")
    await assert_both_find(chained, head, 14)


async def test_a_truncated_end_is_found(chained: Connection) -> None:
    head = await client.head(chained)
    await tamper(chained, "DELETE FROM ledger_events WHERE seq > 17")
    await assert_both_find(chained, head, 18)


async def test_an_emptied_ledger_is_found(chained: Connection) -> None:
    head = await client.head(chained)
    await tamper(chained, "DELETE FROM ledger_events")
    await assert_both_find(chained, head, 1)


async def test_a_truncated_end_with_a_head_to_fit_is_found_by_a_head_kept_outside(
    chained: Connection,
) -> None:
    kept = await client.head(chained)
    await tamper(chained, "DELETE FROM ledger_events WHERE seq > 17")
    await tamper(chained, HEAD_TO_FIT)
    # Inside the database nothing is wrong any more: it is a shorter ledger.
    assert (await client.verify(chained)).ok
    assert await client.hash_at(chained, kept.seq) != kept.hash
    assert find_fault(await export(chained), kept.seq, kept.hash) == Fault(18, "the end is missing")


async def test_a_ledger_rewritten_to_its_end_is_found_by_a_head_kept_outside(
    chained: Connection,
) -> None:
    kept = await client.head(chained)
    await tamper(chained, "UPDATE ledger_events SET amount_minor = 1000 WHERE seq = 14")
    for seq in range(14, 21):
        await tamper(chained, rehash(seq, seq))
    await tamper(chained, HEAD_TO_FIT)
    # And it still is when it has grown since.
    await append(chained, [append_request(new_event(), new_event())])
    assert (await client.verify(chained)).ok
    assert await client.hash_at(chained, kept.seq) != kept.hash
    assert find_fault(await export(chained), kept.seq, kept.hash) == Fault(
        20, "the ledger was another"
    )


async def test_a_head_that_is_not_the_ledgers_is_found(chained: Connection) -> None:
    await chained.execute("UPDATE ledger_head SET last_hash = sha256(last_hash)")
    found = await client.verify(chained)
    assert (found.ok, found.first_bad_seq, found.reason) == (
        False,
        20,
        "the last hash is not the head's",
    )


HEADS = {
    "id": "last_event_id = uuid_v7(0, 0)",
    "time": "last_recorded_at = last_recorded_at + interval '1 hour'",
}


@pytest.mark.parametrize("what", HEADS)
async def test_a_head_that_would_mislead_the_next_append_is_found(
    chained: Connection, what: str
) -> None:
    await chained.execute(f"UPDATE ledger_head SET {HEADS[what]}")
    for from_seq in (1, 15):
        found = await client.verify(chained, from_seq)
        assert (found.ok, found.first_bad_seq) == (False, 20)
        assert found.reason == f"the last event's {what} is not the head's"
    # Only a range with an open end holds the end to account.
    assert (await client.verify(chained, 1, 19)).ok


@pytest.mark.parametrize("what", HEADS.values(), ids=list(HEADS))
async def test_the_head_of_an_empty_ledger_counts_too(connection: Connection, what: str) -> None:
    await connection.execute(f"UPDATE ledger_head SET {what}")
    assert not (await client.verify(connection)).ok


@pytest.mark.parametrize("seq", [-7, 0, 5, 20])
@pytest.mark.parametrize("from_seq", [1, 2, 15, 21])
async def test_a_forged_event_is_found_whatever_seq_it_claims(
    chained: Connection, from_seq: int, seq: int
) -> None:
    await chained.execute("ALTER TABLE ledger_events DROP CONSTRAINT ledger_events_sound")
    # It stands where a projection reads on.
    await chained.execute(forged(seq))
    found = await client.verify(chained, from_seq)
    assert (found.ok, found.first_bad_seq) == (False, seq)


async def test_a_forged_event_before_the_first_is_found(chained: Connection) -> None:
    head = await client.head(chained)
    await tamper(
        chained,
        "UPDATE ledger_events SET event_id = uuid_floor(date_trunc('year', now(), 'UTC'))"
        " WHERE seq = 20",
    )
    assert (await client.verify(chained)).first_bad_seq == 1
    assert find_fault(await export(chained), head.seq, head.hash) is not None


@pytest.mark.parametrize("seq", [-7, 0])
async def test_no_seq_is_below_one(chained: Connection, seq: int) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        await chained.execute(forged(seq))


async def test_an_event_without_a_value_it_must_have_is_found(chained: Connection) -> None:
    await chained.execute("ALTER TABLE ledger_events ALTER COLUMN currency DROP NOT NULL")
    await tamper(chained, "UPDATE ledger_events SET currency = NULL WHERE seq = 14")
    assert (await client.verify(chained)).first_bad_seq == 14


@pytest.mark.parametrize("column", ["transaction_time", "recorded_at", "hold_expires_at"])
async def test_a_time_that_has_no_bytes_is_found(chained: Connection, column: str) -> None:
    await tamper(chained, f"UPDATE ledger_events SET {column} = 'infinity' WHERE seq = 14")
    assert (await client.verify(chained)).first_bad_seq == 14


SIDE_TABLES = {
    "an external id is missing": (
        "DELETE FROM external_ids WHERE external_id = 'NULL'",
        5,
        "external_ids lacks this event's external id",
    ),
    "an external id of no event": (
        "INSERT INTO external_ids VALUES ('mine', gen_random_uuid())",
        None,
        "external_ids has a row that is no event's",
    ),
    "an external id that its event does not have": (
        "INSERT INTO external_ids SELECT 'mine', event_id FROM ledger_events WHERE seq = 3",
        3,
        "external_ids has a row that is no event's",
    ),
    "an external id of another event": (
        "UPDATE external_ids SET event_id = uuid_v7(0, 0) WHERE external_id = 'NULL'",
        5,
        "external_ids lacks this event's external id",
    ),
    "another external id": (
        "UPDATE external_ids SET external_id = 'mine' WHERE external_id = 'NULL'",
        5,
        None,
    ),
    "a reversal is missing": (
        "DELETE FROM reversals USING event_at(11) AS e WHERE reversals.event_id = e.event_id",
        11,
        "reversals lacks this reversal",
    ),
    "a reversal of no event": (
        "INSERT INTO reversals VALUES (gen_random_uuid(), gen_random_uuid())",
        None,
        "reversals has a row that is no event's",
    ),
    "a reversal by an event that is none": (
        "INSERT INTO reversals SELECT event_id, event_id FROM ledger_events WHERE seq = 4",
        4,
        "reversals has a row that is no event's",
    ),
}


@pytest.mark.parametrize(("change", "seq", "reason"), SIDE_TABLES.values(), ids=list(SIDE_TABLES))
async def test_uniqueness_tables_are_compared_with_the_events(
    chained: Connection, change: str, seq: int | None, reason: str | None
) -> None:
    await tamper(chained, change)
    found = await client.verify(chained)
    assert (found.ok, found.first_bad_seq, found.events_checked) == (False, seq, 20)
    assert found.reason == reason or reason is None
    # It is the affair of the whole ledger, and not of a part.
    assert (await client.verify(chained, 2)).ok
    assert (await client.verify(chained, 1, 19)).ok


LACKS_HOLD = "holds lacks this event, or has another expiry"
NO_HOLD = "holds has a row that is no event's"
HOLD = "hold_id = (SELECT event_id FROM event_at({}))"
HOLDS = {
    "a hold is missing": ("DELETE FROM holds WHERE " + HOLD.format(21), 21, LACKS_HOLD),
    "a hold of no event": ("INSERT INTO holds VALUES (gen_random_uuid())", None, NO_HOLD),
    "a hold of an event that is none": (
        "INSERT INTO holds SELECT event_id FROM event_at(4)",
        4,
        NO_HOLD,
    ),
    "a later expiry": (
        "UPDATE holds SET expires_at = expires_at + interval '1 hour' WHERE " + HOLD.format(21),
        21,
        LACKS_HOLD,
    ),
    "no expiry": ("UPDATE holds SET expires_at = NULL WHERE " + HOLD.format(21), 21, LACKS_HOLD),
    "a settlement is missing": (
        "UPDATE holds SET settled_event_id = NULL WHERE " + HOLD.format(22),
        25,
        LACKS_HOLD,
    ),
    "a settlement by no event": (
        "UPDATE holds SET settled_event_id = gen_random_uuid() WHERE " + HOLD.format(21),
        None,
        NO_HOLD,
    ),
    "a settlement by another event": (
        "UPDATE holds SET settled_event_id = e.event_id FROM event_at(28) AS e WHERE "
        + HOLD.format(22),
        25,
        LACKS_HOLD,
    ),
}


@pytest.mark.parametrize(("change", "seq", "reason"), HOLDS.values(), ids=list(HOLDS))
async def test_hold_settlements_are_compared_with_the_events(
    held: Connection, change: str, seq: int | None, reason: str
) -> None:
    await held.execute(change)
    found = await client.verify(held)
    assert (found.ok, found.first_bad_seq, found.reason) == (False, seq, reason)
    assert (await client.verify(held, 2)).ok


async def test_events_past_the_head_are_found(chained: Connection) -> None:
    await chained.execute(HEAD_TO_FIT + " - 2")
    for from_seq in (1, 10, 19):
        found = await client.verify(chained, from_seq)
        assert (found.ok, found.first_bad_seq) == (False, 19)


@pytest.mark.parametrize(
    ("from_seq", "to_seq", "checked"),
    [(1, 20, 20), (5, 9, 5), (20, None, 1), (21, None, 0), (9, 5, 0), (15, 10**9, 6), (0, 3, 3)],
)
async def test_a_part_of_the_chain_verifies_on_its_own(
    chained: Connection, from_seq: int, to_seq: int | None, checked: int
) -> None:
    found = await client.verify(chained, from_seq, to_seq)
    assert (found.ok, found.events_checked, found.reason) == (True, checked, None)


async def test_a_fault_outside_the_range_is_not_reported(chained: Connection) -> None:
    await tamper(chained, "UPDATE ledger_events SET amount_minor = 1000 WHERE seq = 10")
    assert (await client.verify(chained, 11)).ok
    assert (await client.verify(chained, 1, 9)).ok
    assert (await client.verify(chained, 8, 12)).first_bad_seq == 10


async def test_a_part_whose_event_before_is_missing_does_not_verify(chained: Connection) -> None:
    await tamper(chained, "DELETE FROM ledger_events WHERE seq = 10")
    assert not (await client.verify(chained, 11)).ok


async def test_a_part_whose_last_event_is_missing_does_not_verify(chained: Connection) -> None:
    await tamper(chained, "DELETE FROM ledger_events WHERE seq = 10")
    found = await client.verify(chained, 5, 10)
    assert (found.ok, found.first_bad_seq) == (False, 10)


async def test_a_part_beyond_the_end_does_not_verify(chained: Connection) -> None:
    # The ledger may have had this seq once, and has lost its end since.
    found = await client.verify(chained, 22)
    assert (found.ok, found.first_bad_seq) == (False, 21)


async def test_from_the_middle_on_the_chain_and_the_end_are_checked(chained: Connection) -> None:
    await tamper(chained, "DELETE FROM ledger_events WHERE seq > 17")
    found = await client.verify(chained, 15)
    assert (found.ok, found.first_bad_seq, found.events_checked) == (False, 18, 3)


# The worked examples of shared/README.md.
PLAIN_EXAMPLE: Row = {
    "seq": "1",
    "event_id": "019ca945-0afa-7000-8000-0001c0a8d5e1",
    "account_id": "cus_42",
    "transaction_time": "2026-03-01 12:00:00+00",
    "recorded_at": "2026-03-01 12:00:00.25+00",
    "event_type": "CHARGE",
    "amount_minor": "2000",
    "currency": "USD",
    "transaction_id": None,
    "reverses_event_id": None,
    "refunds_event_id": None,
    "external_id": "ch_1",
    "metadata": '{"plan": "pro"}',
    "hold_id": None,
    "held_minor": None,
    "hold_expires_at": None,
}
PLAIN_BYTES = (
    "0000000000000001019ca9450afa700080000001c0a8d5e100064bf535af100000064bf535b2e090"
    "00000000000007d05553440000000000000000000000000000000000000000000000000000000000"
    "00000000000000000000000000000000000000000000066375735f34320000000643484152474500"
    "00000463685f317b22706c616e223a202270726f227d"
)
PLAIN_HASH = "55131ea6582bf545ecda97d24dc07dad722fc3efc910eb26b349d0949ad896cb"
HOLD_EXAMPLE: Row = {
    "seq": "2",
    "event_id": "019ca945-0de8-7000-8000-0002c0a8d5e1",
    "account_id": "cus_42",
    "transaction_time": "2026-03-01 12:00:01+00",
    "recorded_at": "2026-03-01 12:00:01+00",
    "event_type": "HOLD",
    "amount_minor": "0",
    "currency": "USD",
    "transaction_id": None,
    "reverses_event_id": None,
    "refunds_event_id": None,
    "external_id": None,
    "metadata": "{}",
    "hold_id": "019ca945-0de8-7000-8000-0002c0a8d5e1",
    "held_minor": "300",
    "hold_expires_at": "2026-03-08 12:00:00+00",
}
HOLD_BYTES = (
    "0000000000000002019ca9450de8700080000002c0a8d5e100064bf535be524000064bf535be5240"
    "00000000000000005553440000000000000000000000000000000000000000000000000000000000"
    "00000000000000000000000000000000000000000000066375735f343200000004484f4c44ffffff"
    "ff00019ca9450de8700080000002c0a8d5e1000000000000012c00064c820692b0007b7d"
)
HOLD_HASH = "b6fc0f947155bcac892d2a702d34a27d12e781c01861ae4539d6f2867304f50b"


@pytest.mark.parametrize(
    ("example", "before", "bytes_hex", "hash_hex"),
    [
        (PLAIN_EXAMPLE, bytes(32).hex(), PLAIN_BYTES, PLAIN_HASH),
        (HOLD_EXAMPLE, PLAIN_HASH, HOLD_BYTES, HOLD_HASH),
    ],
    ids=["plain", "hold"],
)
async def test_the_worked_examples_are_right(
    connection: Connection, example: Row, before: str, bytes_hex: str, hash_hex: str
) -> None:
    casts = (
        "$1::text::bigint, $2::text::uuid, $3, $4::text::timestamptz, $5::text::timestamptz, $6,"
        " $7::text::bigint, $8, $9::text::uuid, $10::text::uuid, $11::text::uuid, $12,"
        " $13::text::jsonb, $14::text::uuid, $15::text::bigint, $16::text::timestamptz"
    )
    written = await connection.fetchval(f"SELECT event_bytes({casts})", *example.values())
    assert written.hex() == event_bytes(example).hex() == bytes_hex
    assert sha256(bytes.fromhex(before) + written).hexdigest() == hash_hex


HEAD_TO_FIT = """
    UPDATE ledger_head AS h
    SET last_seq = e.seq, last_event_id = e.event_id, last_hash = e.hash
    FROM ledger_events AS e
    WHERE e.seq = (SELECT max(seq) FROM ledger_events)
"""


def rehash(seq: int, before: int) -> str:
    """Make an event's hash right for its row and for the hash before it."""
    return f"""
        UPDATE ledger_events AS e
        SET hash = sha256(p.hash || event_bytes(
            e.seq, e.event_id, e.account_id, e.transaction_time, e.recorded_at, e.event_type,
            e.amount_minor, e.currency, e.transaction_id, e.reverses_event_id, e.refunds_event_id,
            e.external_id, e.metadata, e.hold_id, e.held_minor, e.hold_expires_at
        ))
        FROM ledger_events AS p
        WHERE e.seq = {seq} AND p.seq = {before} - 1
    """


def forged(seq: int) -> str:
    """Write an event past the last one, with this seq."""
    return f"""
        INSERT INTO ledger_events
        SELECT uuid_v7((extract(EPOCH FROM recorded_at) * 1000)::bigint + 10000, 0), {seq},
            account_id, transaction_time, recorded_at, event_type, 1000, currency, transaction_id,
            reverses_event_id, refunds_event_id, external_id, metadata, hash
        FROM ledger_events WHERE seq = 20
    """


async def export(connection: Connection) -> list[Row]:
    """The ledger as COPY writes it; a plain pg_dump holds the same lines."""
    target = io.BytesIO()
    await connection.copy_from_query(
        "SELECT * FROM ledger_events ORDER BY event_id", output=target, format="text", header=True
    )
    return read_copy(target.getvalue())


async def events(connection: Connection) -> list[client.Record]:
    return await search.events(connection, rows_max=1000)


async def assert_both_find(connection: Connection, head: Head, seq: int) -> None:
    """The SQL and the outside verifier name the same event."""
    found = await client.verify(connection)
    assert (found.ok, found.first_bad_seq) == (False, seq)
    fault = find_fault(await export(connection), head.seq, head.hash)
    assert fault is not None
    assert fault.seq == seq


async def test_each_part_of_verify_answers_alone(held: Connection) -> None:
    await held.execute("DELETE FROM holds WHERE settled_event_id IS NULL")
    unique = await held.fetchrow("SELECT * FROM check_unique()")
    assert tuple(unique or ()) == (21, "holds lacks this event, or has another expiry")
    statement = "SELECT check_head(h) FROM ledger_head AS h"
    assert await held.fetchval(statement) is None
    await held.execute("UPDATE ledger_head SET last_hash = decode(repeat('01', 32), 'hex')")
    assert await held.fetchval(statement) == "the last hash is not the head's"
    for to_seq, is_open, answer in (
        (30, True, (30, None, None)),
        (31, True, (30, 31, "the ledger does not end where its head says")),
        (31, False, (30, 31, "the range ends too early")),
    ):
        chain = await held.fetchrow("SELECT * FROM check_chain(1, $1, $2)", to_seq, is_open)
        assert tuple(chain or ()) == answer
