"""The catalog's own storage: a mark in it says whose it is, and no other storage is used.

A folder that is not mounted looks empty, and another bucket looks like ours. What is archived there
would be lost, and what should be there would seem lost. So the catalog and the storage share an id.
It is compared before each use of a folder, and every ten seconds for a bucket. A catalog that was
recovered from a storage marks it anew, so that the old server, if it is still alive, stops writing
there.
"""

import time
from typing import Any
from uuid import UUID, uuid4

import structlog

from freehold.tenants.catalog import Catalog
from freehold_tenant_manager.catalog.installation import (
    has_data_keys,
    read_installation,
    save_storage,
    save_storage_marked,
)
from freehold_tenant_manager.storage.objects import NotStoredError, Storage, StorageError
from freehold_tenant_manager.storage.pieces import pieces_of

_log = structlog.get_logger(__name__)

MARK = "storage-id"
_BELIEVED_S = 10.0
_TENANTS = "tenants"


class ForeignStorageError(StorageError):
    """The storage belongs to another catalog."""


class OwnStorage(Storage):
    """Storage that is used only while it has this catalog's mark."""

    def __init__(self, url: str, *, catalog: Catalog, **choices: Any) -> None:
        """Set up as `Storage`; the catalog knows the id."""
        super().__init__(url, **choices)
        self._unchecked = Storage(url, **choices)
        self._catalog = catalog
        self._own: UUID | None = None
        self._believed_until = 0.0

    async def require_own(self) -> None:
        """Check that this is the catalog's own storage; mark it the first time.

        Raises:
            ForeignStorageError: It is another catalog's.
            StorageError: It lacks its mark, or does not answer.
            Unavailable: The catalog does not answer.
        """
        if time.monotonic() < self._believed_until:
            return
        if self._own is None:
            self._own = await self._settle()
        found = await self._mark()
        if found is None:
            raise StorageError(
                f"the storage lacks its mark, {MARK}: it is not mounted, was emptied, or is not the"
                " one that this catalog knows"
            )
        if found != self._own:
            self._own = None
            raise ForeignStorageError(
                "the storage is another catalog's by now: was it recovered on another server?"
            )
        if self._folder is None:
            self._believed_until = time.monotonic() + _BELIEVED_S

    async def mark(self, own: UUID) -> None:
        """Mark the storage as that of the catalog with this id, even if it was another's.

        Raises:
            StorageError: The storage does not take it.
        """
        await self._unchecked.put(MARK, pieces_of(str(own).encode()))
        self._own = None
        self._believed_until = 0.0

    async def _settle(self) -> UUID:
        """Give the catalog's id of the storage; make one if neither has one."""
        async with self._catalog.connection() as connection:
            known = await read_installation(connection)
            has_keys = await has_data_keys(connection)
        own = known.storage_id
        if known.is_storage_marked and own is not None:
            return own
        found = await self._mark()
        if found not in (None, own) or (
            found is None and not has_keys and await self._unchecked.folders(_TENANTS)
        ):
            raise ForeignStorageError(
                "the storage has the objects of another catalog. If that one's server was lost,"
                " bring it back with `freehold-tenant-manager recover`; if not, give this"
                " installation a storage of its own (FREEHOLD_STORAGE_URL)"
            )
        # Recorded before the storage is marked: after a crash in between this continues.
        async with self._catalog.connection() as connection:
            own = await save_storage(connection, uuid4())
        if found is None:
            await self.mark(own)
        async with self._catalog.connection() as connection:
            await save_storage_marked(connection)
        _log.info("storage marked", storage_id=str(own))
        return own

    async def _mark(self) -> UUID | None:
        try:
            content = b"".join([piece async for piece in self._unchecked.get(MARK)])
            return UUID(content.decode("ascii"))
        except NotStoredError:
            return None
        except ValueError:
            raise ForeignStorageError(f"the storage's mark, {MARK}, is damaged") from None
