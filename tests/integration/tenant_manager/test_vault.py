"""What is in a tenant's vault is theirs alone, and is found out where it was tampered with."""

from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from freehold.contracts.errors import DomainError
from freehold.tenants.catalog import Catalog
from freehold_tenant_manager.settings import Settings
from freehold_tenant_manager.storage.data_keys import DataKeys
from freehold_tenant_manager.storage.kms import LocalKeyFile
from freehold_tenant_manager.storage.objects import NotStoredError, Storage
from freehold_tenant_manager.storage.own_storage import OwnStorage
from freehold_tenant_manager.storage.vault import DamagedError, Vault
from integration.tenant_manager.installation import (
    Installation,
    client_of,
    components_of,
    make_tenant,
    running,
)
from support.streams import collect, stream
from support.waiting import eventually

PLAIN = b"2026-03-01,cus_42,CHARGE,2000\n" * 10_000


@pytest.fixture
async def tenants(manager: httpx.AsyncClient) -> tuple[str, str]:
    return await make_tenant(manager), await make_tenant(manager)


@pytest.fixture
def vault(app: FastAPI) -> Vault:
    return components_of(app).find(Vault)


@pytest.fixture
def folder(settings: Settings) -> Path:
    return Path(settings.storage_url.removeprefix("file://"))


async def _put(vault: Vault, tenant_id: str, name: str = "one") -> str:
    path = f"tenants/{tenant_id}/{name}"
    await vault.put(tenant_id, path, stream([PLAIN]))
    return path


async def test_an_object_is_stored_encrypted_and_comes_back(
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
    assert await collect(components_of(replica).find(Vault).get(tenants[0], path)) == PLAIN


async def test_a_new_wrapping_key_is_taken_up_and_the_old_one_can_go(
    installation: Installation,
) -> None:
    settings = installation.settings()
    async with running(settings) as app:
        tenant_id = await _tenant(app)
        path = await _put(components_of(app).find(Vault), tenant_id)
    file = settings.kms_key_file
    file.write_text(f"new:{'B' * 43}=\n{file.read_text()}")
    async with running(settings) as app:

        async def wrapped_anew() -> bool:
            rows = (
                await components_of(app)
                .find(Catalog)
                .fetch("SELECT wrapping_key_id FROM data_keys")
            )
            return [row["wrapping_key_id"] for row in rows] == ["new"]

        await eventually(wrapped_anew, "the data key is wrapped anew")
    file.write_text(f"new:{'B' * 43}=\n")
    async with running(settings) as app:
        assert await collect(components_of(app).find(Vault).get(tenant_id, path)) == PLAIN


async def test_a_lost_key_file_is_not_replaced(installation: Installation) -> None:
    settings = installation.settings()
    async with running(settings) as app:
        tenant_id = await _tenant(app)
        path = await _put(components_of(app).find(Vault), tenant_id)
    settings.kms_key_file.unlink()
    async with running(settings) as app:
        assert not settings.kms_key_file.exists()
        with pytest.raises(DomainError, match="data key cannot be had"):
            await collect(components_of(app).find(Vault).get(tenant_id, path))


async def test_another_tenants_wrapped_key_does_not_open(
    app: FastAPI, tenants: tuple[str, str], settings: Settings
) -> None:
    manager = components_of(app)
    path = await _put(manager.find(Vault), tenants[0])
    await _put(manager.find(Vault), tenants[1])
    await manager.find(Catalog).execute(
        "UPDATE data_keys SET wrapped_key = (SELECT wrapped_key FROM data_keys"
        " WHERE tenant_id = $2) WHERE tenant_id = $1",
        *tenants,
    )
    keys = DataKeys(
        manager.find(Catalog), manager.find(OwnStorage), LocalKeyFile(settings.kms_key_file)
    )
    with pytest.raises(DomainError, match="data key cannot be had"):
        await collect(Vault(Storage(settings.storage_url), keys).get(tenants[0], path))


async def _tenant(app: FastAPI) -> str:
    async with client_of(app) as client:
        return await make_tenant(client)
