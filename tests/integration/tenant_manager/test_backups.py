"""Backups: one snapshot each, stored unreadable, proven by restoring, kept as long as needed."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from fastapi import FastAPI

from freehold.ledger import client
from freehold.tenants.catalog import Catalog
from freehold_tenant_manager.backups.backups import Backups
from freehold_tenant_manager.backups.schedule import BackupSchedule
from freehold_tenant_manager.contracts.backups import Backup, BackupPage
from freehold_tenant_manager.contracts.tenants import TenantDetails
from freehold_tenant_manager.http.components import Components
from freehold_tenant_manager.operations.operations import Operations
from freehold_tenant_manager.recovery.shipper import Shipper
from freehold_tenant_manager.settings import Settings
from freehold_tenant_manager.storage.objects import Storage
from integration.tenant_manager.buckets import BUCKET, bucket_settings
from integration.tenant_manager.installation import Installation, client_of, components_of, running
from integration.tenant_manager.ledgers import append_some, connection_of, filled_tenant
from support.answers import problem
from support.operations import request_ended
from support.waiting import eventually

DAY_S = 86_400


@pytest.fixture
async def tenant_id(app: FastAPI, manager: httpx.AsyncClient) -> str:
    return (await filled_tenant(app, manager, events=200))[0]


@pytest.fixture
def folder(settings: Settings) -> Path:
    return Path(settings.storage_url.removeprefix("file://"))


async def _backed_up(manager: httpx.AsyncClient, tenant_id: str) -> Backup:
    operation = await request_ended(manager, await manager.post(f"/v1/tenants/{tenant_id}/backups"))
    assert operation["status"] == "succeeded", operation["message"]
    backup = Backup.model_validate(operation["result"])
    assert str(backup.backup_id) == operation["operation_id"]
    return backup


async def _verified(manager: httpx.AsyncClient, tenant_id: str, backup_id: UUID) -> dict[str, Any]:
    path = f"/v1/tenants/{tenant_id}/backups/{backup_id}/verify"
    return await request_ended(manager, await manager.post(path))


def _object(folder: Path, backup: Backup) -> Path:
    """Where a backup is, or would be."""
    place = folder / f"tenants/{backup.tenant_id}/{backup.epoch}/backups"
    return next(place.glob(f"{backup.backup_id}-*"), place / "gone")


async def _scratch_databases(installation: Installation) -> list[str]:
    async with installation.superuser() as superuser:
        rows = await superuser.fetch(
            "SELECT datname AS name FROM pg_database WHERE starts_with(datname, 'fh_scratch_')"
            " UNION ALL SELECT rolname FROM pg_roles WHERE starts_with(rolname, 'fh_scratch_')"
        )
    return [row["name"] for row in rows]


async def test_a_backup_is_of_the_head_it_names_and_is_listed(
    app: FastAPI, manager: httpx.AsyncClient, tenant_id: str, folder: Path
) -> None:
    async with connection_of(app, tenant_id, "auditor") as connection:
        head = await client.head(connection)
    before = TenantDetails.model_validate_json(
        (await manager.get(f"/v1/tenants/{tenant_id}")).content
    )
    assert before.last_backup is None
    first = await _backed_up(manager, tenant_id)
    assert (first.head_seq, first.events, first.head_hash) == (200, 200, head.hash.hex())
    assert first.verified_at is None
    stored = _object(folder, first).read_bytes()
    assert len(stored) == first.bytes
    assert b"cus_1" not in stored
    await append_some(app, tenant_id, 10)
    second = await _backed_up(manager, tenant_id)
    assert second.head_seq == 210

    path = f"/v1/tenants/{tenant_id}/backups"
    page = BackupPage.model_validate_json((await manager.get(path, params={"limit": "1"})).content)
    assert page.data == [second]
    rest = BackupPage.model_validate_json(
        (await manager.get(path, params={"cursor": page.next_cursor or ""})).content
    )
    assert (rest.data, rest.next_cursor) == ([first], None)
    shown = await manager.get(f"{path}/{first.backup_id}")
    assert Backup.model_validate_json(shown.content) == first
    details = TenantDetails.model_validate_json(
        (await manager.get(f"/v1/tenants/{tenant_id}")).content
    )
    assert details.last_backup == second


async def test_a_backup_under_writes_is_one_snapshot(
    app: FastAPI, manager: httpx.AsyncClient, tenant_id: str
) -> None:
    async def writing() -> None:
        while True:
            await append_some(app, tenant_id, 5)

    writer = asyncio.create_task(writing())
    try:
        backups = [await _backed_up(manager, tenant_id) for _ in range(3)]
    finally:
        writer.cancel()
        await asyncio.gather(writer, return_exceptions=True)
    assert len({backup.head_seq for backup in backups}) == 3
    for backup in backups:
        operation = await _verified(manager, tenant_id, backup.backup_id)
        assert operation["status"] == "succeeded", operation["message"]
        assert operation["result"]["events_checked"] == backup.head_seq
        assert operation["result"]["head_hash"] == backup.head_hash


async def test_an_empty_ledger_can_be_backed_up_and_verified(
    app: FastAPI, manager: httpx.AsyncClient
) -> None:
    tenant_id, _ = await filled_tenant(app, manager, events=0)
    backup = await _backed_up(manager, tenant_id)
    assert (backup.head_seq, backup.head_hash) == (0, None)
    operation = await _verified(manager, tenant_id, backup.backup_id)
    assert operation["status"] == "succeeded", operation["message"]


async def test_a_verified_backup_says_when_and_leaves_no_trace(
    manager: httpx.AsyncClient, tenant_id: str, installation: Installation
) -> None:
    backup = await _backed_up(manager, tenant_id)
    operation = await _verified(manager, tenant_id, backup.backup_id)
    assert operation["result"] == {
        "backup_id": str(backup.backup_id),
        "ok": True,
        "events_checked": 200,
        "head_seq": 200,
        "head_hash": backup.head_hash,
    }
    shown = (await manager.get(f"/v1/tenants/{tenant_id}/backups/{backup.backup_id}")).json()
    assert shown["verified_at"] is not None
    assert await _scratch_databases(installation) == []


@pytest.mark.parametrize("damage", ["changed", "cut", "gone", "another"])
async def test_a_damaged_backup_is_found_out(
    manager: httpx.AsyncClient,
    tenant_id: str,
    folder: Path,
    installation: Installation,
    damage: str,
) -> None:
    backup, other = [await _backed_up(manager, tenant_id) for _ in range(2)]
    file = _object(folder, backup)
    whole = file.read_bytes()
    match damage:
        case "changed":
            file.write_bytes(whole[:500] + bytes([whole[500] ^ 1]) + whole[501:])
        case "cut":
            file.write_bytes(whole[:-100])
        case "gone":
            file.unlink()
        case _:
            file.write_bytes(_object(folder, other).read_bytes())
    operation = await _verified(manager, tenant_id, backup.backup_id)
    assert operation["status"] == "failed"
    assert "damaged" in operation["message"]
    shown = (await manager.get(f"/v1/tenants/{tenant_id}/backups/{backup.backup_id}")).json()
    assert (shown["status"], shown["verified_at"]) == ("damaged", None)
    details = (await manager.get(f"/v1/tenants/{tenant_id}")).json()
    assert details["last_backup"]["backup_id"] == str(other.backup_id)
    assert await _scratch_databases(installation) == []


async def test_a_backup_of_a_rewritten_ledger_does_not_pass(
    manager: httpx.AsyncClient, tenant_id: str, installation: Installation
) -> None:
    home = (await manager.get(f"/v1/tenants/{tenant_id}")).json()["home"]
    async with installation.superuser(home["database"]) as superuser:
        await superuser.execute(
            "ALTER TABLE ledger.ledger_events DISABLE TRIGGER ALL;"
            "UPDATE ledger.ledger_events SET amount_minor = 1 WHERE seq = 7"
        )
    backup = await _backed_up(manager, tenant_id)
    operation = await _verified(manager, tenant_id, backup.backup_id)
    assert operation["status"] == "failed"
    assert "the chain breaks at seq 7" in operation["message"]


async def test_what_is_not_there_is_not_backed_up_or_verified(
    app: FastAPI, manager: httpx.AsyncClient, tenant_id: str
) -> None:
    problem(await manager.post("/v1/tenants/unknown/backups"), "not-found")
    problem(await manager.get("/v1/tenants/unknown/backups"), "not-found")
    path = f"/v1/tenants/{tenant_id}/backups"
    for unknown in (str(uuid4()), "no-id"):
        problem(await manager.get(f"{path}/{unknown}"), "not-found")
        problem(await manager.post(f"{path}/{unknown}/verify"), "not-found")
    other_id, _ = await filled_tenant(app, manager, events=1)
    backup = await _backed_up(manager, other_id)
    problem(await manager.get(f"{path}/{backup.backup_id}"), "not-found")
    problem(await manager.post(f"{path}/{backup.backup_id}/verify"), "not-found")


async def test_a_process_declared_dead_does_not_damage_its_successors_backup(
    app: FastAPI, manager: httpx.AsyncClient, tenant_id: str, folder: Path
) -> None:
    backups = components_of(app).find(Backups)
    backup_id = uuid4()
    asleep, awake = asyncio.Event(), asyncio.Event()

    async def falls_asleep(_: float, __: str) -> None:
        asleep.set()
        await awake.wait()

    async def goes_on(_: float, __: str) -> None:
        pass

    first = asyncio.create_task(backups.make(tenant_id, backup_id, falls_asleep))
    await asleep.wait()
    await append_some(app, tenant_id, 1)
    made = await backups.make(tenant_id, backup_id, goes_on)
    awake.set()
    assert await first == made
    assert made.head_seq == 201
    place = folder / f"tenants/{tenant_id}/1/backups"
    assert [file.name for file in place.iterdir()] == [Path(made.object_path).name]
    operation = await _verified(manager, tenant_id, backup_id)
    assert operation["status"] == "succeeded", operation["message"]


async def test_a_backup_made_again_after_a_crash_is_one(
    app: FastAPI, manager: httpx.AsyncClient, tenant_id: str, folder: Path
) -> None:
    backups = components_of(app).find(Backups)
    backup_id = uuid4()

    async def dies(_: float, __: str) -> None:
        raise ConnectionResetError("killed")

    async def goes_on(_: float, __: str) -> None:
        pass

    with pytest.raises(ConnectionResetError):
        await backups.make(tenant_id, backup_id, dies)
    path = f"/v1/tenants/{tenant_id}/backups"
    assert (await manager.get(path)).json()["data"] == []
    await append_some(app, tenant_id, 1)
    made = await backups.make(tenant_id, backup_id, goes_on)
    assert made.head_seq == 201
    place = folder / f"tenants/{tenant_id}/1/backups"
    assert [file.name for file in place.iterdir()] == [Path(made.object_path).name]
    assert await backups.make(tenant_id, backup_id, dies) == made
    operation = await _verified(manager, tenant_id, backup_id)
    assert operation["status"] == "succeeded", operation["message"]


@pytest.fixture
async def own(installation: Installation) -> AsyncIterator[tuple[Components, httpx.AsyncClient]]:
    """An installation of its own, whose schedule nothing else disturbs."""
    choices: dict[str, Any] = {"backup_every_s": 0, "backup_verify_every_s": 0}
    catalog = f"freehold_test_catalog_{uuid4().hex[:12]}"
    async with running(installation.settings(catalog, **choices)) as app, client_of(app) as client:
        yield components_of(app), client


def _schedule(manager: Components, **choices: float) -> BackupSchedule:
    return BackupSchedule(
        manager.find(Catalog),
        manager.find(Operations),
        Storage(manager.find(Settings).storage_url),
        manager.find(Shipper).require_shipped,
        every_s=choices.get("every_s", DAY_S),
        verify_every_s=choices.get("verify_every_s", 0),
        keep_days=choices.get("keep_days", 30),
    )


async def _age(manager: Components, backup_id: UUID, days: float) -> None:
    await manager.find(Catalog).execute(
        "UPDATE backups SET created_at = now() - make_interval(secs => $2) WHERE backup_id = $1",
        backup_id,
        days * DAY_S,
    )


async def _asked(manager: Components, kind: str) -> list[str]:
    rows = await manager.find(Catalog).fetch(
        "SELECT tenant_id FROM operations WHERE kind = $1 ORDER BY created_at", kind
    )
    return [row["tenant_id"] for row in rows]


async def _settled(manager: Components) -> None:
    async def is_settled() -> bool:
        rows = await manager.find(Catalog).fetch(
            "SELECT FROM operations WHERE status IN ('queued', 'running')"
        )
        return not rows

    await eventually(is_settled, "all operations end")


async def _new_tenants(client: httpx.AsyncClient, count: int) -> list[str]:
    names = [f"tenant-{n}" for n in range(count)]
    for name in names:
        made = await client.post("/v1/tenants", json={"tenant_id": name, "name": name})
        assert made.status_code == 201
    return names


async def test_due_backups_are_asked_for_few_at_once_and_once_only(
    own: tuple[Components, httpx.AsyncClient],
) -> None:
    manager, client = own
    tenants = await _new_tenants(client, 3)
    schedules = [_schedule(manager) for _ in range(2)]
    await schedules[0].ask_for_due()
    assert await _asked(manager, "backup") == []
    await manager.find(Catalog).execute("UPDATE tenants SET created_at = now() - interval '2 days'")
    for _ in range(4):
        await asyncio.gather(*(schedule.ask_for_due() for schedule in schedules))
        await _settled(manager)
    assert sorted(await _asked(manager, "backup")) == tenants
    # Each is due again a period after its last one.
    (backup,) = (await client.get(f"/v1/tenants/{tenants[0]}/backups")).json()["data"]
    await _age(manager, UUID(backup["backup_id"]), 1.1)
    await schedules[0].ask_for_due()
    assert (await _asked(manager, "backup"))[3:] == [tenants[0]]


async def test_a_backup_that_failed_is_tried_again_later(
    own: tuple[Components, httpx.AsyncClient],
) -> None:
    manager, client = own
    (tenant_id,) = await _new_tenants(client, 1)
    await manager.find(Catalog).execute("UPDATE tenants SET created_at = now() - interval '2 days'")
    await manager.find(Catalog).execute(
        "INSERT INTO operations (operation_id, kind, tenant_id, parameters, status, finished_at)"
        " VALUES (gen_random_uuid(), 'backup', $1, '{}', 'failed', now())",
        tenant_id,
    )
    await _schedule(manager).ask_for_due()
    assert len(await _asked(manager, "backup")) == 1
    await manager.find(Catalog).execute(
        "UPDATE operations SET finished_at = now() - interval '2 hours'"
    )
    await _schedule(manager).ask_for_due()
    assert len(await _asked(manager, "backup")) == 2


async def test_the_newest_backup_is_verified_in_time(
    own: tuple[Components, httpx.AsyncClient],
) -> None:
    manager, client = own
    (tenant_id,) = await _new_tenants(client, 1)
    old, new = [await _backed_up(client, tenant_id) for _ in range(2)]
    schedule = _schedule(manager, every_s=0, verify_every_s=7 * DAY_S)
    await schedule.ask_for_due()
    assert await _asked(manager, "backup-verification") == []
    await _age(manager, old.backup_id, 8)
    await schedule.ask_for_due()
    await _settled(manager)
    await schedule.ask_for_due()
    assert await _asked(manager, "backup-verification") == [tenant_id]
    listed = (await client.get(f"/v1/tenants/{tenant_id}/backups")).json()["data"]
    assert [backup["verified_at"] is not None for backup in listed] == [True, False]
    assert listed[0]["backup_id"] == str(new.backup_id)


async def test_old_backups_are_deleted_and_needed_ones_stay(
    own: tuple[Components, httpx.AsyncClient],
) -> None:
    manager, client = own
    (tenant_id,) = await _new_tenants(client, 1)
    folder = Path(manager.find(Settings).storage_url.removeprefix("file://"))
    ages = {"oldest": 60, "verified": 50, "older": 40, "edge": 31, "young": 5}
    made = {name: await _backed_up(client, tenant_id) for name in ages}
    await manager.find(Catalog).execute(
        "UPDATE backups SET verified_at = now() WHERE backup_id = ANY ($1)",
        [made["oldest"].backup_id, made["verified"].backup_id],
    )
    for name, days in ages.items():
        await _age(manager, made[name].backup_id, days)
    await manager.find(Catalog).execute(
        "INSERT INTO backups (backup_id, tenant_id, object_path, epoch, schema_version, head_seq,"
        " head_hash, created_at)"
        " VALUES ($1, $2, 'x', 1, 1, 0, '', now() - interval '3 days')",
        uuid4(),
        tenant_id,
    )
    await _schedule(manager, keep_days=30).remove_old()
    left = (await client.get(f"/v1/tenants/{tenant_id}/backups")).json()["data"]
    stays = ["young", "edge", "verified"]
    assert [backup["backup_id"] for backup in left] == [str(made[n].backup_id) for n in stays]
    for name, backup in made.items():
        assert _object(folder, backup).exists() == (name in stays), name
    rows = await manager.find(Catalog).fetch("SELECT status FROM backups")
    assert {row["status"] for row in rows} == {"complete"}


async def test_a_backup_stays_that_a_restored_history_begins_with(
    own: tuple[Components, httpx.AsyncClient],
) -> None:
    manager, client = own
    (tenant_id,) = await _new_tenants(client, 1)
    base, abandoned = await _backed_up(client, tenant_id), await _backed_up(client, tenant_id)
    await _age(manager, base.backup_id, 50)
    await _age(manager, abandoned.backup_id, 40)
    # Restored to the time between the two: the second one is of a history that was left.
    await manager.find(Catalog).execute(
        "INSERT INTO tenant_epochs (tenant_id, epoch, started_at, parent_epoch, start_at,"
        " start_seq, start_change, archived_seq, archived_event_id, archived_hash,"
        " archived_change)"
        " SELECT $1, e.epoch, now() - e.started, e.parent, now() - e.start, 0, 0, 0,"
        " '00000000-0000-0000-0000-000000000000', decode(repeat('00', 32), 'hex'), 0"
        " FROM (VALUES (1, interval '60 days', NULL, NULL),"
        " (2, interval '35 days', 1, interval '45 days')) AS e (epoch, started, parent, start)",
        tenant_id,
    )
    await _schedule(manager, keep_days=30).remove_old()
    left = (await client.get(f"/v1/tenants/{tenant_id}/backups")).json()["data"]
    assert str(base.backup_id) in [backup["backup_id"] for backup in left]


async def test_a_bucket_and_a_key_of_aws_do_as_well(installation: Installation) -> None:
    with bucket_settings(installation) as (settings, amazon):
        async with running(settings) as app, client_of(app) as client:
            tenant_id, _ = await filled_tenant(app, client, events=300)
            backup = await _backed_up(client, tenant_id)
            operation = await _verified(client, tenant_id, backup.backup_id)
            assert operation["status"] == "succeeded", operation["message"]
            listed = amazon.client("s3").list_objects_v2(
                Bucket=BUCKET, Prefix=f"freehold/tenants/{tenant_id}/"
            )
            key, stored = sorted(listed["Contents"], key=lambda one: one["Size"])
            assert key["Key"] == f"freehold/tenants/{tenant_id}/data-key"
            assert stored["Size"] == backup.bytes


async def test_the_only_backup_stays_however_old(own: tuple[Components, httpx.AsyncClient]) -> None:
    manager, client = own
    (tenant_id,) = await _new_tenants(client, 1)
    backup = await _backed_up(client, tenant_id)
    await _age(manager, backup.backup_id, 1_000)
    await _schedule(manager).remove_old()
    assert len((await client.get(f"/v1/tenants/{tenant_id}/backups")).json()["data"]) == 1
