"""What a call reads does not grow with the ledger: every row is found by exactly one index.

Counted, not timed: Postgres keeps the number of rows that a session has read of each table, and of
entries of each index. Plans are made once a session, so the one that counts has made its own while
there was nothing in the ledger.
"""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from freehold.ledger import client, holds, rules, search
from freehold.ledger.append import Addition, AppendRequest, Capture, Outcome, Release
from freehold.ledger.client import Connection
from support.builders import append, append_request, new_event, new_hold, undo
from support.ledgers import Ledger

EVENTS = 50_000
ACCOUNTS = 5_000
READS_MAX = 50
HOUR = timedelta(hours=1)
READ = """
    SELECT c.relname, pg_stat_get_xact_tuples_returned(c.oid)
        + CASE c.relkind WHEN 'i' THEN 0 ELSE pg_stat_get_xact_tuples_fetched(c.oid) END AS read
    FROM pg_class AS c
    WHERE c.relnamespace = 'ledger'::regnamespace AND c.relkind IN ('r', 'i')
"""

RULES_AND_KEYS = """
    INSERT INTO account_limits
    SELECT 'lim_' || n, 'USD', 0 FROM generate_series(10, 4999) AS n;
    INSERT INTO event_types
    SELECT 'T' || n, 'any', '' FROM generate_series(1, 999) AS n;
    INSERT INTO idempotency_keys
    SELECT n::text, '', uuid_v7(0, n), uuid_v7(0, n), now() + interval '1 day'
    FROM generate_series(1, 50000) AS n;
"""

_numbers = count()


class Reads:
    """Counts what a session reads in one call."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.of_last: Counter[str] = Counter()

    @asynccontextmanager
    async def counted(self) -> AsyncIterator[None]:
        async with self.connection.transaction():
            before = await self._read()
            yield
            after = await self._read()
        after.subtract(before)
        self.of_last = +after

    async def _read(self) -> Counter[str]:
        rows = await self.connection.fetch(READ)
        return Counter({row["relname"]: row["read"] for row in rows})


async def created(connection: Connection, *requests: AppendRequest) -> None:
    for answer in await append(connection, requests):
        assert answer.outcome is Outcome.CREATED, answer.outcome


class Calls:
    """One call of each kind, each on things of its own, by the session that is watched."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.reads = Reads(connection)

    async def make_all(self) -> dict[str, Counter[str]]:
        """Make every kind of call once, and say what each has read."""
        return {
            "an event": await self._append(new_event(external_id=self._name())),
            "a replay": await self._replay(),
            "taken external id": await self._append_taken(),
            "a reversal": await self._reverse(),
            "a refund": await self._refund(-2),
            "too large a refund": await self._refund(-8),
            "a refunded event": await self._read_refunded(),
            "a transaction": await self._transact(),
            "a hold": await self._append(new_hold("lim_1", expires_at=datetime.now(UTC) + HOUR)),
            "a capture": await self._settle(Capture),
            "a release": await self._settle(Release),
            "a refusal": await self._refuse(),
            "a limit": await self._count(rules.limit_account(self.connection, "lim_2", "USD", 0)),
            "no expiry": await self._count(client.expire_holds(self.connection)),
            "an expiry": await self._expire(),
            "a projection": await self._project(),
            "nothing to forget": await self._count(client.forget_expired_keys(self.connection, 10)),
        }

    def _name(self) -> str:
        return f"own_{next(_numbers)}"

    async def _count(self, work: Awaitable[object]) -> Counter[str]:
        async with self.reads.counted():
            await work
        return self.reads.of_last

    async def _append(self, *additions: Addition, transaction: bool = False) -> Counter[str]:
        request = append_request(*additions, transaction=transaction)
        return await self._count(created(self.connection, request))

    async def _replay(self) -> Counter[str]:
        request = append_request(new_event(self._name()))
        await created(self.connection, request)
        return await self._count(append(self.connection, [request]))

    async def _append_taken(self) -> Counter[str]:
        event = new_event(external_id=self._name())
        await created(self.connection, append_request(event))
        return await self._count(append(self.connection, [append_request(event)]))

    async def _reverse(self) -> Counter[str]:
        (answer,) = await append(self.connection, [append_request(new_event("lim_3", 5))])
        return await self._append(undo(answer.events[0]["event_id"]))

    async def _refund(self, amount_minor: int) -> Counter[str]:
        (answer,) = await append(self.connection, [append_request(new_event("lim_3", 9))])
        paid = answer.events[0]["event_id"]
        refund = new_event("lim_3", amount_minor, refunds=paid)
        await created(self.connection, append_request(refund))
        return await self._count(append(self.connection, [append_request(refund)]))

    async def _read_refunded(self) -> Counter[str]:
        (answer,) = await append(self.connection, [append_request(new_event("lim_3", 9))])
        paid = answer.events[0]["event_id"]
        await created(self.connection, append_request(new_event("lim_3", -1, refunds=paid)))
        return await self._count(client.event_with_undoing(self.connection, paid, refunds_max=100))

    async def _transact(self) -> Counter[str]:
        return await self._append(new_event("lim_4", -1), new_event("lim_5", 1), transaction=True)

    async def _settle(self, settlement: type[Capture | Release]) -> Counter[str]:
        (answer,) = await append(self.connection, [append_request(new_hold("lim_6"))])
        return await self._append(settlement(answer.events[0]["hold_id"]))

    async def _refuse(self) -> Counter[str]:
        request = append_request(new_event("lim_7", -(10**12)))
        return await self._count(append(self.connection, [request]))

    async def _expire(self) -> Counter[str]:
        soon = datetime.now(UTC) + HOUR
        (answer,) = await append(
            self.connection, [append_request(new_hold("lim_8", expires_at=soon))]
        )
        hold_id = answer.events[0]["hold_id"]
        # Only this one is due: time is turned back for its expiry, and not on for all.
        await self.connection.execute(
            "UPDATE holds SET expires_at = now() WHERE hold_id = $1", hold_id
        )
        await self.connection.execute("UPDATE ledger_settings SET next_hold_expiry = now()")
        reads = await self._append(new_event("lim_8", 1))
        assert len(await holds.hold_events(self.connection, hold_id)) == 2
        return reads

    async def _project(self) -> Counter[str]:
        await client.project(self.connection, 10**6)
        await created(self.connection, append_request(new_event(self._name()), new_event("lim_9")))
        return await self._count(client.project(self.connection, 10))


async def fill(connection: Connection) -> None:
    """Make the ledger large: limited accounts, pending holds, reversals, keys and types."""
    events = [
        new_event(f"lim_{place % ACCOUNTS}", 10, external_id=f"e{place}") for place in range(EVENTS)
    ]
    before = (await client.head(connection)).event_id
    for place in range(0, EVENTS, 2 * ACCOUNTS):
        await created(connection, append_request(*events[place : place + 2 * ACCOUNTS]))
    targets = await search.events(connection, after=before, rows_max=ACCOUNTS)
    await created(connection, *(append_request(undo(row["event_id"])) for row in targets))
    later = datetime.now(UTC) + 5 * HOUR
    holds = [new_hold(f"lim_{place}", 1, expires_at=later) for place in range(ACCOUNTS)]
    placed = await append(connection, list(map(append_request, holds)))
    hold_ids = [answer.events[0]["hold_id"] for answer in placed]
    await created(
        connection, *(append_request(Release(hold_id)) for hold_id in hold_ids[: ACCOUNTS // 2])
    )
    await connection.execute(RULES_AND_KEYS)
    # The projector is not quite up to date.
    await client.project(connection, EVENTS)


@pytest.mark.parametrize("vacuumed", [True, False], ids=["as a tenant's", "never vacuumed"])
async def test_no_call_reads_more_because_the_ledger_is_large(
    ledger: Ledger, vacuumed: bool
) -> None:
    async with ledger.connection() as connection, ledger.connection() as other:
        if vacuumed:
            # A tenant's database is a copy of one that was vacuumed when it was empty.
            await connection.execute("VACUUM (FREEZE, ANALYZE)")
        for place in range(10):
            await rules.limit_account(connection, f"lim_{place}", "USD", -1000)
        await rules.declare_event_type(connection, "CHARGE", "any", "")
        calls = Calls(connection)
        await calls.make_all()
        await fill(other)
        assert {
            name: read for name, read in (await calls.make_all()).items() if too_much(read)
        } == {}
        # Nor when all plans are made anew, with what is known of the tables now.
        await other.execute("ANALYZE")
        assert {
            name: read for name, read in (await calls.make_all()).items() if too_much(read)
        } == {}


def too_much(read: Counter[str]) -> bool:
    return read.total() > READS_MAX
