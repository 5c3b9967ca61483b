"""Storage keeps objects whole or not at all, in a folder and in a bucket."""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from pydantic import SecretStr

from freehold_tenant_manager.storage.objects import NotStoredError, Storage, StorageError, Stored
from support.amazon import ACCESS_KEY, REGION, SECRET_KEY, Amazon, amazon_server
from support.scripted import scripted
from support.streams import collect, stream

PIECE = os.urandom(2**20)
PATH = "tenants/acme/1/backups/one"


@pytest.fixture(scope="module")
def amazon() -> Iterator[Amazon]:
    with amazon_server() as amazon:
        yield amazon


@pytest.fixture
def bucket(amazon: Amazon) -> str:
    name = f"bucket-{secrets.token_hex(6)}"
    amazon.make_bucket(name)
    return name


def _bucket_storage(url: str, endpoint: str) -> Storage:
    return Storage(
        url,
        endpoint=endpoint,
        region=REGION,
        access_key=ACCESS_KEY,
        secret_key=SecretStr(SECRET_KEY),
    )


@pytest.fixture(params=["folder", "bucket"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "folder":
        return Storage(f"file://{tmp_path}/some where")
    amazon: Amazon = request.getfixturevalue("amazon")
    bucket = request.getfixturevalue("bucket")
    return _bucket_storage(f"s3://{bucket}/some/where", amazon.url)


async def _breaking_off() -> AsyncIterator[bytes]:
    for _ in range(20):
        yield PIECE
    raise ConnectionResetError("the source is lost")


async def _paths(storage: Storage, prefix: str = "tenants") -> set[str]:
    return {found.path async for found in storage.list(prefix)}


@pytest.mark.parametrize("pieces", [0, 1, 40])
async def test_what_was_put_is_given_back(storage: Storage, pieces: int) -> None:
    whole = PIECE * pieces
    stored = await storage.put(PATH, stream([PIECE] * pieces))
    assert stored == Stored(len(whole), sha256(whole).hexdigest())
    assert await collect(storage.get(PATH)) == whole
    listed = [found async for found in storage.list("tenants/acme")]
    assert [(found.path, found.bytes) for found in listed] == [(PATH, len(whole))]


async def test_an_object_is_replaced_and_deleted(storage: Storage) -> None:
    await storage.put(PATH, stream([b"old"]))
    await storage.put(PATH, stream([b"new"]))
    assert await collect(storage.get(PATH)) == b"new"
    await storage.delete(PATH)
    await storage.delete(PATH)
    assert await _paths(storage) == set()
    with pytest.raises(NotStoredError):
        await collect(storage.get(PATH))


async def test_a_listing_has_everything_below_a_path_and_nothing_else(storage: Storage) -> None:
    for name in ("acme/1/a", "acme/2/b", "acme-two/1/c"):
        await storage.put(f"tenants/{name}", stream([b"x"]))
    assert await _paths(storage, "tenants/acme") == {"tenants/acme/1/a", "tenants/acme/2/b"}
    assert await _paths(storage, "elsewhere") == set()


async def test_a_failing_source_is_reported_and_leaves_nothing(storage: Storage) -> None:
    with pytest.raises(ConnectionResetError, match="the source is lost"):
        await storage.put(PATH, _breaking_off())
    assert await _paths(storage) == set()


async def test_a_reader_may_stop_in_the_middle(storage: Storage) -> None:
    await storage.put(PATH, stream([PIECE] * 20))
    pieces = storage.get(PATH)
    async for _ in pieces:
        break
    await pieces.aclose()


async def test_an_upload_that_is_given_up_leaves_no_parts_behind(
    amazon: Amazon, bucket: str
) -> None:
    storage = _bucket_storage(f"s3://{bucket}", amazon.url)
    halfway = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield PIECE
        halfway.set()
        await asyncio.Event().wait()

    upload = asyncio.create_task(storage.put(PATH, endless()))
    await halfway.wait()
    upload.cancel()
    with pytest.raises(asyncio.CancelledError):
        await upload
    client = amazon.client("s3")
    assert "Uploads" not in client.list_multipart_uploads(Bucket=bucket)
    assert client.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


async def test_half_written_objects_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    storage = Storage(f"file://{tmp_path}")
    await storage.put(PATH, stream([b"whole"]))
    left = tmp_path / f"{PATH}#1"
    left.write_bytes(b"half")
    assert await _paths(storage) == {PATH}
    assert await storage.sweep(older_than_s=3600) == 0
    os.utime(left, (0, 0))
    assert await storage.sweep(older_than_s=3600) == 1
    assert not left.exists()
    assert await collect(storage.get(PATH)) == b"whole"


async def test_a_bucket_that_does_not_take_us_names_no_secret(amazon: Amazon) -> None:
    storage = _bucket_storage("s3://there-is-none", amazon.url)
    with pytest.raises(StorageError) as caught:
        await storage.put(PATH, stream([b"x"]))
    assert SECRET_KEY not in repr(caught.value)


@pytest.mark.parametrize(
    "answer",
    [
        # Whole by its own words, and yet too little; broken off; all in place of a part.
        b"HTTP/1.1 206 -\r\nContent-Range: bytes 0-9/10\r\nContent-Length: 3\r\n%s\r\nabc",
        b"HTTP/1.1 206 -\r\nContent-Range: bytes 0-9/10\r\nContent-Length: 10\r\n%s\r\nabc",
        b"HTTP/1.1 200 -\r\nContent-Length: 10\r\n%s\r\nabcdefghij",
        b"HTTP/1.1 403 -\r\nContent-Length: 0\r\n%s\r\n",
        b"HTTP/1.1 500 -\r\nContent-Length: 0\r\n%s\r\n",
        b"HTTP/1.1 307 -\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n%s\r\n",
        b"",
    ],
)
async def test_a_wrong_answer_of_the_storage_is_not_taken_for_a_damaged_object(
    answer: bytes,
) -> None:
    about = b'ETag: "e"\r\nLast-Modified: Sun, 01 Mar 2026 12:00:00 GMT\r\nConnection: close\r\n'
    head = b"HTTP/1.1 200 -\r\nContent-Length: 10\r\n%s\r\n" % about
    async with scripted(head, answer % about if answer else answer) as server:
        storage = _bucket_storage("s3://bucket", server.url)
        with pytest.raises(StorageError) as caught:
            await collect(storage.get(PATH))
    assert not isinstance(caught.value, NotStoredError)
    assert SECRET_KEY not in repr(caught.value)


@pytest.mark.parametrize("status", [307, 403, 500])
async def test_what_a_bucket_does_not_take_is_not_stored(status: int) -> None:
    async with scripted(b"HTTP/1.1 %d -\r\nContent-Length: 0\r\n\r\n" % status) as server:
        storage = _bucket_storage("s3://bucket", server.url)
        with pytest.raises(StorageError):
            await storage.put(PATH, stream([b"x"]))


@pytest.mark.parametrize("url", ["", "folder", "file://", "file:///", "s3://", "https://host/x"])
def test_another_kind_of_storage_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="file:///folder or s3://bucket"):
        Storage(url)
