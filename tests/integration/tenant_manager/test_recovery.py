"""The server is lost; storage and keys remain: one command brings everything back elsewhere."""

import asyncio
import base64
import json
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest

from freehold.contracts.errors import DomainError, Unavailable
from freehold.ledger import client, rules
from freehold.ledger.append import AppendRequest, Outcome
from freehold.security.api_keys import parse_api_key
from freehold.security.key_ring import KeyRing
from freehold.tenants.catalog import Catalog
from freehold.tenants.directory import Directory
from freehold_tenant_manager.application import build_application
from freehold_tenant_manager.archive.archiver import Archiver
from freehold_tenant_manager.archive.retention import ArchiveRetention
from freehold_tenant_manager.archive.store import Archive
from freehold_tenant_manager.http.components import Components
from freehold_tenant_manager.operations.operations import Operations
from freehold_tenant_manager.recover_command import new_recovery
from freehold_tenant_manager.recovery.recovery import Recovered, RecoveryError, Report
from freehold_tenant_manager.recovery.shipper import Shipper
from freehold_tenant_manager.recovery.snapshot import LEFT_OUT, SHIPPED
from freehold_tenant_manager.settings import Settings
from integration.tenant_manager.buckets import bucket_settings
from integration.tenant_manager.installation import (
    CREDENTIAL_KEYS,
    KEY_RING,
    Installation,
    becomes_ready,
    client_of,
    components_of,
    connected,
    new_installation,
    running,
    service_password,
)
from integration.tenant_manager.ledgers import home_of
from support.builders import append, append_request, new_event, new_hold
from support.operations import request_ended
from support.servers import another_postgres_server
from support.waiting import eventually

OTHER_KEY = "other:" + base64.b64encode(bytes(32)).decode()


@dataclass(slots=True)
class Known:
    """What was known of a tenant before the server was lost."""

    status: str
    epoch: int
    events: list[tuple[Any, ...]]
    balances: dict[str, int]
    rules: list[tuple[Any, ...]]
    passwords: dict[str, str]
    request: AppendRequest
    head_hash: bytes = b""


@dataclass(slots=True)
class Lost:
    """What there was, and what is left of it: a storage and a file of keys."""

    settings: Settings
    tenants: dict[str, Known] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)

    def remaining(self, folder: Path) -> dict[str, Any]:
        """Copy what is left: who recovers from it makes it their own."""
        storage = Path(self.settings.storage_url.removeprefix("file://"))
        shutil.copytree(storage, folder / "storage")
        shutil.copy(self.settings.kms_key_file, folder / "kms.keys")
        return {
            "storage_url": (folder / "storage").as_uri(),
            "kms_key_file": folder / "kms.keys",
            "backup_every_s": 0,
        }


@asynccontextmanager
async def empty_server(folder: Path) -> AsyncIterator[Installation]:
    """Run a server on which there is nothing but our role."""
    stack = another_postgres_server(folder)
    url = await asyncio.to_thread(stack.__enter__)
    try:
        async with new_installation(url, folder) as installation:
            yield installation
    finally:
        await asyncio.to_thread(stack.__exit__, None, None, None)


async def grow(parts: Components, tenant_id: str, *requests: AppendRequest) -> datetime:
    async with connected(await home_of(parts, tenant_id, "ingest")) as connection:
        for request in requests:
            (answer,) = await append(connection, [request])
            assert answer.outcome == Outcome.CREATED
        instant: datetime = await connection.fetchval("SELECT clock_timestamp()")
    async with connected(await home_of(parts, tenant_id, "projector")) as connection:
        while (await client.project(connection, 1000)).applied:
            pass
    return instant


async def known_of(parts: Components, tenant_id: str, request: AppendRequest) -> Known:
    async with connected(await home_of(parts, tenant_id, "auditor")) as connection:
        proof = await client.verify(connection)
        assert proof.ok, proof.reason
        assert await client.reconcile(connection) == []
        events = await connection.fetch(
            "SELECT seq, event_id, account_id, amount_minor, recorded_at, hash FROM ledger_events"
            " ORDER BY seq"
        )
        balances = await connection.fetch(
            "SELECT account_id || currency AS account, sum(amount_minor) AS balance"
            " FROM ledger_events GROUP BY 1"
        )
        changes = await connection.fetch(
            "SELECT kind, subject, terms FROM rule_changes ORDER BY change_id"
        )
    row = await parts.find(Catalog).fetchrow(
        "SELECT status, epoch FROM tenants WHERE tenant_id = $1", tenant_id
    )
    assert row is not None
    passwords = {
        service: (await home_of(parts, tenant_id, service)).password
        for service in ("ingest", "auditor")
    }
    return Known(
        row["status"],
        row["epoch"],
        [tuple(event) for event in events],
        {one["account"]: int(one["balance"]) for one in balances},
        [tuple(change) for change in changes],
        passwords,
        request,
        proof.head_hash,
    )


async def made(manager: httpx.AsyncClient, tenant_id: str) -> str:
    answer = await manager.post(
        "/v1/tenants",
        json={"tenant_id": tenant_id, "name": "N", "region": "local", "isolation": "database"},
    )
    assert answer.status_code == 201, answer.text
    return str(answer.json()["api_key"])


async def succeeded(manager: httpx.AsyncClient, asked: httpx.Response) -> None:
    shown = await request_ended(manager, asked)
    assert shown["status"] == "succeeded", shown


async def fill(parts: Components, manager: httpx.AsyncClient, lost: Lost) -> None:
    """Make tenants of every kind."""
    lost.keys["first"] = await made(manager, "acme")
    requests = {"acme": append_request(new_event(amount_minor=500, external_id="a"), key="one")}
    await grow(parts, "acme", requests["acme"], append_request(new_event(amount_minor=7)))
    async with connected(await home_of(parts, "acme", "ingest")) as connection:
        await rules.limit_account(connection, "cus_9", "USD", 0)
    await succeeded(manager, await manager.post("/v1/tenants/acme/backups"))
    await grow(parts, "acme", append_request(new_hold(amount_minor=5)))
    await grow(parts, "acme", append_request(new_event(amount_minor=9), key="last"))
    for name, body in (
        ("revoked", {"scopes": ["read"]}),
        ("expiring", {"scopes": ["read"], "expires_at": text(datetime.now(UTC), hours=1)}),
    ):
        answer = await manager.post("/v1/tenants/acme/api-keys", json=body)
        assert answer.status_code == 201, answer.text
        lost.keys[name] = answer.json()["api_key"]
        if name == "revoked":
            revoked = await manager.delete(f"/v1/tenants/acme/api-keys/{answer.json()['key_id']}")
            assert revoked.status_code in (200, 204)
    assert (await manager.post("/v1/tenants/acme/credentials/rotate")).status_code == 200

    await made(manager, "never-backed-up")
    requests["never-backed-up"] = append_request(new_event(amount_minor=1), key="one")
    await grow(parts, "never-backed-up", requests["never-backed-up"])
    assert (await manager.post("/v1/tenants/never-backed-up/suspend")).status_code == 200

    await made(manager, "restored-before")
    requests["restored-before"] = append_request(new_event(amount_minor=1), key="one")
    instant = await grow(parts, "restored-before", requests["restored-before"])
    await asyncio.sleep(0.01)
    await eventually_shipped(parts)
    await grow(parts, "restored-before", append_request(new_event(amount_minor=2)))
    await succeeded(
        manager,
        await manager.post("/v1/tenants/restored-before/restores", json={"to": text(instant)}),
    )
    await grow(parts, "restored-before", append_request(new_event(amount_minor=40)))

    await made(manager, "leaving")
    requests["leaving"] = append_request(new_event(amount_minor=1), key="one")
    await grow(parts, "leaving", requests["leaving"])
    await made(manager, "gone")
    await grow(parts, "gone", append_request(new_event(amount_minor=1)))
    await succeeded(manager, await manager.delete("/v1/tenants/gone?confirm=gone"))

    for tenant_id, request in requests.items():
        await parts.find(Archiver).archive(tenant_id)
        lost.tenants[tenant_id] = await known_of(parts, tenant_id, request)
    # In the middle of being made, and of being deleted.
    await parts.find(Catalog).execute(
        "INSERT INTO tenants (tenant_id, name, region, isolation, status, cluster, database_name,"
        " schema_name) VALUES ('half-made', 'H', 'local', 'database', 'provisioning', 'local',"
        " 'fh_half', 'ledger')"
    )
    await parts.find(Operations).close()
    await parts.find(Catalog).execute(
        "UPDATE tenants SET status = 'deleting' WHERE tenant_id = 'leaving'"
    )
    await parts.find(Catalog).execute(
        "INSERT INTO operations (operation_id, kind, tenant_id, parameters, status)"
        " VALUES ($1, 'delete', 'leaving', '{}', 'running')",
        uuid4(),
    )
    lost.tenants["leaving"].status = "deleting"
    await eventually_shipped(parts)


async def eventually_shipped(parts: Components) -> int:
    async def shipped() -> bool:
        return await parts.find(Catalog).fetchrow("SELECT FROM unshipped_changes LIMIT 1") is None

    await eventually(shipped, "the catalog is shipped")
    row = await parts.find(Catalog).fetchrow("SELECT shipped_version FROM installation")
    assert row is not None
    return int(row["shipped_version"])


def text(instant: datetime, **later: float) -> str:
    return (instant + timedelta(**later)).isoformat()


@pytest.fixture(scope="module")
async def lost(installation: Installation) -> Lost:
    settings = installation.settings(
        f"freehold_test_catalog_{uuid4().hex[:12]}",
        backup_every_s=0,
        backup_verify_every_s=0,
        provisioning_abandoned_s=3600,
    )
    found = Lost(settings)
    async with running(settings) as app, client_of(app) as manager:
        await fill(components_of(app), manager, found)
    return found


async def recover(settings: Settings, number: int | None = None) -> Report:
    return await new_recovery(settings, KEY_RING).run(number, lambda _: None)


async def callers(settings: Settings, installation: Installation, keys: dict[str, str]) -> set[str]:
    """Say which of some API keys ingest takes, by its own view of the catalog."""
    url = installation.url(settings.catalog_name, "freehold_ingest", service_password("ingest"))
    catalog = Catalog(url, application="test", timeout_s=10)
    await catalog.open()
    try:
        directory = Directory(catalog, KEY_RING)
        return {
            name
            for name, secret in keys.items()
            if (key := parse_api_key(secret)) and await directory.caller(key) is not None
        }
    finally:
        await catalog.close()


async def test_everything_comes_back_on_an_empty_server(lost: Lost, tmp_path: Path) -> None:
    async with empty_server(tmp_path) as server:
        settings = server.settings("freehold_catalog", **lost.remaining(tmp_path))
        # The service is there first, as an orchestrator has it: it makes nothing of its own.
        app = build_application(settings)
        async with app.router.lifespan_context(app), client_of(app) as manager:
            assert (await manager.get("/v1/tenants")).status_code == 503
            report = await recover(settings)
            assert report.is_whole, report
            assert report.undone == ["half-made"]
            recovered = {one.tenant_id: one for one in report.tenants}
            assert set(recovered) == set(lost.tenants)
            await becomes_ready(manager)
            parts = components_of(app)
            for tenant_id, known in lost.tenants.items():
                one = recovered[tenant_id]
                assert one.head_hash == known.head_hash.hex()
                assert one.head_seq == len(known.events)
                if tenant_id != "leaving":
                    await _is_as_before(parts, tenant_id, known, one)
            assert recovered["acme"].backup_id is not None
            assert recovered["never-backed-up"].backup_id is None
            assert await callers(settings, server, lost.keys) == {"first", "expiring"}
            # The deletion continues, and the final export has the ledger.
            await eventually(lambda: _is_deleted(manager, "leaving"), "the deletion continues")
            for gone in ("gone", "leaving"):
                export = await manager.get(f"/v1/tenants/{gone}/export")
                assert (export.status_code, b"ledger_events" in export.content) == (200, True)
            # It is shipped, archived, backed up and restored as ever.
            await grow(parts, "acme", append_request(new_event(amount_minor=1), key="after"))
            await parts.find(Archiver).archive("acme")
            await succeeded(manager, await manager.post("/v1/tenants/acme/backups"))
            await eventually_shipped(parts)
            to = text(datetime.now(UTC))
            await succeeded(
                manager, await manager.post("/v1/tenants/acme/restores", json={"to": to})
            )
        with pytest.raises(RecoveryError, match="not empty") as caught:
            await _recover_elsewhere(server, settings)
        assert "Nothing was changed" in str(caught.value)


async def _recover_elsewhere(server: Installation, settings: Settings) -> Report:
    """Recover onto a server that has a catalog which was never lost."""
    async with server.superuser(settings.catalog_name) as superuser:
        await superuser.execute("UPDATE catalog.installation SET recovered_version = NULL")
    return await recover(settings)


async def _is_deleted(manager: httpx.AsyncClient, tenant_id: str) -> bool:
    shown = (await manager.get(f"/v1/tenants/{tenant_id}")).json()
    return bool(shown["status"] == "deleted")


async def _is_as_before(
    parts: Components, tenant_id: str, known: Known, recovered: Recovered
) -> None:
    now = await known_of(parts, tenant_id, known.request)
    assert now.events == known.events
    assert now.balances == known.balances
    assert now.rules == known.rules
    assert now.status == known.status
    assert now.passwords == known.passwords
    assert now.epoch == recovered.epoch == known.epoch + 1
    async with connected(await home_of(parts, tenant_id, "ingest")) as connection:
        (answer,) = await append(connection, [known.request])
    assert answer.outcome == Outcome.REPLAYED


async def test_a_killed_recovery_continues_when_it_is_run_again(lost: Lost, tmp_path: Path) -> None:
    async with empty_server(tmp_path) as server:
        remaining = lost.remaining(tmp_path)
        settings = server.settings("freehold_catalog", **remaining)
        environment = _environment(server, settings, remaining)
        command = (sys.executable, "-m", "freehold_tenant_manager", "recover", "--json")
        process = await asyncio.create_subprocess_exec(
            *command, env=environment, stdout=asyncio.subprocess.PIPE
        )
        url = server.url("freehold_catalog")

        async def is_half_way() -> bool:
            try:
                connection = await asyncpg.connect(url, timeout=5)
            except (OSError, asyncpg.PostgresError):
                return False
            try:
                return bool(
                    await connection.fetchval(
                        "SELECT EXISTS (SELECT FROM catalog.operations WHERE kind = 'recovery'"
                        " AND status = 'running' AND state ? 'database')"
                    )
                )
            except asyncpg.PostgresError:
                return False
            finally:
                await connection.close(timeout=5)

        await eventually(is_half_way, "a ledger is being brought back")
        process.send_signal(signal.SIGKILL)
        await process.communicate()
        again = await asyncio.create_subprocess_exec(
            *command, env=environment, stdout=asyncio.subprocess.PIPE
        )
        output, _ = await again.communicate()
        report = json.loads(output)
        assert (again.returncode, report["ok"]) == (0, True), report
        heads = {one["tenant_id"]: one["head_seq"] for one in report["tenants"]}
        assert heads == {name: len(known.events) for name, known in lost.tenants.items()}
        async with running(settings) as app:
            parts = components_of(app)
            now = await known_of(parts, "acme", lost.tenants["acme"].request)
            assert now.balances == lost.tenants["acme"].balances


def _environment(
    server: Installation, settings: Settings, remaining: dict[str, Any]
) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "FREEHOLD_CATALOG_DSN": settings.catalog_dsn.get_secret_value(),
        "FREEHOLD_CREDENTIAL_KEYS": CREDENTIAL_KEYS,
        "FREEHOLD_OPERATOR_TOKEN": settings.operator_token.get_secret_value(),
        "FREEHOLD_OPERATION_SILENT_S": "2",
        "FREEHOLD_STORAGE_URL": remaining["storage_url"],
        "FREEHOLD_KMS_KEY_FILE": str(remaining["kms_key_file"]),
        **{
            f"FREEHOLD_{service.upper()}_PASSWORD": service_password(service)
            for service in ("ingest", "projector", "query")
        },
    }


async def test_what_cannot_be_brought_back_is_named_and_the_rest_is_back(
    lost: Lost, tmp_path: Path
) -> None:
    async with empty_server(tmp_path) as server:
        remaining = lost.remaining(tmp_path)
        storage = tmp_path / "storage"
        # A damaged data key, a damaged backup, an unknown tenant, passwords that no key opens.
        (storage / "tenants/never-backed-up/data-key").write_text("{}")
        (backup,) = (storage / "tenants/acme/1/backups").iterdir()
        backup.write_bytes(backup.read_bytes()[:-1])
        (storage / "tenants/stranger").mkdir()
        (storage / "tenants/stranger/data-key").write_text("{}")
        versions = sorted((storage / "catalog/versions").iterdir())
        settings = server.settings("freehold_catalog", **remaining, credential_keys=OTHER_KEY)
        report = await new_recovery(settings, KeyRing(OTHER_KEY)).run(None, lambda _: None)
        assert not report.is_whole
        assert report.version == int(versions[-1].name)
        assert report.unknown == ["stranger"]
        recovered = {one.tenant_id: one for one in report.tenants}
        assert {name for name, one in recovered.items() if one.status == "failed"} == {
            "never-backed-up"
        }
        assert "data-key is damaged" in recovered["never-backed-up"].message
        assert recovered["acme"].backup_id is None
        assert len(recovered["acme"].damaged_backups) == 1
        assert recovered["acme"].head_seq == len(lost.tenants["acme"].events)
        assert "auditor" in recovered["acme"].passwords_replaced


async def test_a_damaged_version_is_not_replaced_by_an_older_one_unasked(
    lost: Lost, tmp_path: Path
) -> None:
    async with empty_server(tmp_path) as server:
        settings = server.settings("freehold_catalog", **lost.remaining(tmp_path))
        versions = sorted((tmp_path / "storage/catalog/versions").iterdir())
        versions[-1].write_bytes(versions[-1].read_bytes()[:-1])
        with pytest.raises(RecoveryError) as caught:
            await recover(settings)
        newest, before = int(versions[-1].name), int(versions[-2].name)
        assert f"version {newest} of the catalog is damaged" in str(caught.value)
        assert f"--version {before}" in str(caught.value)
        with pytest.raises(RecoveryError, match="there is no version 999999"):
            await recover(settings, 999_999)
        with pytest.raises(RecoveryError, match="live on the cluster local"):
            await recover(
                server.settings(
                    "freehold_catalog",
                    storage_url=settings.storage_url,
                    kms_key_file=settings.kms_key_file,
                    cluster="other",
                ),
                before,
            )
        settings.kms_key_file.write_text(OTHER_KEY + "\n")
        with pytest.raises(RecoveryError, match="data key does not open"):
            await recover(settings, before)


async def test_an_epoch_that_the_version_does_not_know_comes_back(
    lost: Lost, tmp_path: Path
) -> None:
    """A version from before a restore: what was archived since is not left behind."""
    async with empty_server(tmp_path) as server:
        settings = server.settings("freehold_catalog", **lost.remaining(tmp_path))
        known = lost.tenants["restored-before"]
        first = await _first_version_with(settings, "restored-before", epoch=1)
        report = await recover(settings, first)
        (recovered,) = [one for one in report.tenants if one.tenant_id == "restored-before"]
        assert (recovered.status, recovered.head_hash) == ("recovered", known.head_hash.hex()), (
            recovered
        )
        assert recovered.epoch == 3


async def _first_version_with(settings: Settings, tenant_id: str, *, epoch: int) -> int:
    """Find a version in which a tenant has this epoch."""
    recovery = new_recovery(settings, KEY_RING)
    for version in await recovery.list():
        content = b"".join([piece async for piece in recovery._versions.get(version.number)])
        if f"\n{tenant_id}\tN\tlocal\tdatabase\tactive\t{epoch}\t".encode() in content:
            return version.number
    raise AssertionError("no version has the tenant in that epoch")


async def test_from_a_bucket_with_keys_of_aws(installation: Installation, tmp_path: Path) -> None:
    with bucket_settings(installation) as (settings, _):
        async with running(settings) as app, client_of(app) as manager:
            parts = components_of(app)
            await made(manager, "acme")
            request = append_request(new_event(amount_minor=1), key="one")
            await grow(parts, "acme", request)
            await parts.find(Archiver).archive("acme")
            known = await known_of(parts, "acme", request)
            await eventually_shipped(parts)
        async with empty_server(tmp_path) as server:
            theirs = {
                name: getattr(settings, name)
                for name in Settings.model_fields
                if name.startswith(("storage_", "kms_aws"))
            }
            there = server.settings("freehold_catalog", **theirs)
            report = await recover(there)
            assert report.is_whole
            async with running(there) as app:
                parts = components_of(app)
                await _is_as_before(parts, "acme", known, report.tenants[0])


async def test_every_table_is_shipped_or_said_to_be_dispensable(lost: Lost) -> None:
    settings = lost.settings
    connection = await asyncpg.connect(settings.catalog_dsn.get_secret_value(), timeout=10)
    try:
        rows = await connection.fetch(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'catalog'"
        )
    finally:
        await connection.close(timeout=10)
    assert {row["tablename"] for row in rows} == {*SHIPPED, *LEFT_OUT}
    assert not {*SHIPPED} & {*LEFT_OUT}


async def test_a_storage_that_is_not_mounted_is_not_taken_for_an_empty_one(
    installation: Installation, tmp_path: Path
) -> None:
    folder = tmp_path / "mounted"
    settings = installation.settings(
        f"freehold_test_catalog_{uuid4().hex[:12]}", storage_url=folder.as_uri(), backup_every_s=0
    )
    async with running(settings) as app, client_of(app) as manager:
        parts = components_of(app)
        await made(manager, "unmounted")
        await grow(parts, "unmounted", append_request(new_event()))
        await parts.find(Archiver).archive("unmounted")
        version = await eventually_shipped(parts)
        folder.rename(tmp_path / "away")
        await grow(parts, "unmounted", append_request(new_event()))
        with pytest.raises(Exception, match="not mounted"):
            await parts.find(Archiver).archive("unmounted")
        with pytest.raises(Exception, match="not mounted"):
            await parts.find(Shipper).ship()
        assert not [path for path in folder.rglob("*") if path.is_file()]
        assert (await manager.get("/readyz")).status_code == 200
        shutil.rmtree(folder, ignore_errors=True)
        (tmp_path / "away").rename(folder)
        await parts.find(Archiver).archive("unmounted")
        # Another catalog has marked it since: this one writes nothing there any more.
        (folder / "storage-id").write_text(str(uuid4()))
        with pytest.raises(Exception, match="another catalog"):
            await parts.find(Shipper).ship()
        row = await parts.find(Catalog).fetchrow("SELECT shipped_version FROM installation")
        assert row is not None
        assert row["shipped_version"] >= version


async def test_nothing_is_removed_while_the_catalog_is_not_shipped(
    installation: Installation, tmp_path: Path
) -> None:
    settings = installation.settings(
        f"freehold_test_catalog_{uuid4().hex[:12]}", storage_url=(tmp_path / "storage").as_uri()
    )
    async with running(settings) as app:
        parts = components_of(app)
        await eventually_shipped(parts)
        await parts.find(ArchiveRetention).remove_old()
        (tmp_path / "storage").rename(tmp_path / "away")
        await parts.find(Catalog).execute(
            "INSERT INTO unshipped_changes (changed_at) VALUES (now() - interval '2 hours')"
        )
        with pytest.raises(DomainError, match="not shipped") as caught:
            await parts.find(ArchiveRetention).remove_old()
        assert isinstance(caught.value, Unavailable)


async def test_a_data_key_stands_in_the_storage_before_and_after_it_is_wrapped_anew(
    installation: Installation, tmp_path: Path
) -> None:
    keys = tmp_path / "kms.keys"
    settings = installation.settings(
        f"freehold_test_catalog_{uuid4().hex[:12]}",
        storage_url=(tmp_path / "storage").as_uri(),
        kms_key_file=keys,
        backup_every_s=0,
    )
    stored = tmp_path / "storage/tenants/acme/data-key"
    of_catalog = tmp_path / "storage/catalog/data-key"
    async with running(settings) as app, client_of(app) as manager:
        parts = components_of(app)
        await made(manager, "acme")
        await grow(parts, "acme", append_request(new_event()))
        await parts.find(Archiver).archive("acme")
        await eventually_shipped(parts)
        # As an earlier release left it: in the catalog only.
        stored.unlink()
        await parts.find(Catalog).execute("UPDATE data_keys SET is_stored = false")
    keys.write_text(OTHER_KEY + "\n" + keys.read_text())
    async with running(settings) as app:
        parts = components_of(app)

        async def is_wrapped_anew() -> bool:
            return all(
                path.exists() and json.loads(path.read_bytes())["wrapping_key_id"] == "other"
                for path in (stored, of_catalog)
            )

        await eventually(is_wrapped_anew, "both keys are wrapped anew")
        row = await parts.find(Catalog).fetchrow("SELECT wrapping_key_id, is_stored FROM data_keys")
        assert row is not None
        assert tuple(row) == ("other", True)
        # One that the catalog has lost is found where it stands.
        await parts.find(Catalog).execute("DELETE FROM data_keys")
    keys.write_text(OTHER_KEY + "\n")
    async with running(settings) as app:
        parts = components_of(app)
        (segment,) = await parts.find(Archive).list("acme", 1)
        assert [piece async for piece in parts.find(Archive).get("acme", segment)]


async def test_what_is_changed_all_the_time_is_not_shipped_each_time(lost: Lost) -> None:
    async with running(lost.settings) as app:
        parts = components_of(app)
        before = await eventually_shipped(parts)
        await parts.find(Catalog).execute("UPDATE reconciliations SET anchor_seq = anchor_seq")
        await parts.find(Catalog).execute("UPDATE tenant_epochs SET archived_at = now()")
        await parts.find(Catalog).execute("UPDATE operations SET progress = 0.5")
        assert await parts.find(Catalog).fetchrow("SELECT FROM unshipped_changes LIMIT 1") is None
        await parts.find(Catalog).execute("UPDATE tenants SET name = name WHERE tenant_id = 'acme'")
        assert await eventually_shipped(parts) > before
