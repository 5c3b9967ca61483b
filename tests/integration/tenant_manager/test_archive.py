"""The archive of a tenant: what it keeps, for how long, and that no restore is made without it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from freehold.contracts.errors import Unavailable
from freehold.ledger import rules
from freehold.ledger.schema import LEDGER_VERSION, LEDGER_VERSION_MIN
from freehold.tenants.catalog import Catalog
from freehold_tenant_manager.archive.archiver import Archiver
from freehold_tenant_manager.archive.compaction import Compaction
from freehold_tenant_manager.archive.retention import ArchiveRetention
from integration.tenant_manager.buckets import BUCKET, bucket_settings
from integration.tenant_manager.installation import Installation, client_of, components_of, running
from integration.tenant_manager.restorable import RestorableTenant
from support.operations import request_ended
from support.waiting import eventually


async def test_a_ledger_of_an_earlier_release_is_archived_once_it_is_migrated(
    tenant: RestorableTenant,
) -> None:
    await tenant.grow(1)
    change = "UPDATE tenants SET schema_version = schema_version + $2 WHERE tenant_id = $1"
    older = LEDGER_VERSION_MIN - 1 - LEDGER_VERSION
    for step, seq, fault in ((older, 0, "the ledger is to be migrated first"), (-older, 1, None)):
        await tenant.find(Catalog).execute(change, tenant.tenant_id, step)
        await tenant.find(Archiver).archive(tenant.tenant_id, even_if_claimed=True)
        shown = (await tenant.shown())["archive"]
        assert (shown["seq"], shown["fault"]) == (seq, fault)


async def test_segments_are_deleted_once_no_restore_needs_them(tenant: RestorableTenant) -> None:
    await tenant.grow_and_archive(1)
    await tenant.grow_and_archive(2)

    retention = tenant.find(ArchiveRetention)
    assert await retention.remove_of(tenant.tenant_id, datetime.now(UTC)) == 0
    await tenant.back_up()
    horizon = datetime.now(UTC)
    instant = await tenant.grow_and_archive(3)
    # As long as the time before the backup is promised, all of it stays.
    assert await retention.remove_of(tenant.tenant_id, instant - timedelta(days=1)) == 0
    assert len(tenant.segments()) == 3
    # The segment that ends where the backup does may have later changes of rules.
    assert await retention.remove_of(tenant.tenant_id, horizon) == 1
    assert await retention.remove_of(tenant.tenant_id, horizon) == 0
    assert len(tenant.segments()) == 2
    await tenant.restored(to=instant)
    assert await tenant.amounts() == [1, 2, 3]


@pytest.mark.parametrize("backed_up", [False, True])
async def test_rules_that_changed_without_an_event_outlive_retention(
    tenant: RestorableTenant, *, backed_up: bool
) -> None:
    if backed_up:
        await tenant.grow(1)
        await tenant.back_up()
    await tenant.limit(0)
    await tenant.archive()
    instant = await tenant.grow_and_archive(2)
    horizon = datetime.now(UTC) + timedelta(seconds=1)
    await tenant.find(ArchiveRetention).remove_of(tenant.tenant_id, horizon)
    await tenant.restored(to=instant)
    assert await tenant.is_limited()


async def test_the_archive_keeps_connections_to_active_tenants(tenant: RestorableTenant) -> None:
    # More of them than are archived at once.
    tenants = [tenant, *[await tenant.neighbour() for _ in range(5)]]
    homes = [await one.home("backup") for one in tenants]

    async def archivers() -> set[int]:
        async with tenant.installation.superuser() as superuser:
            rows = await superuser.fetch(
                "SELECT pid FROM pg_stat_activity WHERE usename = ANY($1::text[])",
                [home.role for home in homes],
            )
        return {row["pid"] for row in rows}

    async def round_of_all() -> None:
        for one in tenants:
            await one.grow()
            await one.archive()

    await round_of_all()
    before = await archivers()
    assert len(before) == len(tenants)
    await round_of_all()
    assert await archivers() == before


async def test_a_truncated_segment_has_no_later_rule(
    tenant: RestorableTenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    await tenant.grow(1)
    await tenant.grow(2)
    await tenant.back_up()
    await tenant.limit(0)
    instant = await tenant.grow(3)
    monkeypatch.setattr(tenant.find(Archiver), "_events_max", 1)
    await tenant.archive()
    await tenant.restored(to=instant)
    assert await tenant.is_limited()


async def test_an_instant_whose_segments_are_gone_is_not_restored_as_an_earlier_one(
    tenant: RestorableTenant,
) -> None:
    instants = []
    for amount in range(1, 5):
        instants.append(await tenant.grow(amount))
        await tenant.archive()
    before = await tenant.home()
    files = tenant.segments()
    kept = files[1].read_bytes()
    files[1].unlink()
    shown = await tenant.operated(to=instants[1])
    assert shown["message"] == "nothing was restored: the archive lacks what follows event 1"
    files[0].unlink()
    shown = await tenant.operated(to=instants[0])
    assert shown["message"] == "nothing was restored: the archive lacks what follows event 0"
    assert await tenant.home() == before
    # A backup that is older is not taken for the instant, either.
    await tenant.back_up()
    later = await tenant.grow(5)
    await tenant.grow(6)
    files[1].write_bytes(kept)
    await tenant.restored(to=later)
    assert await tenant.amounts() == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(("lost", "change"), [(1, 0), (2, 1), (4, 2)])
async def test_a_change_of_rules_that_is_lost_is_not_restored_without(
    tenant: RestorableTenant, lost: int, change: int
) -> None:
    """Those that stand alone in a segment: no event is missing then."""
    await tenant.grow_and_archive(1)
    for limit in (-5, 0):
        await tenant.limit_and_archive(limit)
    instant = await tenant.grow_and_archive(2)
    if lost == 4:
        await tenant.limit_and_archive(-9)
        instant = datetime.now(UTC)
    before = await tenant.home()
    files = tenant.segments()
    kept = files[lost].read_bytes()
    files[lost].unlink()
    shown = await tenant.operated(to=instant)
    lacking = f"the archive lacks what follows change {change} of the rules"
    assert shown["message"] == f"nothing was restored: {lacking}"
    assert await tenant.home() == before
    files[lost].write_bytes(kept)
    await tenant.restored(to=instant)
    async with tenant.inside() as connection:
        (found,) = await rules.limits_of(connection, "cus_9")
    assert found["min_balance_minor"] == (-9 if lost == 4 else 0)


async def test_rules_that_were_changed_later_are_not_missing(tenant: RestorableTenant) -> None:
    await tenant.grow(1)
    await tenant.limit_and_archive(0)
    instant = await tenant.grow(2)
    for limit in (-5, -6, None):
        await tenant.limit_and_archive(limit)
    await tenant.restored(to=instant)
    await tenant.limit_and_archive(-7)
    # Also through an epoch that has events after the start of the next one.
    await tenant.restored(to=datetime.now(UTC))
    assert await tenant.amounts() == [1, 2]
    async with tenant.inside() as connection:
        assert [row[1] for row in await rules.limits_of(connection, "cus_9")] == [-7]


async def test_nothing_is_swapped_while_the_storage_does_not_take_what_the_tenant_has(
    tenant: RestorableTenant,
) -> None:
    instant = await tenant.grow_and_archive(1)
    await tenant.grow(2)
    before = await tenant.home()
    segments = tenant.segments()[0].parent
    aside = segments.rename(segments.with_name("aside"))
    segments.write_bytes(b"in the way")
    answer = await tenant.ask_to_restore(to=instant)
    path = f"/v1/operations/{answer.json()['operation_id']}"

    async def was_tried() -> bool:
        shown = (await tenant.manager.get(path)).json()
        return str(shown["message"]).startswith("waits: the archive cannot be reached")

    await eventually(was_tried, "the restore has met the storage")
    assert await tenant.home() == before
    segments.unlink()
    aside.rename(segments)
    result = (await request_ended(tenant.manager, answer))["result"]
    assert result["archive_fault"] is None
    # Nothing of what was acknowledged is lost to a restore of the restore.
    end = datetime.now(UTC)
    await tenant.restored(to=end)
    row = await tenant.find(Catalog).fetchrow(
        "SELECT archived_seq FROM tenant_epochs WHERE tenant_id = $1 AND epoch = 1",
        tenant.tenant_id,
    )
    assert row is not None
    assert row["archived_seq"] == 2


async def test_what_only_the_live_database_has_is_restored_although_it_did_not_answer_at_first(
    tenant: RestorableTenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    await tenant.grow_and_archive(1)
    await tenant.limit(0)
    instant = await tenant.grow(2)
    archiver = tenant.find(Archiver)
    archive_really, tries = archiver.archive, 0

    async def archive_but_at_first(tenant_id: str, **named: bool) -> Any:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise Unavailable("too many connections")
        return await archive_really(tenant_id, **named)

    monkeypatch.setattr(archiver, "archive", archive_but_at_first)
    result = await tenant.restored(to=instant)
    assert (result["head_seq"], result["archive_fault"]) == (2, None)
    assert await tenant.amounts() == [1, 2]
    # It is made in the database that was begun, and lets the services in.
    (former,) = await tenant.retired()
    assert former["name"] == result["former_database"]
    assert await tenant.is_limited()


async def test_a_ledger_that_is_to_be_migrated_first_is_restored_from_what_is_archived(
    tenant: RestorableTenant,
) -> None:
    instant = await tenant.grow_and_archive(1)
    await tenant.find(Catalog).execute(
        "UPDATE tenants SET schema_version = $2 WHERE tenant_id = $1",
        tenant.tenant_id,
        LEDGER_VERSION_MIN - 1,
    )
    result = await tenant.restored(to=instant)
    assert "migrated" in result["archive_fault"]
    assert await tenant.amounts() == [1]


async def test_small_segments_are_joined_and_restore_as_before(tenant: RestorableTenant) -> None:
    instant = datetime.now(UTC)
    for amount in range(1, 21):
        moment = await tenant.grow(amount)
        if amount == 15:
            instant = moment
        if amount == 7:
            await tenant.limit(0)
        await tenant.archive()
    joining = tenant.find(Compaction)
    kept = {file: file.read_bytes() for file in tenant.segments()}
    assert len(kept) == 20
    assert await joining.compact(tenant.tenant_id, 1, instant - timedelta(days=1)) == 0
    assert await joining.compact(tenant.tenant_id, 1, datetime.now(UTC) + timedelta(days=1)) == 20
    (whole,) = tenant.segments()
    assert whole not in kept
    # A crash before the small ones went, half of them.
    for file, content in list(kept.items())[::2]:
        file.write_bytes(content)
    await tenant.restored(to=instant)
    assert await tenant.amounts() == list(range(1, 16))
    # What is archived later follows what was joined.
    await tenant.grow(16)
    await tenant.restored(to=instant + timedelta(milliseconds=1))
    assert await tenant.amounts() == list(range(1, 16))


async def test_archive_and_restore_do_as_well_with_a_bucket_and_a_key_of_aws(
    installation: Installation,
) -> None:
    with bucket_settings(installation) as (settings, amazon):
        bucket = amazon.client("s3")

        def segments() -> list[str]:
            listed = bucket.list_objects_v2(Bucket=BUCKET).get("Contents", [])
            return [one["Key"] for one in listed if "/segments/" in one["Key"]]

        async with running(settings) as app, client_of(app) as manager:
            tenant = await RestorableTenant.make(components_of(app), manager, installation)
            for amount in range(1, 17):
                await tenant.grow_and_archive(amount)
            assert len(segments()) == 16
            tomorrow = datetime.now(UTC) + timedelta(days=1)
            assert await tenant.find(Compaction).compact(tenant.tenant_id, 1, tomorrow) == 16
            (whole,) = segments()
            first = await tenant.grow_and_archive(17)
            await tenant.back_up()
            last = await tenant.grow_and_archive(18)
            retention = tenant.find(ArchiveRetention)
            # All that was joined is needed for the time before the backup, and then no more.
            assert await retention.remove_of(tenant.tenant_id, first) == 0
            result = await tenant.restored(to=first, preview=True)
            assert (result["head_seq"], result["backup_id"]) == (17, None)
            assert await retention.remove_of(tenant.tenant_id, tomorrow) == 1
            assert len(segments()) == 2
            assert whole not in segments()
            gone = (await tenant.home()).database
        async with installation.superuser() as superuser:
            await superuser.execute(f"DROP DATABASE {gone} WITH (FORCE)")
        # A process that has nothing but the bucket, and asks for the data key anew.
        async with running(settings) as app, client_of(app) as manager:
            tenant = replace(tenant, parts=components_of(app), manager=manager)
            await tenant.restored(to=last)
            assert await tenant.amounts() == list(range(1, 19))


async def test_a_tenant_shows_how_far_they_are_archived(tenant: RestorableTenant) -> None:
    await tenant.grow(1, 2)
    await tenant.archive()
    shown = (await tenant.shown())["archive"]
    assert (shown["epoch"], shown["seq"], shown["fault"]) == (1, 2, None)
    assert shown["archived_at"] is not None


async def test_a_damaged_archive_fails_the_restore_and_leaves_the_tenant_as_it_was(
    tenant: RestorableTenant,
) -> None:
    await tenant.grow_and_archive(1)
    instant = await tenant.grow_and_archive(2)
    before = await tenant.home()
    folder = tenant.segments()
    kept = folder[0].read_bytes()
    for damage in (kept[:-1], kept[:100] + bytes([kept[100] ^ 1]) + kept[101:], None):
        if damage is None:
            folder[0].unlink()
        else:
            folder[0].write_bytes(damage)
        shown = await tenant.operated(to=instant)
        assert shown["status"] == "failed"
        assert "nothing was restored" in shown["message"]
        assert await tenant.home() == before
        assert await tenant.retired() == []
    folder[0].write_bytes(kept)
    # The last one is missing: only the catalog knows that.
    last = folder[1].read_bytes()
    folder[1].unlink()
    shown = await tenant.operated(to=datetime.now(UTC))
    assert shown["message"] == "nothing was restored: the archive lacks what follows event 1"
    folder[1].write_bytes(last)
    await tenant.restored(to=instant)
    assert await tenant.amounts() == [1, 2]
