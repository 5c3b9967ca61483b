"""The archive: tenants' segments in the storage, a folder for each epoch.

The storage alone says which segments there are; the catalog names none of them.
"""

from collections.abc import AsyncGenerator, AsyncIterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime

from freehold_tenant_manager.storage.objects import Storage, Stored
from freehold_tenant_manager.storage.vault import Vault


@dataclass(frozen=True, slots=True)
class Archived:
    """A stored segment; its name gives its events and its last change of rules."""

    path: str
    first_seq: int
    last_seq: int
    last_change: int
    bytes: int
    written_at: datetime


class Archive:
    """Stores segments, and gives them back in their order."""

    def __init__(self, storage: Storage, vault: Vault) -> None:
        """Set up: segments are listed in the storage, and stored through the vault."""
        self._storage = storage
        self._vault = vault

    async def put(
        self, tenant_id: str, epoch: int, name: str, pieces: AsyncIterable[bytes]
    ) -> Stored:
        """Store a segment, whole or not at all.

        Raises:
            StorageError: The storage does not take it.
            Unavailable: The tenant's data key cannot be had.
        """
        return await self._vault.put(tenant_id, _folder(tenant_id, epoch) + name, pieces)

    async def list(self, tenant_id: str, epoch: int) -> list[Archived]:
        """List an epoch's segments in their order.

        Raises:
            StorageError: The storage does not list them.
        """
        found = []
        async for entry in self._storage.list(_folder(tenant_id, epoch)):
            first, last, change = map(int, entry.path.rpartition("/")[2].split("-"))
            found.append(Archived(entry.path, first, last, change, entry.bytes, entry.written_at))
        return sorted(found, key=lambda one: one.path)

    async def epochs(self, tenant_id: str) -> Sequence[int]:
        """List the epochs that have segments, in order.

        Raises:
            StorageError: The storage does not list them.
        """
        names = await self._storage.folders(f"tenants/{tenant_id}")
        return sorted(int(name) for name in names if name.isdecimal())

    def get(self, tenant_id: str, segment: Archived) -> AsyncGenerator[bytes, None]:
        """Give a segment's bytes.

        Raises:
            StorageError, DamagedError: It is not there as it was stored.
            Unavailable: The tenant's data key cannot be had.
        """
        return self._vault.get(tenant_id, segment.path)

    async def fetch(self, tenant_id: str, segment: Archived, *, bytes_max: int) -> bytes | None:
        """Give all of a segment's bytes; None if there are more than `bytes_max`.

        The stored size does not say: repetitive content compresses to almost nothing.

        Raises:
            StorageError, DamagedError, DomainError: As `get` does.
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
