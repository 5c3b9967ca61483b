"""Versions of the catalog in the storage: numbered, encrypted with a data key of the catalog's own.

`catalog/versions/<number>` is a snapshot, compressed and encrypted; `catalog/data-key` is the key,
wrapped by the key management. Storage and key management suffice to read them.
"""

from collections.abc import AsyncGenerator, AsyncIterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime, timedelta

from freehold_tenant_manager.recovery.snapshot import Header, examine, read_header
from freehold_tenant_manager.storage.data_keys import CATALOG
from freehold_tenant_manager.storage.objects import NotStoredError, Storage, Stored
from freehold_tenant_manager.storage.vault import DamagedError, Vault

_FOLDER = "catalog/versions/"
_KEPT_ALL = timedelta(hours=1)
_KEPT_HOURLY = timedelta(days=1)
_KEPT_MIN = 10


@dataclass(frozen=True, slots=True)
class Version:
    """A stored version."""

    number: int
    bytes: int
    written_at: datetime

    @property
    def path(self) -> str:
        """The object's path."""
        return _path(self.number)


class Versions:
    """Stores versions of the catalog, gives them back and removes old ones."""

    def __init__(self, storage: Storage, vault: Vault, *, keep_days: float) -> None:
        """Set up; for `keep_days` days one version of each day is kept."""
        self._storage = storage
        self._vault = vault
        self._keep = timedelta(days=keep_days)

    async def list(self) -> Sequence[Version]:
        """List the versions, the newest first.

        Raises:
            StorageError: The storage does not list them.
        """
        found = [
            Version(int(name), entry.bytes, entry.written_at)
            async for entry in self._storage.list(_FOLDER)
            if (name := entry.path.rpartition("/")[2]).isdecimal()
        ]
        return sorted(found, key=lambda version: version.number, reverse=True)

    async def put(self, number: int, pieces: AsyncIterable[bytes]) -> Stored:
        """Store a version, whole or not at all.

        Raises:
            StorageError: The storage does not take it.
            Unavailable: The catalog's data key cannot be had.
        """
        return await self._vault.put(CATALOG, _path(number), pieces)

    def get(self, number: int) -> AsyncGenerator[bytes, None]:
        """Give a version's bytes.

        Raises:
            NotStoredError, StorageError, DamagedError: It is not there as it was stored.
            Unavailable: The catalog's data key cannot be had.
        """
        return self._vault.get(CATALOG, _path(number))

    async def examine(self, number: int) -> Header:
        """Read a version to its end, and give its header.

        Raises:
            DamagedError: It is not what was stored, or is gone.
            SnapshotError: It needs a later release.
            StorageError: The storage does not give it.
            Unavailable: The catalog's data key cannot be had.
        """
        try:
            async with aclosing(self.get(number)) as pieces:
                return await examine(pieces)
        except NotStoredError as error:
            raise DamagedError(str(error)) from error

    async def header(self, number: int) -> Header:
        """Read a version's header, and no more of it.

        Raises:
            NotStoredError, StorageError, DamagedError, SnapshotError: It cannot be read.
            Unavailable: The catalog's data key cannot be had.
        """
        async with aclosing(self.get(number)) as pieces:
            return await read_header(pieces)

    async def remove_old(self, versions: Sequence[Version]) -> None:
        """Remove what was kept long enough.

        Raises:
            StorageError: The storage does not delete it.
        """
        for version in superfluous(versions, self._keep):
            await self._vault.delete(version.path)


def superfluous(versions: Sequence[Version], keep: timedelta) -> Sequence[Version]:
    """List the versions to remove.

    What stays: all of the last hour, the last of each hour of the last day, the last of each day
    for as long as backups are kept, and the newest ten at any age. Ages are counted from the
    newest version, since one clock wrote them all.

    Args:
        versions: The newest first.
        keep: How far back a version of each day stays.
    """
    if not versions:
        return []
    newest = versions[0].written_at
    gone: list[Version] = []
    kept_of: set[str] = set()
    for version in versions[_KEPT_MIN:]:
        age = newest - version.written_at
        if age <= _KEPT_ALL:
            continue
        span = f"{version.written_at:%Y%m%d%H}" if age <= _KEPT_HOURLY else ""
        span = span or f"{version.written_at:%Y%m%d}"
        if span in kept_of or age > keep:
            gone.append(version)
        kept_of.add(span)
    return gone


def _path(number: int) -> str:
    return f"{_FOLDER}{number:012d}"
