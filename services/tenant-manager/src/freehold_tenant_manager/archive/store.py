"""The archive: tenants' segments in storage, each epoch's in a folder of its own.

The storage itself says what there is: nothing about single segments stands in the catalog.
"""

from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime

from freehold_tenant_manager.storage.objects import Storage, Stored
from freehold_tenant_manager.storage.vault import Vault


@dataclass(frozen=True, slots=True)
class Archived:
    """A segment that is stored: which events it has and how far it tells of rules, by its name."""

    path: str
    first_seq: int
    last_seq: int
    last_change: int
    bytes: int
    written_at: datetime


class Archive:
    """Stores segments, and gives them back in their order."""

    def __init__(self, storage: Storage, vault: Vault) -> None:
        """Say where the segments are listed, and where they are stored."""
        self._storage = storage
        self._vault = vault

    async def put(
        self, tenant_id: str, epoch: int, name: str, pieces: AsyncIterable[bytes]
    ) -> Stored:
        """Store a segment, whole or not at all.

        Raises:
            StorageError: The storage does not take it.
            Problem: unavailable, where the tenant's data key cannot be had.
        """
        return await self._vault.put(tenant_id, _folder(tenant_id, epoch) + name, pieces)

    async def list(self, tenant_id: str, epoch: int) -> list[Archived]:
        """List an epoch's segments in the order in which they follow each other.

        Raises:
            StorageError: The storage does not say.
        """
        found = []
        async for entry in self._storage.list(_folder(tenant_id, epoch)):
            first, last, change = map(int, entry.path.rpartition("/")[2].split("-"))
            found.append(Archived(entry.path, first, last, change, entry.bytes, entry.written_at))
        return sorted(found, key=lambda one: one.path)

    def get(self, tenant_id: str, segment: Archived) -> AsyncGenerator[bytes, None]:
        """Give a segment's bytes.

        Raises:
            StorageError, DamagedError: It is not there as it was stored.
            Problem: unavailable, where the tenant's data key cannot be had.
        """
        return self._vault.get(tenant_id, segment.path)

    async def fetch(self, tenant_id: str, segment: Archived, *, bytes_max: int) -> bytes | None:
        """Give a small segment's bytes as a whole; None where they are more than that.

        How much is stored says little: what repeats itself takes next to nothing.

        Raises:
            StorageError, DamagedError: It is not there as it was stored.
            Problem: unavailable, where the tenant's data key cannot be had.
        """
        content = bytearray()
        async with aclosing(self.get(tenant_id, segment)) as pieces:
            async for piece in pieces:
                content += piece
                if len(content) > bytes_max:
                    return None
        return bytes(content)

    async def delete(self, segment: Archived) -> None:
        """Delete a segment.

        Raises:
            StorageError: The storage does not delete it.
        """
        await self._storage.delete(segment.path)


def _folder(tenant_id: str, epoch: int) -> str:
    return f"tenants/{tenant_id}/{epoch}/segments/"
