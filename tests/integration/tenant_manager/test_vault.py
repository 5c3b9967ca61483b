"""What is in a tenant's vault is theirs alone, and is found out where it was tampered with."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from freehold.contracts.problems import Problem
from freehold_tenant_manager.settings import Settings
from freehold_tenant_manager.storage.data_keys import DataKeys
from freehold_tenant_manager.storage.kms import LocalKeyFile
from freehold_tenant_manager.storage.objects import NotStoredError, Storage
from freehold_tenant_manager.storage.vault import DamagedError, Vault
from integration.tenant_manager.installation import (
    Installation,
    client_of,
    manager_of,
    new_tenant,
    new_tenant_id,
    running,
)
from support.streams import collect, stream
from support.waiting import eventually

PLAIN = b"2026-03-01,cus_42,CHARGE,2000\n" * 10_000


@pytest.fixture
async def tenants(manager: httpx.AsyncClient) -> tuple[str, str]:
    made = [new_tenant() for _ in range(2)]
    for wanted in made:
        assert (await manager.post("/v1/tenants", json=wanted)).status_code == 201
    return made[0]["tenant_id"], made[1]["tenant_id"]


@pytest.fixture
def vault(app: FastAPI) -> Vault:
    return manager_of(app).parts.vault


@pytest.fixture
def folder(settings: Settings) -> Path:
    return Path(settings.storage_url.removeprefix("file://"))


async def _put(vault: Vault, tenant_id: str, name: str = "one") -> str:
    path = f"tenants/{tenant_id}/{name}"
    await vault.put(tenant_id, path, stream([PLAIN]))
    return path


async def test_an_object_comes_back_and_is_unreadable_where_it_lies(
    vault: Vault, tenants: tuple[str, str], folder: Path
) -> None:
    path = f"tenants/{tenants[0]}/one"
    stored = await vault.put(tenants[0], path, stream([PLAIN]))
    assert await collect(vault.get(tenants[0], path)) == PLAIN
    assert await collect(vault.get(tenants[0], path, digest=stored.sha256)) == PLAIN
    written = (folder / path).read_bytes()
    assert stored.bytes == len(written) < len(PLAIN) / 10
    assert b"cus_42" not in written


async def test_objects_that_changed_places_are_found(
    vault: Vault, tenants: tuple[str, str], folder: Path
) -> None:
    one, other = await _put(vault, tenants[0], "one"), await _put(vault, tenants[0], "other")
    (folder / other).write_bytes((folder / one).read_bytes())
    with pytest.raises(DamagedError):
        await collect(vault.get(tenants[0], other))
    theirs = await _put(vault, tenants[1])
    (folder / theirs).write_bytes((folder / one).read_bytes())
    with pytest.raises(DamagedError):
        await collect(vault.get(tenants[1], theirs))


async def test_a_changed_object_is_found(
    vault: Vault, tenants: tuple[str, str], folder: Path
) -> None:
    path = f"tenants/{tenants[0]}/one"
    stored = await vault.put(tenants[0], path, stream([PLAIN]))
    earlier = (folder / path).read_bytes()
    (folder / path).write_bytes(earlier[:-1])
    with pytest.raises(DamagedError):
        await collect(vault.get(tenants[0], path))
    # Genuine, and yet not the one that was meant.
    await vault.put(tenants[0], path, stream([b"later"]))
    with pytest.raises(DamagedError, match="checksum"):
        await collect(vault.get(tenants[0], path, digest=stored.sha256))
    with pytest.raises(NotStoredError):
        await collect(vault.get(tenants[0], f"{path}-missing"))


async def test_processes_share_a_tenants_key(
    vault: Vault, replica: FastAPI, tenants: tuple[str, str]
) -> None:
    path = await _put(vault, tenants[0])
    assert await collect(manager_of(replica).parts.vault.get(tenants[0], path)) == PLAIN


async def test_a_new_wrapping_key_is_taken_up_and_the_old_one_can_go(
    installation: Installation,
) -> None:
    settings = installation.settings(f"freehold_test_catalog_{new_tenant_id()[2:]}")
    async with running(settings) as app:
        tenant_id = await _tenant(app)
        path = await _put(manager_of(app).parts.vault, tenant_id)
    file = settings.kms_key_file
    file.write_text(f"new:{'B' * 43}=\n{file.read_text()}")
    async with running(settings) as app:

        async def wrapped_anew() -> bool:
            rows = await manager_of(app).parts.catalog.fetch(
                "SELECT wrapping_key_id FROM data_keys"
            )
            return [row["wrapping_key_id"] for row in rows] == ["new"]

        await eventually(wrapped_anew, "the data key is wrapped anew")
    file.write_text(f"new:{'B' * 43}=\n")
    async with running(settings) as app:
        assert await collect(manager_of(app).parts.vault.get(tenant_id, path)) == PLAIN


async def test_a_lost_key_file_is_not_replaced(installation: Installation) -> None:
    settings = installation.settings(f"freehold_test_catalog_{new_tenant_id()[2:]}")
    async with running(settings) as app:
        tenant_id = await _tenant(app)
        path = await _put(manager_of(app).parts.vault, tenant_id)
    settings.kms_key_file.unlink()
    async with running(settings) as app:
        assert not settings.kms_key_file.exists()
        with pytest.raises(Problem, match="data key cannot be had"):
            await collect(manager_of(app).parts.vault.get(tenant_id, path))


async def test_another_tenants_wrapped_key_does_not_open(
    app: FastAPI, tenants: tuple[str, str], settings: Settings
) -> None:
    manager = manager_of(app)
    path = await _put(manager.parts.vault, tenants[0])
    await _put(manager.parts.vault, tenants[1])
    await manager.parts.catalog.execute(
        "UPDATE data_keys SET wrapped_key = (SELECT wrapped_key FROM data_keys"
        " WHERE tenant_id = $2) WHERE tenant_id = $1",
        *tenants,
    )
    keys = DataKeys(manager.parts.catalog, LocalKeyFile(settings.kms_key_file))
    with pytest.raises(Problem, match="data key cannot be had"):
        await collect(Vault(Storage(settings.storage_url), keys).get(tenants[0], path))


async def _tenant(app: FastAPI) -> str:
    wanted: dict[str, Any] = new_tenant()
    async with client_of(app) as client:
        assert (await client.post("/v1/tenants", json=wanted)).status_code == 201
    return str(wanted["tenant_id"])
