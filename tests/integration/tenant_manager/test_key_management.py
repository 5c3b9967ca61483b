"""Data keys are wrapped for one tenant, by a key file and by AWS KMS."""

import asyncio
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from freehold_tenant_manager.storage.kms import (
    AwsKms,
    KeyManagement,
    KeyManagementError,
    KeyUnknownError,
    LocalKeyFile,
    Wrapped,
)
from support.amazon import ACCESS_KEY, REGION, SECRET_KEY, Amazon, amazon_server
from support.scripted import scripted

DATA_KEY = bytes(range(32))
WRAPPING_KEYS = [f"k{n}:{'A' * 42}{n}=" for n in range(4)]


@pytest.fixture(scope="module")
def amazon() -> Iterator[Amazon]:
    with amazon_server() as amazon:
        yield amazon


def _aws_kms(amazon: Amazon, monkeypatch: pytest.MonkeyPatch, key: str | None = None) -> AwsKms:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    key = key or amazon.client("kms").create_key()["KeyMetadata"]["KeyId"]
    return AwsKms(key, region=REGION, endpoint=amazon.url)


@pytest.fixture(params=["file", "aws"])
async def kms(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> KeyManagement:
    if request.param == "aws":
        return _aws_kms(request.getfixturevalue("amazon"), monkeypatch)
    key_file = LocalKeyFile(tmp_path / "kms.keys")
    await key_file.make()
    return key_file


async def test_a_data_key_is_wrapped_and_unwrapped(kms: KeyManagement) -> None:
    wrapped = await kms.wrap(DATA_KEY, "acme")
    assert DATA_KEY not in wrapped.box
    assert await kms.unwrap(wrapped, "acme") == DATA_KEY
    assert await kms.is_current(wrapped.key_id)
    assert not await kms.is_current("another")


async def test_a_data_key_is_one_tenants(kms: KeyManagement) -> None:
    wrapped = await kms.wrap(DATA_KEY, "acme")
    with pytest.raises(KeyManagementError):
        await kms.unwrap(wrapped, "other")
    changed = wrapped.box[:-1] + bytes([wrapped.box[-1] ^ 1])
    with pytest.raises(KeyManagementError):
        await kms.unwrap(Wrapped(wrapped.key_id, changed), "acme")
    with pytest.raises(KeyManagementError):
        await kms.unwrap(Wrapped("another", wrapped.box), "acme")


async def test_a_key_file_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    files = [LocalKeyFile(tmp_path / "new" / "kms.keys") for _ in range(8)]
    made = await asyncio.gather(*(file.make() for file in files))
    assert made.count(True) == 1
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["kms.keys"]
    assert stat.S_IMODE((tmp_path / "new" / "kms.keys").stat().st_mode) == 0o600
    wrapped = await files[0].wrap(DATA_KEY, "acme")
    assert await files[1].unwrap(wrapped, "acme") == DATA_KEY


async def test_the_first_key_of_a_file_wraps_and_every_one_unwraps(tmp_path: Path) -> None:
    file = tmp_path / "kms.keys"
    file.write_text(f"{WRAPPING_KEYS[0]}\n")
    key_file = LocalKeyFile(file)
    old = await key_file.wrap(DATA_KEY, "acme")
    file.write_text(f"{WRAPPING_KEYS[1]}\n\n{WRAPPING_KEYS[0]}\n")
    assert await key_file.unwrap(old, "acme") == DATA_KEY
    assert not await key_file.is_current(old.key_id)
    assert (await key_file.wrap(DATA_KEY, "acme")).key_id == "k1"
    file.write_text(WRAPPING_KEYS[1])
    with pytest.raises(KeyManagementError, match="'k0' is not known"):
        await key_file.unwrap(old, "acme")


@pytest.mark.parametrize("text", ["", "k1", "k1:short", "k1:" + "?" * 44])
async def test_a_key_file_of_another_form_is_refused_and_not_shown(
    tmp_path: Path, text: str
) -> None:
    file = tmp_path / "kms.keys"
    file.write_text(text)
    with pytest.raises(KeyManagementError) as caught:
        await LocalKeyFile(file).wrap(DATA_KEY, "acme")
    assert "?" not in str(caught.value)


async def test_a_missing_key_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(KeyManagementError, match=r"kms\.keys cannot be read"):
        await LocalKeyFile(tmp_path / "kms.keys").wrap(DATA_KEY, "acme")


async def test_an_alias_that_moves_on_leaves_the_old_keys_readable(
    amazon: Amazon, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = amazon.client("kms")
    old, new = (client.create_key()["KeyMetadata"]["KeyId"] for _ in range(2))
    client.create_alias(AliasName="alias/freehold", TargetKeyId=old)
    kms = _aws_kms(amazon, monkeypatch, "alias/freehold")
    wrapped = await kms.wrap(DATA_KEY, "acme")
    assert wrapped.key_id.endswith(old)
    client.update_alias(AliasName="alias/freehold", TargetKeyId=new)
    assert await kms.unwrap(wrapped, "acme") == DATA_KEY
    assert not await kms.is_current(wrapped.key_id)


@pytest.mark.parametrize("answer", [b"<html>", b"{}", b"", b"403", b"slow"])
async def test_an_answer_that_is_none_of_kms_is_a_fault_of_the_key_management(
    monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    head = b"HTTP/1.1 %d -\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
    if answer == b"slow":
        monkeypatch.setattr("freehold_tenant_manager.storage.kms._ALL_ATTEMPTS_S", 0.2)
    text = {
        b"403": head % (403, 34) + b'{"__type":"AccessDeniedException"}',
        # It ends before all of it has come, and so is asked for again and again.
        b"slow": head % (200, 1000) + b"{",
        b"": b"",
    }.get(answer, head % (200, len(answer)) + answer)
    async with scripted(text) as server:
        kms = AwsKms("key", region=REGION, endpoint=server.url)
        with pytest.raises(KeyManagementError) as caught:
            await kms.unwrap(Wrapped("key", b"box"), "acme")
    assert not isinstance(caught.value, KeyUnknownError)


async def test_what_another_key_has_wrapped_is_never_going_to_open(kms: KeyManagement) -> None:
    wrapped = await kms.wrap(DATA_KEY, "acme")
    with pytest.raises(KeyUnknownError):
        await kms.unwrap(Wrapped(wrapped.key_id, wrapped.box[:-1]), "acme")
