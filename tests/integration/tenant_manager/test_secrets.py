"""Secrets stand in no command line, no log line and no answer, whatever goes well or wrong."""

import asyncio
import base64
import json
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, suppress
from io import StringIO
from pathlib import Path

import httpx
import pytest
import structlog
from fastapi import FastAPI

from freehold.observability.logs import configure_logs
from freehold.tenants.catalog import Catalog
from freehold_tenant_manager.credentials.store import find_passwords
from freehold_tenant_manager.settings import Settings
from freehold_tenant_manager.storage.data_keys import DataKeys
from freehold_tenant_manager.storage.kms import LocalKeyFile
from freehold_tenant_manager.storage.own_storage import OwnStorage
from integration.tenant_manager.installation import (
    CREDENTIAL_KEYS,
    KEY_RING,
    OPERATOR_TOKEN,
    SERVICES,
    Installation,
    client_of,
    components_of,
    database_of,
    running,
    service_password,
)
from integration.tenant_manager.ledgers import append_some, filled_tenant
from support.answers import problem
from support.operations import request_ended

S3_SECRET = "canary-s3-secret-key"


@contextmanager
def _logs() -> Iterator[StringIO]:
    """Log as a process of its own does, for a while."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    with redirect_stderr(StringIO()) as written:
        configure_logs("tenant-manager", "info", "json")
    structlog.configure(cache_logger_on_first_use=False)
    try:
        yield written
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        structlog.reset_defaults()
        structlog.contextvars.clear_contextvars()


@contextmanager
def _watched_commands() -> Iterator[set[bytes]]:
    """Look at all command lines of this machine, again and again, for a while."""
    seen: set[bytes] = set()
    enough = threading.Event()

    def watch() -> None:
        while not enough.wait(0.002):
            for command in Path("/proc").glob("[0-9]*/cmdline"):
                with suppress(OSError):
                    seen.add(command.read_bytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        enough.set()
        watcher.join()


async def _operation(client: httpx.AsyncClient, asked: httpx.Response) -> str:
    return json.dumps(await request_ended(client, asked), ensure_ascii=False)


def _cut_short(folder: Path) -> None:
    for file in folder.rglob("backups/*"):
        file.write_bytes(file.read_bytes()[:-50])


async def _secrets_of(app: FastAPI, tenant_id: str) -> set[str]:
    """All that a tenant's passwords and keys might look like."""
    manager = components_of(app)
    async with manager.find(Catalog).connection() as connection:
        database = await connection.fetchval(
            "SELECT database_name FROM tenants WHERE tenant_id = $1", tenant_id
        )
        passwords = await find_passwords(connection, KEY_RING, database)
    keys = DataKeys(
        manager.find(Catalog),
        manager.find(OwnStorage),
        LocalKeyFile(manager.find(Settings).kms_key_file),
    )
    data_key = await keys.find_or_make(tenant_id)
    wrapping_key = manager.find(Settings).kms_key_file.read_text().strip().partition(":")[2]
    return {
        *passwords.values(),
        data_key.hex(),
        base64.b64encode(data_key).decode(),
        repr(data_key)[2:-1],
        wrapping_key,
        base64.b64decode(wrapping_key).hex(),
    }


def _secrets_of_everybody(installation: Installation, *keys: str) -> set[str]:
    return {
        *(key.rpartition("_")[2] for key in keys),
        *(service_password(service) for service in SERVICES),
        CREDENTIAL_KEYS.partition(":")[2],
        OPERATOR_TOKEN,
        S3_SECRET,
        installation.password,
    }


def _assert_untold(secrets: set[str], told: list[str], commands: set[bytes]) -> None:
    for program in (b"pg_dump", b"pg_restore"):
        assert any(program in command for command in commands)
    everything = [*told, *(command.decode(errors="replace") for command in commands)]
    for secret in secrets:
        assert secret
        assert not any(secret in text for text in everything)


async def test_no_secret_is_revealed(
    installation: Installation, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = installation.settings()
    folder = Path(settings.storage_url.removeprefix("file://"))
    told: list[str] = []
    with _logs() as logs, _watched_commands() as commands:
        async with running(settings) as app, client_of(app) as client:
            tenant_id, key = await filled_tenant(app, client, events=100)
            await append_some(app, tenant_id, 3_000)
            path = f"/v1/tenants/{tenant_id}"
            for form in ("sql", "custom"):
                answer = await client.get(f"{path}/export", params={"format": form})
                assert answer.status_code == 200
                told.append(answer.content.decode(errors="replace"))
            backup = await _operation(client, await client.post(f"{path}/backups"))
            assert '"succeeded"' in backup
            backup_id = json.loads(backup)["operation_id"]
            verify = f"{path}/backups/{backup_id}/verify"
            told += [backup, await _operation(client, await client.post(verify))]
            # And now everything goes wrong.
            await asyncio.to_thread(_cut_short, folder)
            told.append(await _operation(client, await client.post(verify)))
            assert '"failed"' in told[-1]
            secrets = await _secrets_of(app, tenant_id)
            await installation.drop_database(await database_of(client, tenant_id))
            told.append((await client.get(f"{path}/export")).text)
            told.append((await client.get("/v1/export")).text)
        broken = installation.settings(
            settings.catalog_name,
            storage_url="s3://nowhere",
            storage_s3_endpoint="http://127.0.0.1:9",
            storage_s3_access_key="somebody",
            storage_s3_secret_key=S3_SECRET,
        )
        async with running(broken) as app, client_of(app) as client:
            other_id, other_key = await filled_tenant(app, client, events=1)
            operation = await client.post(f"/v1/tenants/{other_id}/backups")
            shown = f"/v1/operations/{operation.json()['operation_id']}"
            await asyncio.sleep(1)
            told.append((await client.get(shown)).text)
    logged = logs.getvalue()
    assert "backup damaged" in logged
    assert "nothing to export" in logged
    secrets |= _secrets_of_everybody(installation, key, other_key)
    _assert_untold(secrets, [*told, logged, *capfd.readouterr()], commands)


async def test_no_secret_is_revealed_by_rotations_restores_and_deletions(
    installation: Installation, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = installation.settings()
    folder = Path(settings.storage_url.removeprefix("file://"))
    told: list[str] = []
    with _logs() as logs, _watched_commands() as commands:
        async with running(settings) as app, client_of(app) as client:
            tenant_id, key = await filled_tenant(app, client, events=3_000)
            path = f"/v1/tenants/{tenant_id}"
            secrets = await _secrets_of(app, tenant_id)
            told.append((await client.post(f"{path}/credentials/rotate")).text)
            secrets |= await _secrets_of(app, tenant_id)
            rotated = await client.post(f"{path}/api-keys/{key.split('_')[1]}/rotate")
            new_key = rotated.json()["api_key"]
            backup = await _operation(client, await client.post(f"{path}/backups"))
            wanted = {"backup_id": json.loads(backup)["operation_id"]}
            told.append(
                await _operation(client, await client.post(f"{path}/restores", json=wanted))
            )
            assert '"succeeded"' in told[-1]
            secrets |= await _secrets_of(app, tenant_id)
            told.append((await client.get(f"{path}/former-databases")).text)
            # A restore that fails, in a database that has passwords already.
            await asyncio.to_thread(_cut_short, folder)
            told.append(
                await _operation(client, await client.post(f"{path}/restores", json=wanted))
            )
            assert "nothing was restored" in told[-1]
            confirmed = {"confirm": tenant_id}
            told.append(await _operation(client, await client.delete(path, params=confirmed)))
            assert '"succeeded"' in told[-1]
            told += [(await client.get(each)).text for each in (path, f"{path}/export")]

            # One whose deletion and rotation fail: what both need is gone.
            other_id, other_key = await filled_tenant(app, client, events=1)
            path = f"/v1/tenants/{other_id}"
            secrets |= await _secrets_of(app, other_id)
            database = await database_of(client, other_id)
            await installation.drop_database(database)
            async with installation.superuser() as superuser:
                await superuser.execute(f"DROP ROLE {database}_query")
            confirmed = {"confirm": other_id}
            told.append(await _operation(client, await client.delete(path, params=confirmed)))
            assert '"failed"' in told[-1]
            failed = await client.post(f"{path}/credentials/rotate")
            problem(failed, "internal")
            told.append(failed.text)
            operations = (
                await components_of(app).find(Catalog).fetch("SELECT o::text FROM operations AS o")
            )
            told += [row[0] for row in operations]
    logged = logs.getvalue()
    for said in ("passwords replaced", '"restored"', "tenant deleted", "operation failed"):
        assert said in logged
    # The rotation that failed is told with where, and with none of what was at hand there.
    assert "replace_passwords" in logged
    secrets |= _secrets_of_everybody(installation, key, new_key, other_key)
    _assert_untold(secrets, [*told, logged, *capfd.readouterr()], commands)
