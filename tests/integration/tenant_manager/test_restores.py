"""A tenant is restored to any second from the storage, without effect on others."""

import secrets
import uuid
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import asyncpg
import pytest

from freehold.contracts.errors import DomainError
from freehold.ledger import client, rules
from freehold.ledger.append import Outcome
from freehold.ledger.clocks import Clock
from freehold.tenants.catalog import Catalog
from freehold_tenant_manager.archive.retention import ArchiveRetention
from freehold_tenant_manager.backups.store import record_verification
from freehold_tenant_manager.dumps.dumps import Dumps
from freehold_tenant_manager.provisioning.tenant_databases import new_database_name
from freehold_tenant_manager.restore.examination import _QUERIES
from freehold_tenant_manager.restore.retired_databases import RetiredDatabases, register_database
from integration.tenant_manager.installation import (
    KEY_RING,
    Installation,
    client_of,
    components_of,
    connected,
    new_tenant,
    running,
)
from integration.tenant_manager.restorable import RestorableTenant, of
from support.answers import problem
from support.builders import append, append_request, new_event, new_hold, set_clock
from support.operations import request_ended
from support.waiting import eventually


@pytest.mark.parametrize("backed_up", [False, True])
async def test_a_tenant_is_restored_to_an_instant(
    tenant: RestorableTenant, *, backed_up: bool
) -> None:
    await tenant.grow(1, 2)
    if backed_up:
        await tenant.back_up()
    instant = await tenant.grow(3)
    await tenant.grow(4)
    before = await tenant.home()
    result = await tenant.restored(to=instant)
    assert await tenant.amounts() == [1, 2, 3]
    after = await tenant.home()
    assert (after.epoch, after.database) == (2, result["database"])
    assert result["former_database"] == before.database
    assert (result["backup_id"] is not None) == backed_up
    assert (result["head_seq"], result["epoch"]) == (3, 2)
    assert result["events_left_out"] == {"count": 1, "first_seq": 4, "last_seq": 4}
    (former,) = await tenant.retired()
    assert (former["name"], former["kind"], former["epoch"]) == (before.database, "former", 1)
    # The tenant continues from there.
    await tenant.grow(5)
    async with tenant.inside("projector") as connection:
        assert (await client.project(connection, 10)).epoch == 2
    assert await tenant.amounts() == [1, 2, 3, 5]
    shown = await tenant.shown()
    assert (shown["epoch"], shown["home"]["database"]) == (2, result["database"])


async def test_a_ledgers_tables_are_analyzed_and_no_others(tenant: RestorableTenant) -> None:
    database = (await tenant.home()).database
    async with tenant.installation.superuser(database) as connection:
        notices: list[object] = []
        connection.add_log_listener(lambda _, notice: notices.append(notice))
        await connection.execute(f"SET ROLE {database}_owner")
        await connection.execute(await connection.fetchval(_QUERIES["analyze_command"]))
        assert not notices
        left = "SELECT relname FROM pg_stat_user_tables WHERE schemaname = 'ledger'"
        assert await connection.fetch(f"{left} AND last_analyze IS NULL") == []


async def test_nothing_is_acknowledged_into_the_former_database_any_more(
    tenant: RestorableTenant,
) -> None:
    instant = await tenant.grow(1)
    old = await tenant.home()
    async with connected(old) as connection:
        result = await tenant.restored(to=instant)
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
            await append(connection, [of(2)])
        connection.terminate()
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with connected(old):
            pass
    assert result["former_database"] == old.database


async def test_a_former_database_is_dropped_although_roles_of_its_own_are_in_it(
    tenant: RestorableTenant,
) -> None:
    instant = await tenant.grow(1)
    auditor = await tenant.home("auditor")
    backup = await tenant.home("backup")
    async with connected(auditor) as one, connected(backup) as other:
        result = await tenant.restored(to=instant)
        name = result["former_database"]
        path = f"{tenant.path}/former-databases/{name}?confirm={name}"
        async with tenant.installation.superuser(name):
            answer = await tenant.manager.delete(path)
            assert (answer.status_code, "Retry-After" in answer.headers) == (503, True)

        async def dropped() -> bool:
            return (await tenant.manager.delete(path)).status_code == 204

        await eventually(dropped, "the superuser has left")
        for connection in (one, other):
            connection.terminate()
    assert await tenant.retired() == []


async def test_keys_external_ids_and_rules_come_back(tenant: RestorableTenant) -> None:
    charge = append_request(new_event(amount_minor=1, external_id="ch_1"), key="one")
    await tenant.grow(charge)
    await tenant.back_up()
    refund = append_request(new_event(amount_minor=2, external_id="ch_2"), key="two")
    await tenant.grow(refund)
    await tenant.limit(0)
    instant = await tenant.grow(append_request(new_hold(amount_minor=1), key="hold"))
    await tenant.limit(None)
    late = append_request(new_event(amount_minor=3, external_id="ch_3"), key="three")
    await tenant.grow(late)
    await tenant.restored(to=instant)
    async with tenant.inside() as connection:
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
    assert await tenant.project() == 4
    assert await tenant.amounts() == [1, 2, 0, 3]


async def test_a_tenant_whose_database_is_gone_is_restored(tenant: RestorableTenant) -> None:
    await tenant.grow(1)
    await tenant.back_up()
    instant = await tenant.grow(2)
    await tenant.grow_and_archive(3)
    gone = (await tenant.home()).database
    async with tenant.installation.superuser() as superuser:
        await superuser.execute(f"DROP DATABASE {gone} WITH (FORCE)")
    await tenant.restored(to=instant)
    assert await tenant.amounts() == [1, 2]
    # To the end of what was archived, although the epoch in between has nothing of it.
    later = await tenant.restored(to=instant + timedelta(milliseconds=1))
    assert later["head_seq"] == 2
    assert (await tenant.retired())[0]["name"] == gone


async def test_a_backup_is_restored_as_it_is(tenant: RestorableTenant) -> None:
    await tenant.grow(1, 2)
    backup_id = await tenant.back_up()
    await tenant.grow(3)
    result = await tenant.restored(backup_id=backup_id)
    assert (result["backup_id"], result["segments"]) == (backup_id, 0)
    assert await tenant.amounts() == [1, 2]


async def test_restores_of_restores(tenant: RestorableTenant) -> None:
    first = await tenant.grow(1)
    await tenant.back_up()
    second = await tenant.grow(2)
    third = await tenant.grow(3)
    await tenant.restored(to=first)
    fourth = await tenant.grow(40)
    await tenant.grow(50)
    await tenant.project()
    assert await tenant.amounts() == [1, 40, 50]
    # Within the present history.
    await tenant.restored(to=fourth)
    assert await tenant.amounts() == [1, 40]
    await tenant.grow(600)
    # Into the first one, beyond where it was left.
    await tenant.restored(to=third)
    assert await tenant.amounts() == [1, 2, 3]
    await tenant.grow(7000)
    await tenant.project()
    # Into the second.
    result = await tenant.restored(to=fourth)
    assert result["from_epoch"] == 2
    assert await tenant.amounts() == [1, 40]
    await tenant.restored(to=second)
    assert await tenant.amounts() == [1, 2]
    assert (await tenant.home("query")).epoch == 6
    assert len(await tenant.retired()) == 5


@pytest.mark.parametrize("backed_up", [False, True])
async def test_a_tenant_is_restored_to_an_event_with_the_rules_of_then(
    tenant: RestorableTenant, *, backed_up: bool
) -> None:
    for amount in (1, 2, 3):
        await tenant.limit_and_archive(amount)
        await tenant.grow(amount)
        if backed_up:
            await tenant.back_up()
    await tenant.limit_and_archive(4)
    for to_seq in (3, 2, 1):
        result = await tenant.restored(to_seq=to_seq)
        assert (result["head_seq"], result["from_epoch"]) == (to_seq, 4 - to_seq)
        left_out = result["events_left_out"]
        assert left_out["count"] == (1 if to_seq < 3 else 0)
        assert left_out["last_seq"] == (to_seq + 1 if to_seq < 3 else None)
        assert await tenant.amounts() == [1, 2, 3][:to_seq]
        async with tenant.inside() as connection:
            (limit,) = await rules.limits_of(connection, "cus_9")
            assert limit["min_balance_minor"] == to_seq
    shown = await tenant.operated(to_seq=2)
    assert (shown["status"], shown["message"]) == ("failed", "1 is the ledger's last event")
    # In histories of before it is reached by time alone.
    await tenant.grow(20)
    assert (await tenant.restored(to_seq=2))["events_left_out"]["count"] == 0
    assert await tenant.amounts() == [1, 20]


@pytest.mark.parametrize("backed_up", [False, True])
async def test_events_dated_ahead_by_a_clock_leap_are_reported_when_left_out(
    tenant: RestorableTenant, *, backed_up: bool
) -> None:
    """As a release that believed its one clock has written it: an hour ahead, for one event."""
    await tenant.grow(1)
    database = (await tenant.home()).database
    async with tenant.installation.superuser(database) as superuser:
        await superuser.execute("SET search_path TO ledger")
        await set_clock(superuser, timedelta(hours=1))
        await tenant.grow(2)
        await set_clock(superuser, timedelta())
    now = await tenant.grow(3)
    if backed_up:
        await tenant.back_up()
    await tenant.grow_and_archive(4)
    async with tenant.inside("auditor") as connection:
        last = (await client.head(connection)).recorded_at
    assert last > now + timedelta(minutes=59)

    result = await tenant.restored(to=now, preview=True)
    assert result["head_seq"] == 1
    assert result["events_left_out"] == {"count": 3, "first_seq": 2, "last_seq": 4}
    # A time ahead of now is accepted up to the last recorded event.
    answer = await tenant.ask_to_restore(to=last + timedelta(seconds=1))
    assert answer.status_code == 422
    assert "event 4" in answer.json()["detail"]
    for wanted in ({"to": last}, {"to_seq": 4}):
        result = await tenant.restored(**wanted, preview=True)
        assert (result["head_seq"], result["events_left_out"]["count"]) == (4, 0)
    result = await tenant.restored(to_seq=3)
    assert result["events_left_out"] == {"count": 1, "first_seq": 4, "last_seq": 4}
    assert await tenant.amounts() == [1, 2, 3]
    # That is the tenant's own from now on, and what came before is not hidden by it.
    await tenant.grow(5)
    result = await tenant.restored(to_seq=4)
    assert await tenant.amounts() == [1, 2, 3, 5]


async def test_nothing_is_restored_or_removed_while_it_is_uncertain_what_the_time_is(
    installation: Installation,
) -> None:
    settings = installation.settings(f"freehold_test_catalog_{secrets.token_hex(6)}")
    async with running(settings) as app, client_of(app) as manager:
        tenant = await RestorableTenant.make(components_of(app), manager, installation)
        instant = await tenant.grow_and_archive(1)
        catalog = tenant.find(Catalog)
        clock = catalog._clock
        catalog._clock = Clock(60, now=lambda: datetime.now(UTC) + timedelta(days=400))

        async def notices() -> bool:
            return not catalog.clocks_agree

        await eventually(notices, "the difference is noticed")
        answer = await tenant.ask_to_restore(to=instant)
        problem(answer, "clocks-disagree")
        for path, body in (("/v1/tenants", new_tenant()), (f"{tenant.path}/backups", None)):
            answer = await manager.post(path, json=body)
            assert answer.json()["type"] == "/problems/clocks-disagree"
        with pytest.raises(DomainError, match="clock"):
            await tenant.find(ArchiveRetention).remove_old()
        catalog._clock = clock

        async def is_over() -> bool:
            return catalog.clocks_agree

        await eventually(is_over, "the clocks agree again")
        assert (await tenant.restored(to=instant))["head_seq"] == 1


async def test_a_preview_leaves_the_live_database_alone(tenant: RestorableTenant) -> None:
    instant = await tenant.grow(1)
    await tenant.grow(2)
    before = await tenant.home()
    result = await tenant.restored(to=instant, preview=True)
    assert await tenant.home() == before
    (preview,) = await tenant.retired()
    assert (preview["name"], preview["kind"]) == (result["database"], "preview")
    async with tenant.installation.superuser(result["database"]) as superuser:
        assert await superuser.fetchval("SELECT count(*) FROM ledger.ledger_events") == 1
    path = f"{tenant.path}/former-databases/{result['database']}"
    for unsure in ("", f"?confirm={tenant.tenant_id}", "?confirm="):
        problem(await tenant.manager.delete(path + unsure), "validation-failed")
    for status in (204, 404):
        assert (await tenant.drop_retired(result["database"])).status_code == status
    assert await tenant.retired() == []
    async with tenant.installation.superuser() as superuser:
        left = await superuser.fetch(
            "SELECT datname FROM pg_database WHERE datname = $1"
            " UNION ALL SELECT rolname FROM pg_roles WHERE rolname LIKE $1 || '%'",
            result["database"],
        )
    assert left == []
    # What the tenant lives in is nothing to drop.
    assert (await tenant.drop_retired(before.database)).status_code == 404


async def test_another_tenant_is_not_affected(tenant: RestorableTenant) -> None:
    neighbour = await tenant.neighbour()
    instant = await neighbour.grow(of(1, external_id="x"), append_request(new_hold()))
    await neighbour.project()
    await tenant.grow(1)
    before = await everything_of(neighbour)
    await tenant.restored(to=max(instant, await tenant.grow(2)))
    assert await everything_of(neighbour) == before
    assert await neighbour.retired() == []


async def everything_of(tenant: RestorableTenant) -> Any:
    """A tenant's dump, and what the catalog and the server know of them."""
    home = await tenant.home("backup")
    async with connected(home) as connection:
        version = connection.get_server_version().major
    digest = sha256()
    async with Dumps(timeout_s=60, bytes_per_s=2**30).dump(
        home, "sql", server_version=version
    ) as pieces:
        async for piece in pieces:
            # Newer releases write a random word there.
            digest.update(b"\n".join(x for x in piece.split(b"\n") if b"restrict" not in x))
    async with tenant.installation.superuser() as superuser:
        roles = await superuser.fetch(
            "SELECT rolname, rolpassword, rolcanlogin, rolconnlimit FROM pg_authid"
            " WHERE rolname LIKE $1 || '%' ORDER BY 1",
            home.database,
        )
        database = await superuser.fetchrow(
            "SELECT oid, datacl, datallowconn FROM pg_database WHERE datname = $1", home.database
        )
    row = await tenant.find(Catalog).fetchrow(
        "SELECT * FROM tenants WHERE tenant_id = $1", tenant.tenant_id
    )
    return digest.hexdigest(), [tuple(role) for role in roles], tuple(database or ()), row


async def test_a_database_that_a_restore_has_left_is_dropped(tenant: RestorableTenant) -> None:
    name, operation_id = new_database_name(), uuid.uuid4()
    async with tenant.find(Catalog).connection() as connection:
        await register_database(connection, KEY_RING, name, tenant.tenant_id, 2, operation_id)
    await tenant.find(RetiredDatabases).drop_abandoned()
    assert await tenant.retired() == []
    assert not await tenant.find(Catalog).fetch(
        "SELECT FROM credentials WHERE database_name = $1", name
    )


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
        ({"to": "2026-03-01T12:00:00Z", "to_seq": 1}, ""),
        ({"to_seq": 1, "backup_id": str(uuid.uuid4())}, ""),
        ({"to_seq": 0}, "/to_seq"),
        ({"to_seq": 2**63}, "/to_seq"),
        ({"to_seq": "1"}, "/to_seq"),
    ],
)
async def test_a_restore_that_makes_no_sense_is_refused(
    tenant: RestorableTenant, wanted: dict[str, Any], pointer: str
) -> None:
    answer = await tenant.ask_to_restore(**wanted)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == pointer


async def test_an_unknown_tenant_or_database_is_not_found(tenant: RestorableTenant) -> None:
    wanted = {"to": "2026-03-01T12:00:00Z"}
    for path in ("restores", "former-databases"):
        assert (await tenant.manager.get(f"/v1/tenants/unknown/{path}")).status_code in {404, 405}
    assert (
        await tenant.manager.post("/v1/tenants/unknown/restores", json=wanted)
    ).status_code == 404
    for name in ("x", "fh_0123456789abcdef"):
        assert (await tenant.drop_retired(name)).status_code == 404


async def test_a_backup_that_cannot_be_restored_is_refused_at_once(
    tenant: RestorableTenant,
) -> None:
    await tenant.grow(1)
    theirs = await tenant.neighbour()
    await theirs.grow(1)
    answers = [
        (await tenant.ask_to_restore(backup_id=backup_id)).json()
        for backup_id in (str(uuid.uuid4()), await theirs.back_up())
    ]
    # Another tenant's backup looks like one that does not exist.
    assert answers[0] == answers[1]
    assert (answers[0]["status"], answers[0]["detail"]) == (404, "the tenant has no such backup")
    backup_id = await tenant.back_up()
    async with tenant.find(Catalog).connection() as connection:
        await record_verification(connection, uuid.UUID(backup_id), ok=False)
    answer = await tenant.ask_to_restore(backup_id=backup_id)
    assert answer.status_code == 422
    assert "damaged" in answer.json()["errors"][0]["detail"]
    operations = (
        await tenant.manager.get("/v1/operations", params={"tenant_id": tenant.tenant_id})
    ).json()
    assert "restore" not in {operation["kind"] for operation in operations["data"]}


async def test_a_ledger_that_was_rewritten_is_archived_no_further_and_restored_as_it_was(
    tenant: RestorableTenant,
) -> None:
    await tenant.grow(1)
    instant = await tenant.grow_and_archive(2)
    await rewrite(tenant)
    await tenant.restored(to=instant)
    assert await tenant.amounts() == [1, 2]
    row = await tenant.find(Catalog).fetchrow(
        "SELECT fault FROM tenant_epochs WHERE tenant_id = $1 AND epoch = 1", tenant.tenant_id
    )
    assert row is not None
    assert row["fault"] == "the ledger's event 2 is not the one that was archived"


async def test_a_ledger_that_cannot_be_deleted_as_it_is_can_be_restored_and_then_deleted(
    tenant: RestorableTenant,
) -> None:
    await tenant.grow(1)
    instant = await tenant.grow_and_archive(2)
    await rewrite(tenant)

    async def deleted() -> str:
        answer = await tenant.manager.delete(f"{tenant.path}?confirm={tenant.tenant_id}")
        assert answer.status_code == 202, answer.text
        return str((await request_ended(tenant.manager, answer))["status"])

    assert await deleted() == "failed"
    result = await tenant.restored(to=instant)
    assert result["archive_fault"] == "the ledger's event 2 is not the one that was archived"
    shown = await tenant.shown()
    assert (shown["status"], shown["epoch"]) == ("deleting", 2)
    assert await deleted() == "succeeded"
    answer = await tenant.ask_to_restore(to=instant)
    assert answer.status_code == 404


async def rewrite(tenant: RestorableTenant) -> None:
    """Change an event as only the server's superuser can."""
    home = await tenant.home()
    async with tenant.installation.superuser(home.database) as superuser:
        await superuser.execute(
            "SET search_path = ledger; SET session_replication_role = replica;"
            "ALTER TABLE ledger_events DISABLE TRIGGER append_only;"
            "UPDATE ledger_events SET hash = decode(repeat('00', 32), 'hex') WHERE seq = 2"
        )
