"""Leases and the relay: what a process may not have announced is found, whatever happens to it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import cast
from uuid import UUID

import pytest

from freehold.contracts.messages import Appended
from freehold.ledger.client import Record
from freehold.messaging.broker import Broker, LinkError
from freehold.observability.traces import Causes
from freehold.tenants.catalog import Catalog
from freehold.tenants.connections import TenantConnections
from freehold.tenants.directory import Directory
from freehold.tenants.homes import Home
from freehold_ingest.announcement_leases import AnnouncementLeases
from freehold_ingest.announcer import Announcer, Growth
from freehold_ingest.relay import Relay
from integration.query.tenants import Tenant
from support.builders import new_event
from support.waiting import eventually


class Bell:
    """Stands for the broker: keeps what was rung, or calls `ring`."""

    def __init__(self, ring: Callable[[], Awaitable[None]] | None = None) -> None:
        self.rung: list[Appended] = []
        self.published: list[Appended] = []
        self._ring = ring

    async def ring(self, doorbell: Appended, _: Causes) -> None:
        if self._ring is not None:
            await self._ring()
        self.rung.append(doorbell)

    async def publish(self, _: str, doorbell: Appended, *, mandatory: bool, causes: Causes) -> None:
        assert not mandatory
        assert not causes
        self.published.append(doorbell)


def announcer_of(bell: Bell) -> Announcer:
    return Announcer(cast("Broker", bell))


def leases_of(catalog: Catalog) -> AnnouncementLeases:
    # Without a length: each process takes all others for dead.
    return AnnouncementLeases(catalog, idle_s=60, lease_s=0)


async def leased(catalog: Catalog) -> list[str]:
    rows: list[Record] = await catalog.fetch("SELECT tenant_id FROM announcement_leases")
    return sorted(row["tenant_id"] for row in rows)


async def test_another_process_takes_over_the_tenants_of_a_dead_one(
    catalog: Catalog, directory: Directory, connections: TenantConnections, tenants: list[Tenant]
) -> None:
    dead = leases_of(catalog)
    await dead.ensure(tenants[0].tenant_id)
    (event,) = await tenants[0].append(new_event())
    bell = Bell()
    announcer = announcer_of(bell)
    relay = Relay(leases_of(catalog), announcer, directory, connections, again_after_s=0.2)
    await relay.renew()
    assert await relay.look_around()
    # What the dead process sent last may be committed only now.
    (late,) = await tenants[0].append(new_event())
    assert not relay.settled
    await asyncio.sleep(0.2)
    assert not await relay.look_around()
    assert await announcer.close(5)
    assert {doorbell.subject for doorbell in bell.rung} == {tenants[0].tenant_id}
    assert [doorbell.data.last_event_id for doorbell in bell.rung] == [
        event["event_id"],
        late["event_id"],
    ]
    assert relay.settled


async def test_a_lease_taken_over_stays_until_the_second_look(
    catalog: Catalog, directory: Directory, connections: TenantConnections, tenants: list[Tenant]
) -> None:
    await leases_of(catalog).ensure(tenants[0].tenant_id)
    (event,) = await tenants[0].append(new_event())
    bell = Bell()
    announcer = announcer_of(bell)
    leases = AnnouncementLeases(catalog, idle_s=0, lease_s=0)
    relay = Relay(leases, announcer, directory, connections, again_after_s=0.5)
    await relay.renew()
    assert await relay.look_around()

    async def rung() -> bool:
        return bool(bell.rung) and not announcer.busy(tenants[0].tenant_id)

    await eventually(rung, "the first look is announced")
    await relay.renew()
    assert await leased(catalog) == [tenants[0].tenant_id]
    await asyncio.sleep(0.5)
    await relay.look_around()
    assert await announcer.close(5)
    await relay.renew()
    assert await leased(catalog) == []
    assert bell.rung[0].data.last_event_id == event["event_id"]


async def test_a_process_wrongly_declared_dead_leases_its_tenants_again(
    catalog: Catalog, tenants: list[Tenant]
) -> None:
    one, two, three = (tenant.tenant_id for tenant in tenants)
    alive, other = leases_of(catalog), leases_of(catalog)
    await alive.ensure(one)
    await alive.ensure(two)
    await other.renew()
    assert sorted(await other.take_over()) == sorted([one, two])
    await other.resign()
    assert await leased(catalog) == []
    # The next write is for a tenant who is new to it, and happens to come before the next renewal.
    await alive.ensure(three)
    await alive.renew()
    assert await leased(catalog) == sorted([one, two, three])


async def test_an_unreadable_tenant_delays_no_other(
    catalog: Catalog,
    directory: Directory,
    connections: TenantConnections,
    tenants: list[Tenant],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bad, good = tenants[0].tenant_id, tenants[1].tenant_id
    await tenants[1].append(new_event())
    find = directory.home

    async def home(tenant_id: str) -> Home | None:
        if tenant_id == bad:
            raise RuntimeError("unexpected")
        return await find(tenant_id)

    monkeypatch.setattr(directory, "home", home)
    bell = Bell()
    announcer = announcer_of(bell)
    relay = Relay(leases_of(catalog), announcer, directory, connections, again_after_s=0.2)
    relay.look_at(bad)
    relay.look_at(good)
    await relay.renew()
    await relay.look_around()
    assert await announcer.close(5)
    assert [doorbell.subject for doorbell in bell.rung] == [good]
    assert not relay.settled


async def test_an_unconfirmed_doorbell_does_not_count_as_announced() -> None:
    async def never() -> None:
        await asyncio.Event().wait()

    announcer = announcer_of(Bell(never))
    announcer.announce("acme", _growth(1))
    await asyncio.sleep(0)
    assert not await announcer.close(0.05)


async def test_a_doorbell_is_rung_again_until_it_is_confirmed() -> None:
    faults = [LinkError("unknown"), RuntimeError("unexpected")]

    async def fail_twice() -> None:
        if faults:
            raise faults.pop()

    bell = Bell(fail_twice)
    announcer = announcer_of(bell)
    for seq in (1, 2, 3):
        announcer.announce("acme", _growth(seq))
    assert await announcer.close(10)
    assert [(ring.data.first_seq, ring.data.last_seq) for ring in bell.rung] == [(1, 3)]


def _growth(seq: int) -> Growth:
    return Growth(1, seq, seq, UUID(int=seq), bytes(32))
