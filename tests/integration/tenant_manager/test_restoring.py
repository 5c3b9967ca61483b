"""A tenant is restored to any second, from what is in storage; nobody else notices."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from freehold.contracts.problems import unavailable
from freehold.ledger import client, rules
from freehold.ledger.appending import AppendRequest, Outcome
from freehold.ledger.client import Connection
from freehold.ledger.schema import LEDGER_VERSION
from freehold.security.sealing import KeyRing
from freehold.tenancy.homes import Home
from freehold_tenant_manager.archive.segments import LEDGER_VERSION_MIN
from freehold_tenant_manager.catalog.credentials import find_home, new_passwords, seal_passwords
from freehold_tenant_manager.catalog.former_databases import add_making
from freehold_tenant_manager.dumps.dumping import Dumping
from freehold_tenant_manager.parts import Parts
from freehold_tenant_manager.provisioning.tenant_databases import new_database_name
from integration.tenant_manager.buckets import BUCKET, bucket_settings
from integration.tenant_manager.installation import (
    CREDENTIAL_KEYS,
    Installation,
    client_of,
    connected,
    manager_of,
    new_tenant,
    running,
)
from support.builders import append, append_request, new_event, new_hold
from support.waiting import eventually

KEY_RING = KeyRing(CREDENTIAL_KEYS)


@pytest.fixture
def parts(app: FastAPI) -> Parts:
    return manager_of(app).parts


@pytest.fixture
async def tenant_id(manager: httpx.AsyncClient) -> str:
    return await made(manager)


async def made(manager: httpx.AsyncClient) -> str:
    wanted = new_tenant()
    assert (await manager.post("/v1/tenants", json=wanted)).status_code == 201
    return str(wanted["tenant_id"])


async def home_of(parts: Parts, tenant_id: str, service: str) -> Home:
    async with parts.catalog.connection() as connection:
        home = await find_home(connection, KEY_RING, tenant_id, service)
    assert home is not None
    return home


@asynccontextmanager
async def inside(
    parts: Parts, tenant_id: str, service: str = "ingest"
) -> AsyncIterator[Connection]:
    """Have a connection to the tenant's ledger, wherever it is now."""
    async with connected(await home_of(parts, tenant_id, service)) as connection:
        yield connection


async def grow(parts: Parts, tenant_id: str, *requests: AppendRequest) -> datetime:
    """Append, and say when that was; nothing else happens in that same microsecond."""
    async with inside(parts, tenant_id) as connection:
        await append(connection, requests or [append_request(new_event())])
        instant: datetime = await connection.fetchval("SELECT clock_timestamp()")
    await asyncio.sleep(0.002)
    return instant


async def archive(parts: Parts, tenant_id: str) -> None:
    await parts.restoration.archiver.archive(tenant_id)


async def back_up(manager: httpx.AsyncClient, tenant_id: str) -> str:
    """Make a backup as the schedule does."""
    answer = await manager.post(f"/v1/tenants/{tenant_id}/backups")
    assert answer.status_code == 202, answer.text
    return str((await end_of(manager, answer))["result"]["backup_id"])


async def operated(manager: httpx.AsyncClient, tenant_id: str, **wanted: Any) -> dict[str, Any]:
    """Restore, and wait for how it ends."""
    answer = await manager.post(f"/v1/tenants/{tenant_id}/restores", json=wanted)
    assert answer.status_code == 202, answer.text
    return await end_of(manager, answer)


async def end_of(manager: httpx.AsyncClient, answer: httpx.Response) -> dict[str, Any]:
    path = f"/v1/operations/{answer.json()['operation_id']}"
    shown: dict[str, Any] = {}

    async def has_ended() -> bool:
        nonlocal shown
        shown = (await manager.get(path)).json()
        return shown["finished_at"] is not None

    try:
        await eventually(has_ended, "the operation ends")
    except AssertionError as error:
        raise AssertionError(shown) from error
    return shown


async def restored(manager: httpx.AsyncClient, tenant_id: str, **wanted: Any) -> dict[str, Any]:
    shown = await operated(manager, tenant_id, **wanted)
    assert shown["status"] == "succeeded", shown
    result: dict[str, Any] = shown["result"]
    return result


async def amounts(parts: Parts, tenant_id: str) -> list[int]:
    async with inside(parts, tenant_id, "auditor") as connection:
        rows = await connection.fetch("SELECT amount_minor FROM ledger_events ORDER BY seq")
        proof = await client.verify(connection)
        assert proof.ok, proof.reason
        assert await client.reconcile(connection) == []
        lag = await client.projection_lag(connection)
        assert lag.events_behind == 0
        assert lag.epoch == (await home_of(parts, tenant_id, "auditor")).epoch
    return [row["amount_minor"] for row in rows]


async def former_databases(manager: httpx.AsyncClient, tenant_id: str) -> list[dict[str, Any]]:
    answer = await manager.get(f"/v1/tenants/{tenant_id}/former-databases")
    assert answer.status_code == 200
    data: list[dict[str, Any]] = answer.json()["data"]
    return data


def text(instant: datetime) -> str:
    return instant.isoformat()


def of(amount: int, **more: Any) -> AppendRequest:
    return append_request(new_event(amount_minor=amount, **more))


@pytest.mark.parametrize("backed_up", [False, True])
async def test_a_tenant_is_restored_to_an_instant(
    parts: Parts, manager: httpx.AsyncClient, tenant_id: str, *, backed_up: bool
) -> None:
    await grow(parts, tenant_id, of(1), of(2))
    if backed_up:
        await back_up(manager, tenant_id)
    instant = await grow(parts, tenant_id, of(3))
    await grow(parts, tenant_id, of(4))
    before = await home_of(parts, tenant_id, "ingest")
    result = await restored(manager, tenant_id, to=text(instant))
    assert await amounts(parts, tenant_id) == [1, 2, 3]
    after = await home_of(parts, tenant_id, "ingest")
    assert (after.epoch, after.database) == (2, result["database"])
    assert result["former_database"] == before.database
    assert (result["backup_id"] is not None) == backed_up
    assert (result["head_seq"], result["epoch"]) == (3, 2)
    (former,) = await former_databases(manager, tenant_id)
    assert (former["name"], former["kind"], former["epoch"]) == (before.database, "former", 1)
    # It goes on from there.
    await grow(parts, tenant_id, of(5))
    async with inside(parts, tenant_id, "projector") as connection:
        assert (await client.project(connection, 10)).epoch == 2
    assert await amounts(parts, tenant_id) == [1, 2, 3, 5]
    shown = (await manager.get(f"/v1/tenants/{tenant_id}")).json()
    assert (shown["epoch"], shown["home"]["database"]) == (2, result["database"])


async def test_nothing_is_acknowledged_into_the_former_database_any_more(
    parts: Parts, manager: httpx.AsyncClient, tenant_id: str
) -> None:
    instant = await grow(parts, tenant_id, of(1))
    old = await home_of(parts, tenant_id, "ingest")
    async with connected(old) as connection:
        result = await restored(manager, tenant_id, to=text(instant))
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
            await append(connection, [of(2)])
        connection.terminate()
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with connected(old):
            pass
    assert result["former_database"] == old.database


async def test_a_former_database_is_dropped_although_roles_of_its_own_are_in_it(
    parts: Parts, manager: httpx.AsyncClient, tenant_id: str, installation: Installation
) -> None:
    instant = await grow(parts, tenant_id, of(1))
    auditor = await home_of(parts, tenant_id, "auditor")
    backup = await home_of(parts, tenant_id, "backup")
    async with connected(auditor) as one, connected(backup) as other:
        result = await restored(manager, tenant_id, to=text(instant))
        name = result["former_database"]
        path = f"/v1/tenants/{tenant_id}/former-databases/{name}"
        async with installation.superuser(name):
            answer = await manager.delete(path)
            assert (answer.status_code, "Retry-After" in answer.headers) == (503, True)

        async def dropped() -> bool:
            return (await manager.delete(path)).status_code == 204

        await eventually(dropped, "whoever else was in it has left")
        for connection in (one, other):
            connection.terminate()
    assert await former_databases(manager, tenant_id) == []


async def test_keys_external_ids_and_rules_come_back(
    parts: Parts, manager: httpx.AsyncClient, tenant_id: str
) -> None:
    charge = append_request(new_event(amount_minor=1, external_id="ch_1"), key="one")
    await grow(parts, tenant_id, charge)
    await back_up(manager, tenant_id)
    refund = append_request(new_event(amount_minor=2, external_id="ch_2"), key="two")
    await grow(parts, tenant_id, refund)
    async with inside(parts, tenant_id) as connection:
        await rules.limit_account(connection, "cus_9", "USD", 0)
    instant = await grow(parts, tenant_id, append_request(new_hold(amount_minor=1), key="hold"))
    async with inside(parts, tenant_id) as connection:
        await rules.limit_account(connection, "cus_9", "USD", None)
    late = append_request(new_event(amount_minor=3, external_id="ch_3"), key="three")
    await grow(parts, tenant_id, late)
    await restored(manager, tenant_id, to=text(instant))
    async with inside(parts, tenant_id) as connection:
        answers = await append(
            connection,
            [
                charge,
                refund,
                append_request(new_event(external_id="ch_2")),
                append_request(new_event("cus_9", -1)),
                late,
            ],
        )
    assert [answer.outcome for answer in answers] == [
        Outcome.REPLAYED,
        Outcome.REPLAYED,
        Outcome.DUPLICATE_EXTERNAL_ID,
        Outcome.INSUFFICIENT_FUNDS,
        Outcome.CREATED,
    ]
    assert await client_project(parts, tenant_id) == 4
    assert await amounts(parts, tenant_id) == [1, 2, 0, 3]


async def client_project(parts: Parts, tenant_id: str) -> int:
    async with inside(parts, tenant_id, "projector") as connection:
        return (await client.project(connection, 100)).last_seq


async def test_a_tenant_whose_database_is_gone_is_restored(
    parts: Parts, manager: httpx.AsyncClient, tenant_id: str, installation: Installation
) -> None:
    await grow(parts, tenant_id, of(1))
    await back_up(manager, tenant_id)
    instant = await grow(parts, tenant_id, of(2))
    await grow(parts, tenant_id, of(3))
    await archive(parts, tenant_id)
    gone = (await home_of(parts, tenant_id, "ingest")).database
    async with installation.superuser() as superuser:
        await superuser.execute(f"DROP DATABASE {gone} WITH (FORCE)")
    await restored(manager, tenant_id, to=text(instant))
    assert await amounts(parts, tenant_id) == [1, 2]
    # To the end of what was archived, although the epoch in between has nothing of it.
    later = await restored(manager, tenant_id, to=text(instant + timedelta(milliseconds=1)))
    assert later["head_seq"] == 2
    assert (await former_databases(manager, tenant_id))[0]["name"] == gone


async def test_a_backup_is_restored_as_it_is(
    parts: Parts, manager: httpx.AsyncClient, tenant_id: str
) -> None:
    await grow(parts, tenant_id, of(1), of(2))
    backup_id = await back_up(manager, tenant_id)
    await grow(parts, tenant_id, of(3))
    result = await restored(manager, tenant_id, backup_id=backup_id)
    assert (result["backup_id"], result["segments"]) == (backup_id, 0)
    assert await amounts(parts, tenant_id) == [1, 2]


async def test_restores_of_restores(
    parts: Parts, manager: httpx.AsyncClient, tenant_id: str
) -> None:
    first = await grow(parts, tenant_id, of(1))
    await back_up(manager, tenant_id)
    second = await grow(parts, tenant_id, of(2))
    third = await grow(parts, tenant_id, of(3))
    await restored(manager, tenant_id, to=text(first))
    fourth = await grow(parts, tenant_id, of(40))
    await grow(parts, tenant_id, of(50))
    await client_project(parts, tenant_id)
    assert await amounts(parts, tenant_id) == [1, 40, 50]
    # Within the present history.
    await restored(manager, tenant_id, to=text(fourth))
    assert await amounts(parts, tenant_id) == [1, 40]
    await grow(parts, tenant_id, of(600))
    # Into the first one, beyond where it was left.
    await restored(manager, tenant_id, to=text(third))
    assert await amounts(parts, tenant_id) == [1, 2, 3]
    await grow(parts, tenant_id, of(7000))
    await client_project(parts, tenant_id)
    # Into the second.
    result = await restored(manager, tenant_id, to=text(fourth))
    assert result["from_epoch"] == 2
    assert await amounts(parts, tenant_id) == [1, 40]
    await restored(manager, tenant_id, to=text(second))
    assert await amounts(parts, tenant_id) == [1, 2]
    assert (await home_of(parts, tenant_id, "query")).epoch == 6
    assert len(await former_databases(manager, tenant_id)) == 5


async def test_a_preview_stays_beside(
    parts: Parts, manager: httpx.AsyncClient, tenant_id: str, installation: Installation
) -> None:
    instant = await grow(parts, tenant_id, of(1))
    await grow(parts, tenant_id, of(2))
    before = await home_of(parts, tenant_id, "ingest")
    result = await restored(manager, tenant_id, to=text(instant), preview=True)
    assert await home_of(parts, tenant_id, "ingest") == before
    (preview,) = await former_databases(manager, tenant_id)
    assert (preview["name"], preview["kind"]) == (result["database"], "preview")
    async with installation.superuser(result["database"]) as superuser:
        assert await superuser.fetchval("SELECT count(*) FROM ledger.ledger_events") == 1
    path = f"/v1/tenants/{tenant_id}/former-databases/{result['database']}"
    assert (await manager.delete(path)).status_code == 204
    assert (await manager.delete(path)).status_code == 404
    assert await former_databases(manager, tenant_id) == []
    async with installation.superuser() as superuser:
        left = await superuser.fetch(
            "SELECT datname FROM pg_database WHERE datname = $1"
            " UNION ALL SELECT rolname FROM pg_roles WHERE rolname LIKE $1 || '%'",
            result["database"],
        )
    assert left == []
    # What the tenant lives in is nothing to drop.
    path = f"/v1/tenants/{tenant_id}/former-databases/{before.database}"
    assert (await manager.delete(path)).status_code == 404


async def test_a_neighbour_is_untouched(
    parts: Parts, manager: httpx.AsyncClient, tenant_id: str, installation: Installation
) -> None:
    neighbour = await made(manager)
    instant = await grow(parts, neighbour, of(1, external_id="x"), append_request(new_hold()))
    await client_project(parts, neighbour)
    await grow(parts, tenant_id, of(1))
    before = await everything_of(parts, neighbour, installation)
    await restored(manager, tenant_id, to=text(max(instant, await grow(parts, tenant_id, of(2)))))
    assert await everything_of(parts, neighbour, installation) == before
    assert await former_databases(manager, neighbour) == []


async def everything_of(parts: Parts, tenant_id: str, installation: Installation) -> Any:
    """A tenant's dump, and what the catalog and the server know of them."""
    home = await home_of(parts, tenant_id, "backup")
    async with connected(home) as connection:
        version = connection.get_server_version().major
    digest = sha256()
    async with Dumping(timeout_s=60, bytes_per_s=2**30).dump(
        home, "sql", server_version=version
    ) as pieces:
        async for piece in pieces:
            # Newer releases write a random word there.
            digest.update(b"\n".join(x for x in piece.split(b"\n") if b"restrict" not in x))
    async with installation.superuser() as superuser:
        roles = await superuser.fetch(
            "SELECT rolname, rolpassword, rolcanlogin, rolconnlimit FROM pg_authid"
            " WHERE rolname LIKE $1 || '%' ORDER BY 1",
            home.database,
        )
        database = await superuser.fetchrow(
            "SELECT oid, datacl, datallowconn FROM pg_database WHERE datname = $1", home.database
        )
    row = await parts.catalog.fetchrow("SELECT * FROM tenants WHERE tenant_id = $1", tenant_id)
    return digest.hexdigest(), [tuple(role) for role in roles], tuple(database or ()), row


async def test_a_ledger_of_an_earlier_release_is_archived_once_it_is_migrated(
    parts: Parts, manager: httpx.AsyncClient, tenant_id: str
) -> None:
    await grow(parts, tenant_id, of(1))
    change = "UPDATE tenants SET schema_version = schema_version + $2 WHERE tenant_id = $1"
    older = LEDGER_VERSION_MIN - 1 - LEDGER_VERSION
    for step, seq, fault in ((older, 0, "the ledger is to be migrated first"), (-older, 1, None)):
        await parts.catalog.execute(change, tenant_id, step)
        await parts.restoration.archiver.archive(tenant_id, even_if_claimed=True)
        shown = (await manager.get(f"/v1/tenants/{tenant_id}")).json()["archive"]
        assert (shown["seq"], shown["fault"]) == (seq, fault)


async def test_segments_go_once_no_restore_needs_them(
    parts: Parts, manager: httpx.AsyncClient, tenant_id: str, installation: Installation
) -> None:
    await grow(parts, tenant_id, of(1))
    await archive(parts, tenant_id)
    await grow(parts, tenant_id, of(2))
    await archive(parts, tenant_id)

    def left() -> int:
        pattern = f"*/storage/tenants/{tenant_id}/1/segments/*"
        return len(list(installation.folder.glob(pattern)))

    retention = parts.restoration.retention
    horizon = datetime.now(UTC) + timedelta(seconds=1)
    assert await retention.remove_of(tenant_id, horizon) == 0
    await back_up(manager, tenant_id)
    instant = await grow(parts, tenant_id, of(3))
    await archive(parts, tenant_id)
    # As long as the time before the backup is promised, all of it stays.
    assert await retention.remove_of(tenant_id, instant - timedelta(days=1)) == 0
    assert left() == 3
    # The one that ends where the backup does may tell of rules that were changed later.
    assert await retention.remove_of(tenant_id, horizon) == 1
    assert await retention.remove_of(tenant_id, horizon) == 0
    assert left() == 2
    await restored(manager, tenant_id, to=text(instant))
    assert await amounts(parts, tenant_id) == [1, 2, 3]


@pytest.mark.parametrize("backed_up", [False, True])
async def test_rules_that_changed_without_an_event_outlive_retention(
    parts: Parts, manager: httpx.AsyncClient, tenant_id: str, *, backed_up: bool
) -> None:
    if backed_up:
        await grow(parts, tenant_id, of(1))
        await back_up(manager, tenant_id)
    async with inside(parts, tenant_id) as connection:
        await rules.limit_account(connection, "cus_9", "USD", 0)
    await archive(parts, tenant_id)
    instant = await grow(parts, tenant_id, of(2))
    await archive(parts, tenant_id)
    horizon = datetime.now(UTC) + timedelta(seconds=1)
    await parts.restoration.retention.remove_of(tenant_id, horizon)
    await restored(manager, tenant_id, to=text(instant))
    async with inside(parts, tenant_id) as connection:
        (answer,) = await append(connection, [append_request(new_event("cus_9", -1))])
    assert answer.outcome == Outcome.INSUFFICIENT_FUNDS


async def test_the_archive_keeps_its_connections_to_those_who_go_on(
    installation: Installation, parts: Parts, manager: httpx.AsyncClient
) -> None:
    # More of them than are archived at once.
    tenant_ids = [await made(manager) for _ in range(6)]
    homes = [await home_of(parts, tenant_id, "backup") for tenant_id in tenant_ids]

    async def archivers() -> set[int]:
        async with installation.superuser() as superuser:
            rows = await superuser.fetch(
                "SELECT pid FROM pg_stat_activity WHERE usename = ANY($1::text[])",
                [home.role for home in homes],
            )
        return {row["pid"] for row in rows}

    async def round_of_all() -> None:
        for tenant_id in tenant_ids:
            await grow(parts, tenant_id)
            await archive(parts, tenant_id)

    await round_of_all()
    before = await archivers()
    assert len(before) == len(tenant_ids)
    await round_of_all()
    assert await archivers() == before


async def test_a_segment_that_is_cut_off_tells_of_no_rule_that_came_later(
    parts: Parts, manager: httpx.AsyncClient, tenant_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await grow(parts, tenant_id, of(1))
    await grow(parts, tenant_id, of(2))
    await back_up(manager, tenant_id)
    async with inside(parts, tenant_id) as connection:
        await rules.limit_account(connection, "cus_9", "USD", 0)
    instant = await grow(parts, tenant_id, of(3))
    monkeypatch.setattr(parts.restoration.archiver, "_events_max", 1)
    await archive(parts, tenant_id)
    await restored(manager, tenant_id, to=text(instant))
    async with inside(parts, tenant_id) as connection:
        (answer,) = await append(connection, [append_request(new_event("cus_9", -1))])
    assert answer.outcome == Outcome.INSUFFICIENT_FUNDS


async def test_an_instant_whose_segments_are_gone_is_not_restored_as_an_earlier_one(
    parts: Parts, manager: httpx.AsyncClient, tenant_id: str, installation: Installation
) -> None:
    instants = []
    for amount in range(1, 5):
        instants.append(await grow(parts, tenant_id, of(amount)))
        await archive(parts, tenant_id)
    before = await home_of(parts, tenant_id, "ingest")
    files = sorted(installation.folder.glob(f"*/storage/tenants/{tenant_id}/1/segments/*"))
    kept = files[1].read_bytes()
    files[1].unlink()
    shown = await operated(manager, tenant_id, to=text(instants[1]))
    assert shown["message"] == "nothing was restored: the archive lacks what follows event 1"
    files[0].unlink()
    shown = await operated(manager, tenant_id, to=text(instants[0]))
    assert shown["message"] == "nothing was restored: the archive lacks what follows event 0"
    assert await home_of(parts, tenant_id, "ingest") == before
    # A backup that is older is not taken for the instant, either.
    await back_up(manager, tenant_id)
    later = await grow(parts, tenant_id, of(5))
    await grow(parts, tenant_id, of(6))
    files[1].write_bytes(kept)
    await restored(manager, tenant_id, to=text(later))
    assert await amounts(parts, tenant_id) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(("lost", "change"), [(1, 0), (2, 1), (4, 2)])
async def test_a_change_of_rules_that_is_lost_is_not_restored_without(
    parts: Parts,
    manager: httpx.AsyncClient,
    tenant_id: str,
    installation: Installation,
    lost: int,
    change: int,
) -> None:
    """Those that stand alone in a segment: no event is missing then."""
    await grow(parts, tenant_id, of(1))
    await archive(parts, tenant_id)
    for limit in (-5, 0):
        await limit_and_archive(parts, tenant_id, limit)
    instant = await grow(parts, tenant_id, of(2))
    await archive(parts, tenant_id)
    if lost == 4:
        await limit_and_archive(parts, tenant_id, -9)
        instant = datetime.now(UTC)
    before = await home_of(parts, tenant_id, "ingest")
    files = sorted(installation.folder.glob(f"*/storage/tenants/{tenant_id}/1/segments/*"))
    kept = files[lost].read_bytes()
    files[lost].unlink()
    shown = await operated(manager, tenant_id, to=text(instant))
    lacking = f"the archive lacks what follows change {change} of the rules"
    assert shown["message"] == f"nothing was restored: {lacking}"
    assert await home_of(parts, tenant_id, "ingest") == before
    files[lost].write_bytes(kept)
    await restored(manager, tenant_id, to=text(instant))
    async with inside(parts, tenant_id) as connection:
        (found,) = await rules.limits_of(connection, "cus_9")
    assert found["min_balance_minor"] == (-9 if lost == 4 else 0)


async def test_rules_that_were_changed_later_are_not_missing(
    parts: Parts, manager: httpx.AsyncClient, tenant_id: str
) -> None:
    await grow(parts, tenant_id, of(1))
    await limit_and_archive(parts, tenant_id, 0)
    instant = await grow(parts, tenant_id, of(2))
    for limit in (-5, -6, None):
        await limit_and_archive(parts, tenant_id, limit)
    await restored(manager, tenant_id, to=text(instant))
    await limit_and_archive(parts, tenant_id, -7)
    # And through an epoch that goes on beyond where the next one began.
    await restored(manager, tenant_id, to=text(datetime.now(UTC)))
    assert await amounts(parts, tenant_id) == [1, 2]
    async with inside(parts, tenant_id) as connection:
        assert [row[1] for row in await rules.limits_of(connection, "cus_9")] == [-7]


async def limit_and_archive(parts: Parts, tenant_id: str, limit: int | None) -> None:
    """Change a rule, and have that archived in a segment of its own."""
    async with inside(parts, tenant_id) as connection:
        await rules.limit_account(connection, "cus_9", "USD", limit)
    await archive(parts, tenant_id)
    await asyncio.sleep(0.002)


async def test_nothing_is_swapped_while_the_storage_does_not_take_what_the_tenant_has(
    parts: Parts, manager: httpx.AsyncClient, tenant_id: str, installation: Installation
) -> None:
    instant = await grow(parts, tenant_id, of(1))
    await archive(parts, tenant_id)
    await grow(parts, tenant_id, of(2))
    before = await home_of(parts, tenant_id, "ingest")
    (segments,) = installation.folder.glob(f"*/storage/tenants/{tenant_id}/1/segments")
    aside = segments.rename(segments.with_name("aside"))
    segments.write_bytes(b"in the way")
    answer = await manager.post(f"/v1/tenants/{tenant_id}/restores", json={"to": text(instant)})
    path = f"/v1/operations/{answer.json()['operation_id']}"

    async def was_tried() -> bool:
        shown = (await manager.get(path)).json()
        return str(shown["message"]).startswith("waits: the archive cannot be reached")

    await eventually(was_tried, "the restore has met the storage")
    assert await home_of(parts, tenant_id, "ingest") == before
    segments.unlink()
    aside.rename(segments)
    result = (await end_of(manager, answer))["result"]
    assert result["archive_fault"] is None
    # Nothing of what was acknowledged is lost to a restore of the restore.
    end = datetime.now(UTC)
    await restored(manager, tenant_id, to=text(end))
    row = await parts.catalog.fetchrow(
        "SELECT archived_seq FROM tenant_epochs WHERE tenant_id = $1 AND epoch = 1", tenant_id
    )
    assert row is not None
    assert row["archived_seq"] == 2


async def test_what_only_the_live_database_has_is_restored_although_it_did_not_answer_at_first(
    parts: Parts, manager: httpx.AsyncClient, tenant_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await grow(parts, tenant_id, of(1))
    await archive(parts, tenant_id)
    async with inside(parts, tenant_id) as connection:
        await rules.limit_account(connection, "cus_9", "USD", 0)
    instant = await grow(parts, tenant_id, of(2))
    archiver = parts.restoration.archiver
    archive_really, tries = archiver.archive, 0

    async def archive_but_at_first(tenant_id: str, **named: bool) -> Any:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise unavailable("too many connections")
        return await archive_really(tenant_id, **named)

    monkeypatch.setattr(archiver, "archive", archive_but_at_first)
    result = await restored(manager, tenant_id, to=text(instant))
    assert (result["head_seq"], result["archive_fault"]) == (2, None)
    assert await amounts(parts, tenant_id) == [1, 2]
    # It is made in the database that was begun, and lets the services in.
    (former,) = await former_databases(manager, tenant_id)
    assert former["name"] == result["former_database"]
    async with inside(parts, tenant_id) as connection:
        (answer,) = await append(connection, [append_request(new_event("cus_9", -1))])
    assert answer.outcome == Outcome.INSUFFICIENT_FUNDS


async def test_a_ledger_that_is_to_be_migrated_first_is_restored_from_what_is_archived(
    parts: Parts, manager: httpx.AsyncClient, tenant_id: str
) -> None:
    instant = await grow(parts, tenant_id, of(1))
    await archive(parts, tenant_id)
    await parts.catalog.execute(
        "UPDATE tenants SET schema_version = $2 WHERE tenant_id = $1",
        tenant_id,
        LEDGER_VERSION_MIN - 1,
    )
    result = await restored(manager, tenant_id, to=text(instant))
    assert "migrated" in result["archive_fault"]
    assert await amounts(parts, tenant_id) == [1]


async def test_a_database_that_a_restore_has_left_is_dropped(
    parts: Parts, manager: httpx.AsyncClient, tenant_id: str
) -> None:
    name, operation_id = new_database_name(), uuid.uuid4()
    async with parts.catalog.connection() as connection:
        credentials = seal_passwords(KEY_RING, name, new_passwords())
        await add_making(connection, name, credentials, tenant_id, 2, operation_id)
    await parts.restoration.former.drop_abandoned()
    assert await former_databases(manager, tenant_id) == []


async def test_small_segments_are_joined_and_restore_as_before(
    parts: Parts, manager: httpx.AsyncClient, tenant_id: str, installation: Installation
) -> None:
    instant = datetime.now(UTC)
    for amount in range(1, 21):
        moment = await grow(parts, tenant_id, of(amount))
        if amount == 15:
            instant = moment
        if amount == 7:
            async with inside(parts, tenant_id) as connection:
                await rules.limit_account(connection, "cus_9", "USD", 0)
        await archive(parts, tenant_id)
    joining = parts.restoration.joining
    kept = {
        file: file.read_bytes()
        for file in installation.folder.glob(f"*/storage/tenants/{tenant_id}/1/segments/*")
    }
    assert len(kept) == 20
    assert await joining.join_of(tenant_id, 1, instant - timedelta(days=1)) == 0
    assert await joining.join_of(tenant_id, 1, datetime.now(UTC) + timedelta(days=1)) == 20
    (whole,) = installation.folder.glob(f"*/storage/tenants/{tenant_id}/1/segments/*")
    assert whole not in kept
    # A crash before the small ones went, half of them.
    for file, content in list(kept.items())[::2]:
        file.write_bytes(content)
    await restored(manager, tenant_id, to=text(instant))
    assert await amounts(parts, tenant_id) == list(range(1, 16))
    # What is archived later follows what was joined.
    await grow(parts, tenant_id, of(16))
    await restored(manager, tenant_id, to=text(instant + timedelta(milliseconds=1)))
    assert await amounts(parts, tenant_id) == list(range(1, 16))


async def test_archive_and_restore_do_as_well_with_a_bucket_and_a_key_of_aws(
    installation: Installation,
) -> None:
    with bucket_settings(installation) as (settings, amazon):
        bucket = amazon.client("s3")

        def segments() -> list[str]:
            listed = bucket.list_objects_v2(Bucket=BUCKET).get("Contents", [])
            return [one["Key"] for one in listed if "/segments/" in one["Key"]]

        async with running(settings) as app, client_of(app) as manager:
            parts, tenant_id = manager_of(app).parts, await made(manager)
            for amount in range(1, 17):
                await grow(parts, tenant_id, of(amount))
                await archive(parts, tenant_id)
            assert len(segments()) == 16
            tomorrow = datetime.now(UTC) + timedelta(days=1)
            assert await parts.restoration.joining.join_of(tenant_id, 1, tomorrow) == 16
            (whole,) = segments()
            first = await grow(parts, tenant_id, of(17))
            await archive(parts, tenant_id)
            await back_up(manager, tenant_id)
            last = await grow(parts, tenant_id, of(18))
            await archive(parts, tenant_id)
            retention = parts.restoration.retention
            # All that was joined is needed for the time before the backup, and then no more.
            assert await retention.remove_of(tenant_id, first) == 0
            result = await restored(manager, tenant_id, to=text(first), preview=True)
            assert (result["head_seq"], result["backup_id"]) == (17, None)
            assert await retention.remove_of(tenant_id, tomorrow) == 1
            assert len(segments()) == 2
            assert whole not in segments()
            gone = (await home_of(parts, tenant_id, "ingest")).database
        async with installation.superuser() as superuser:
            await superuser.execute(f"DROP DATABASE {gone} WITH (FORCE)")
        # A process that has nothing but the bucket, and asks for the data key anew.
        async with running(settings) as app, client_of(app) as manager:
            await restored(manager, tenant_id, to=text(last))
            assert await amounts(manager_of(app).parts, tenant_id) == list(range(1, 19))


async def test_a_tenant_shows_how_far_they_are_archived(
    parts: Parts, manager: httpx.AsyncClient, tenant_id: str
) -> None:
    await grow(parts, tenant_id, of(1), of(2))
    await archive(parts, tenant_id)
    shown = (await manager.get(f"/v1/tenants/{tenant_id}")).json()["archive"]
    assert (shown["epoch"], shown["seq"], shown["fault"]) == (1, 2, None)
    assert shown["archived_at"] is not None


@pytest.mark.parametrize(
    ("wanted", "pointer"),
    [
        ({}, ""),
        ({"to": "2026-03-01T12:00:00Z", "backup_id": str(uuid.uuid4())}, ""),
        ({"to": "2026-03-01T12:00:00"}, "/to"),
        ({"to": "2001-03-01T12:00:00Z"}, "/to"),
        ({"to": "9001-03-01T12:00:00Z"}, "/to"),
        ({"to": "2026-03-01T12:00:00Z", "preview": "yes"}, "/preview"),
        ({"backup_id": "x"}, "/backup_id"),
    ],
)
async def test_a_restore_that_makes_no_sense_is_refused(
    manager: httpx.AsyncClient, tenant_id: str, wanted: dict[str, Any], pointer: str
) -> None:
    answer = await manager.post(f"/v1/tenants/{tenant_id}/restores", json=wanted)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == pointer


async def test_nobody_and_nothing_is_not_restored(
    manager: httpx.AsyncClient, tenant_id: str
) -> None:
    wanted = {"to": "2026-03-01T12:00:00Z"}
    for path in ("restores", "former-databases"):
        assert (await manager.get(f"/v1/tenants/nobody/{path}")).status_code in {404, 405}
    assert (await manager.post("/v1/tenants/nobody/restores", json=wanted)).status_code == 404
    shown = await operated(manager, tenant_id, backup_id=str(uuid.uuid4()))
    assert (shown["status"], shown["message"]) == ("failed", "there is no such complete backup")
    for name in ("x", "fh_0123456789abcdef"):
        path = f"/v1/tenants/{tenant_id}/former-databases/{name}"
        assert (await manager.delete(path)).status_code == 404


async def test_a_damaged_archive_fails_the_restore_and_leaves_the_tenant_as_it_was(
    parts: Parts, manager: httpx.AsyncClient, tenant_id: str, installation: Installation
) -> None:
    await grow(parts, tenant_id, of(1))
    await archive(parts, tenant_id)
    instant = await grow(parts, tenant_id, of(2))
    await archive(parts, tenant_id)
    before = await home_of(parts, tenant_id, "ingest")
    folder = await asyncio.to_thread(
        lambda: sorted(installation.folder.glob(f"*/storage/tenants/{tenant_id}/1/segments/*"))
    )
    kept = folder[0].read_bytes()
    for damage in (kept[:-1], kept[:100] + bytes([kept[100] ^ 1]) + kept[101:], None):
        if damage is None:
            folder[0].unlink()
        else:
            folder[0].write_bytes(damage)
        shown = await operated(manager, tenant_id, to=text(instant))
        assert shown["status"] == "failed"
        assert "nothing was restored" in shown["message"]
        assert await home_of(parts, tenant_id, "ingest") == before
        assert await former_databases(manager, tenant_id) == []
    folder[0].write_bytes(kept)
    # The last one is missing: nothing follows that would tell.
    last = folder[1].read_bytes()
    folder[1].unlink()
    shown = await operated(manager, tenant_id, to=text(datetime.now(UTC)))
    assert shown["message"] == "nothing was restored: the archive lacks what follows event 1"
    folder[1].write_bytes(last)
    await restored(manager, tenant_id, to=text(instant))
    assert await amounts(parts, tenant_id) == [1, 2]


async def test_a_ledger_that_was_rewritten_is_archived_no_further_and_restored_as_it_was(
    parts: Parts, manager: httpx.AsyncClient, tenant_id: str, installation: Installation
) -> None:
    await grow(parts, tenant_id, of(1))
    instant = await grow(parts, tenant_id, of(2))
    await archive(parts, tenant_id)
    await rewrite(parts, tenant_id, installation)
    await restored(manager, tenant_id, to=text(instant))
    assert await amounts(parts, tenant_id) == [1, 2]
    row = await parts.catalog.fetchrow(
        "SELECT fault FROM tenant_epochs WHERE tenant_id = $1 AND epoch = 1", tenant_id
    )
    assert row is not None
    assert row["fault"] == "the ledger's event 2 is not the one that was archived"


async def test_a_ledger_that_cannot_be_deleted_as_it_is_can_be_restored_and_then_deleted(
    parts: Parts, manager: httpx.AsyncClient, tenant_id: str, installation: Installation
) -> None:
    await grow(parts, tenant_id, of(1))
    instant = await grow(parts, tenant_id, of(2))
    await archive(parts, tenant_id)
    await rewrite(parts, tenant_id, installation)

    async def deleted() -> str:
        answer = await manager.delete(f"/v1/tenants/{tenant_id}?confirm={tenant_id}")
        assert answer.status_code == 202, answer.text
        return str((await end_of(manager, answer))["status"])

    assert await deleted() == "failed"
    result = await restored(manager, tenant_id, to=text(instant))
    assert result["archive_fault"] == "the ledger's event 2 is not the one that was archived"
    shown = (await manager.get(f"/v1/tenants/{tenant_id}")).json()
    assert (shown["status"], shown["epoch"]) == ("deleting", 2)
    assert await deleted() == "succeeded"
    answer = await manager.post(f"/v1/tenants/{tenant_id}/restores", json={"to": text(instant)})
    assert answer.status_code == 404


async def rewrite(parts: Parts, tenant_id: str, installation: Installation) -> None:
    """Change an event as only the server's superuser can."""
    home = await home_of(parts, tenant_id, "ingest")
    async with installation.superuser(home.database) as superuser:
        await superuser.execute(
            "SET search_path = ledger; SET session_replication_role = replica;"
            "ALTER TABLE ledger_events DISABLE TRIGGER append_only;"
            "UPDATE ledger_events SET hash = decode(repeat('00', 32), 'hex') WHERE seq = 2"
        )
