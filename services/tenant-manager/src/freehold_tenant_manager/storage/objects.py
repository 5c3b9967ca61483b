"""Object storage: a folder, or a bucket of any server that speaks S3. One interface for both.

An object is stored whole or not at all, and never changes. It is read and written in parts, of
which a few are in memory at once. Each request has its own deadline, so an object may be of any
size and its reader of any speed.
"""

import asyncio
import os
import re
import time
from collections.abc import AsyncGenerator, AsyncIterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, S3Store
from pydantic import SecretStr

_CONNECT_TIMEOUT_S = 5
_REQUEST_TIMEOUT_S = 60
_RETRY_TIMEOUT_S = 120
_RETRIES_MAX = 5
# S3 takes 10,000 parts (Amazon S3 User Guide, multipart upload limits): 160 GB for an object.
_PART_BYTES = 16 * 2**20
_PARTS_AT_ONCE_MAX = 2
_READ_BYTES = 4 * 2**20
_LIST_OBJECTS = 1_000
_MESSAGE_CHARACTERS_MAX = 300
_GIVE_UP_TIMEOUT_S = 10
# The name of a file that obstore is still writing.
_UNFINISHED = re.compile(r".*#\d+")


class StorageError(Exception):
    """The storage failed; the message names no credential."""


class NotStoredError(StorageError):
    """There is no object at this path."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A stored object: its size, and the SHA-256 of its bytes in hex."""

    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Listed:
    """An object in a listing."""

    path: str
    bytes: int
    written_at: datetime


class Storage:
    """Puts objects, gives them back, lists and deletes them."""

    def __init__(
        self,
        url: str,
        *,
        endpoint: str | None = None,
        region: str | None = None,
        access_key: str | None = None,
        secret_key: SecretStr | None = None,
    ) -> None:
        """Set up; nothing is touched before the first object.

        Args:
            url: `file:///folder` or `s3://bucket/prefix`.
            endpoint: The S3 server, if it is not Amazon's. The bucket's name is then in the path.
            region: The bucket's region.
            access_key: The S3 credential's name; without it the library looks in the environment,
                the container and the instance, as Amazon's tools do.
            secret_key: The S3 credential itself.

        Raises:
            ValueError: The URL is of another kind.
        """
        parts = urlsplit(url)
        self._folder: Path | None = None
        self._store: LocalStore | S3Store | None = None
        if parts.scheme == "file" and parts.netloc in {"", "localhost"} and len(parts.path) > 1:
            self._folder = Path(unquote(parts.path))
        elif parts.scheme == "s3" and parts.netloc:
            given: dict[str, Any] = {
                "endpoint": endpoint,
                "region": region,
                "access_key_id": access_key,
                "secret_access_key": secret_key and secret_key.get_secret_value(),
            }
            self._store = S3Store(
                parts.netloc,
                prefix=parts.path.strip("/") or None,
                config={name: value for name, value in given.items() if value},  # type: ignore[arg-type]
                client_options={
                    "allow_http": (endpoint or "").startswith("http://"),
                    "connect_timeout": timedelta(seconds=_CONNECT_TIMEOUT_S),
                    "timeout": timedelta(seconds=_REQUEST_TIMEOUT_S),
                },
                retry_config={
                    "max_retries": _RETRIES_MAX,
                    "retry_timeout": timedelta(seconds=_RETRY_TIMEOUT_S),
                },
            )
        else:
            raise ValueError("storage is written file:///folder or s3://bucket/prefix")

    async def require_own(self) -> None:
        """Check before each use that it may be used; a plain storage always may."""

    async def put(self, path: str, pieces: AsyncIterable[bytes]) -> Stored:
        """Store an object, whole or not at all; one at the same path is replaced.

        An error of the pieces' source is raised here, and nothing is stored.

        Raises:
            StorageError: The storage does not take it.
        """
        await self.require_own()
        source = _Source(pieces)
        beginning = await source.take(_PART_BYTES)
        try:
            with _failures(path):
                if source.ended:
                    # One request instead of three.
                    await obstore.put_async(self._opened(), path, beginning, use_multipart=False)
                else:
                    await self._put_in_parts(path, source)
                if self._folder is not None:
                    await asyncio.to_thread(_flush, self._folder, path)
        except StorageError:
            if source.failure is not None:
                raise source.failure from None
            raise
        return Stored(source.bytes, source.digest.hexdigest())

    async def get(self, path: str) -> AsyncGenerator[bytes, None]:
        """Give an object's bytes, 4 MiB at a time; the next part is fetched ahead.

        Raises:
            NotStoredError: There is no such object.
            StorageError: The storage does not give it.
        """
        await self.require_own()
        store = self._opened()
        with _failures(path):
            size = (await obstore.head_async(store, path))["size"]
        ahead: asyncio.Task[bytes] | None = None
        try:
            for start in range(0, size, _READ_BYTES):
                here = ahead or self._part(path, start, size)
                following = start + _READ_BYTES
                ahead = self._part(path, following, size) if following < size else None
                with _failures(path):
                    piece = await here
                yield piece
        finally:
            if ahead is not None:
                ahead.cancel()
                await asyncio.gather(ahead, return_exceptions=True)

    async def list(self, prefix: str) -> AsyncGenerator[Listed, None]:
        """List the objects below a path, in no order.

        Raises:
            StorageError: The storage does not list them.
        """
        await self.require_own()
        if self._folder is not None and not self._folder.exists():
            return
        with _failures(prefix):
            async for objects in obstore.list(self._opened(), prefix, chunk_size=_LIST_OBJECTS):
                for found in objects:
                    yield Listed(found["path"], found["size"], found["last_modified"])

    async def folders(self, prefix: str) -> Sequence[str]:
        """List the folders right below a path, in order of their names.

        Raises:
            StorageError: The storage does not list them.
        """
        await self.require_own()
        if self._folder is not None and not self._folder.exists():
            return []
        with _failures(prefix):
            listed = await obstore.list_with_delimiter_async(self._opened(), prefix)
        return sorted(found.rstrip("/").rpartition("/")[2] for found in listed["common_prefixes"])

    async def delete(self, path: str) -> None:
        """Delete an object, if there is one.

        Raises:
            StorageError: The storage does not delete it.
        """
        await self.require_own()
        with suppress(NotStoredError), _failures(path):
            await obstore.delete_async(self._opened(), path)

    async def sweep(self, *, older_than_s: float) -> int:
        """Remove the half-written files of killed processes from a folder; give their number.

        In a bucket, a lifecycle rule of the bucket must remove half-written objects.
        """
        if self._folder is None:
            return 0
        return await asyncio.to_thread(_sweep, self._folder, older_than_s)

    async def _put_in_parts(self, path: str, source: "_Source") -> None:
        upload = asyncio.ensure_future(
            obstore.put_async(
                self._opened(),
                path,
                source,
                chunk_size=_PART_BYTES,
                max_concurrency=_PARTS_AT_ONCE_MAX,
            )
        )
        try:
            await asyncio.shield(upload)
        except asyncio.CancelledError:
            # An error of its source makes obstore withdraw the parts that the bucket has.
            source.give_up()
            await asyncio.wait({upload}, timeout=_GIVE_UP_TIMEOUT_S)
            upload.cancel()
            await asyncio.gather(upload, return_exceptions=True)
            raise

    def _part(self, path: str, start: int, size: int) -> "asyncio.Task[bytes]":
        async def read() -> bytes:
            end = min(start + _READ_BYTES, size)
            part = await obstore.get_range_async(self._opened(), path, start=start, end=end)
            content = part.to_bytes()
            if len(content) != end - start:
                # The storage failed; the object need not be damaged.
                raise StorageError(
                    f"the storage failed at {path}: it gave {len(content)} bytes of {end - start}"
                )
            return content

        return asyncio.create_task(read())

    def _opened(self) -> LocalStore | S3Store:
        if self._store is None:
            if self._folder is None:
                raise RuntimeError("storage is a folder or a bucket")
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._store = LocalStore(self._folder)
        return self._store


class _Source:
    """The pieces on their way into the storage: counted, digested, and ended early on demand."""

    def __init__(self, pieces: AsyncIterable[bytes]) -> None:
        self._pieces = aiter(pieces)
        self._taken = b""
        self._reading: asyncio.Task[Any] | None = None
        self._given_up = False
        self.bytes = 0
        self.digest = sha256()
        self.ended = False
        self.failure: Exception | None = None

    async def take(self, bytes_min: int) -> bytes:
        """Read ahead at least this many bytes, or everything; iterating begins with them."""
        taken: list[bytes] = []
        while self.bytes < bytes_min and not self.ended:
            try:
                taken.append(await self._next())
            except StopAsyncIteration:
                self.ended = True
        self._taken = b"".join(taken)
        return self._taken

    def give_up(self) -> None:
        """End early, at once."""
        self._given_up = True
        if self._reading is not None:
            self._reading.cancel()

    def __aiter__(self) -> "_Source":
        return self

    async def __anext__(self) -> bytes:
        if self._given_up:
            raise StorageError("given up")
        if self._taken:
            taken, self._taken = self._taken, b""
            return taken
        self._reading = asyncio.current_task()
        try:
            return await self._next()
        except asyncio.CancelledError:
            raise StorageError("given up") from None
        finally:
            self._reading = None

    async def _next(self) -> bytes:
        try:
            piece = await anext(self._pieces)
        except StopAsyncIteration:
            raise
        except Exception as error:
            # obstore hides the error's type, so `put` raises this one.
            self.failure = error
            raise
        self.bytes += len(piece)
        self.digest.update(piece)
        return piece


@contextmanager
def _failures(path: str) -> Iterator[None]:
    """Turn obstore's errors into ours, with the first line of a long message."""
    try:
        yield
    except FileNotFoundError:
        raise NotStoredError(f"nothing is stored at {path}") from None
    except (BaseError, OSError) as error:
        text = str(error).partition("\n")[0][:_MESSAGE_CHARACTERS_MAX]
        raise StorageError(f"the storage failed at {path}: {text}") from None


def _flush(folder: Path, path: str) -> None:
    """Flush a new file and the folders that lead to it to the disk."""
    file = folder / path
    for entry in (file, *file.parents):
        descriptor = os.open(entry, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if entry == folder:
            return


def _sweep(folder: Path, older_than_s: float) -> int:
    removed = 0
    for file in folder.rglob("*#*"):
        with suppress(FileNotFoundError):
            if _UNFINISHED.fullmatch(file.name) and _age_s(file) > older_than_s:
                file.unlink()
                removed += 1
    return removed


def _age_s(file: Path) -> float:
    return time.time() - file.stat().st_mtime
