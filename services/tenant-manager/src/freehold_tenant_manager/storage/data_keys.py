"""Data keys: a random one for each tenant and for the catalog, made on first use, stored wrapped.

They encrypt the objects in the storage. Wrapped, they are in the storage too, so that storage and
key management suffice to read it; the tenants' keys are also in the catalog. A data key is never
replaced. When the wrapping key is replaced, the data key is wrapped again; storing an object is
atomic, so it opens before and after.
"""

import base64
import binascii
import os
import time
from collections import OrderedDict

import orjson
import structlog

from freehold.contracts.errors import DomainError, Unavailable
from freehold.database.queries import load_queries
from freehold.tenants.catalog import Catalog
from freehold_tenant_manager.storage.encryption import KEY_BYTES
from freehold_tenant_manager.storage.kms import (
    KeyManagement,
    KeyManagementError,
    KeyUnknownError,
    LocalKeyFile,
    Wrapped,
)
from freehold_tenant_manager.storage.objects import NotStoredError, Storage, StorageError
from freehold_tenant_manager.storage.pieces import pieces_of

_log = structlog.get_logger(__name__)

_QUERIES = load_queries("freehold_tenant_manager.storage", "queries.sql")

CATALOG = "/catalog"
"""The owner of the catalog's own key; no tenant has such an id."""
_FORMAT = 1
_KEPT_MAX = 10_000
_KEPT_UNUSED_S = 3_600.0
_AT_ONCE = 100


class DataKeys:
    """Gives data keys."""

    def __init__(self, catalog: Catalog, storage: Storage, key_management: KeyManagement) -> None:
        self._catalog = catalog
        self._storage = storage
        self._key_management = key_management
        self._kept: OrderedDict[str, tuple[bytes, float]] = OrderedDict()
        self._is_prepared = False

    async def prepare(self) -> None:
        """Wrap again what an older wrapping key wraps; make a key file if there is no data key yet.

        A lost key file is not replaced: the data keys that it wrapped would be lost unnoticed.

        Raises:
            KeyManagementError: It cannot be done now.
            StorageError: The storage does not take a key.
            Unavailable: The catalog does not answer.
        """
        rows = await self._catalog.fetch(_QUERIES["list_keys"])
        wrapped = {
            row["tenant_id"]: Wrapped(row["wrapping_key_id"], row["wrapped_key"]) for row in rows
        }
        of_catalog = await self._stored(CATALOG)
        if of_catalog is not None:
            wrapped[CATALOG] = of_catalog
        if not wrapped and isinstance(self._key_management, LocalKeyFile):
            await self._key_management.make()
        current = {
            key_id: await self._key_management.is_current(key_id)
            for key_id in {old.key_id for old in wrapped.values()}
        }
        for owner, old in wrapped.items():
            if not current[old.key_id]:
                await self._wrap_anew(owner, old)

    async def look_after(self) -> bool:
        """Do what is left to do of `prepare` and `store_missing`.

        Raises:
            Unavailable: The catalog does not answer.
        """
        if not self._is_prepared:
            try:
                await self.prepare()
                self._is_prepared = True
            except (KeyManagementError, StorageError, DomainError) as error:
                # Only what needs a data key fails until then.
                _log.warning("data keys not ready", fault=str(error))
        return await self.store_missing()

    async def store_missing(self) -> bool:
        """Store keys that only the catalog has; give whether there are more.

        Raises:
            StorageError: The storage does not take one.
            Unavailable: The catalog does not answer.
        """
        rows = await self._catalog.fetch(_QUERIES["list_not_stored"], _AT_ONCE)
        for row in rows:
            wrapped = Wrapped(row["wrapping_key_id"], row["wrapped_key"])
            await self._store(row["tenant_id"], wrapped)
        return len(rows) == _AT_ONCE

    async def find(self, owner: str) -> bytes:
        """Give an owner's data key.

        Raises:
            NotStoredError: There is none.
            StorageError: The storage does not answer.
            Unavailable: The catalog or the key management does not answer, or has no wrapping key.
        """
        return await self._find(owner, is_made=False)

    async def find_or_make(self, owner: str) -> bytes:
        """Give an owner's data key; make one if there is none.

        Raises:
            StorageError, Unavailable: As `find` does.
        """
        return await self._find(owner, is_made=True)

    async def _find(self, owner: str, *, is_made: bool) -> bytes:
        kept = self._kept.pop(owner, None)
        key = None if kept is None or kept[1] < time.monotonic() - _KEPT_UNUSED_S else kept[0]
        if key is None:
            try:
                wrapped = await self._read(owner)
                if wrapped is None and not is_made and await self._stored(owner) is None:
                    raise NotStoredError(f"there is no data key of {owner}")
                # `_make` also adds one to the catalog that only the storage has.
                wrapped = wrapped or await self._make(owner)
                key = await self._unwrap(wrapped, owner)
            except KeyManagementError as error:
                _log.warning("no data key", tenant_id=owner, fault=str(error))
                raise Unavailable("the data key cannot be had now") from error
        self._kept[owner] = key, time.monotonic()
        while len(self._kept) > _KEPT_MAX or (
            next(iter(self._kept.values()))[1] < time.monotonic() - _KEPT_UNUSED_S
        ):
            self._kept.popitem(last=False)
        return key

    async def adopt(self, owner: str) -> None:
        """Copy a key from the storage to the catalog, and check that it opens.

        Raises:
            KeyManagementError: It does not open.
            StorageError: The storage does not give it.
            Unavailable: The catalog does not answer.
        """
        stored = await self._stored(owner)
        if stored is not None and owner != CATALOG:
            await self._catalog.execute(_QUERIES["adopt_key"], owner, *stored)
        known = stored or await self._read(owner)
        if known is not None:
            await self._unwrap(known, owner)

    async def _make(self, owner: str) -> Wrapped:
        """Make a data key; give another process's if it was faster."""
        wrapped = None if owner == CATALOG else await self._stored(owner)
        if wrapped is None:
            wrapped = await self._key_management.wrap(os.urandom(KEY_BYTES), owner)
        if owner == CATALOG:
            # Only the process that holds the lock to ship the catalog comes here.
            await self._put(owner, wrapped)
            return wrapped
        await self._catalog.execute(_QUERIES["add_key"], owner, *wrapped)
        return await self._read(owner) or wrapped

    async def _read(self, owner: str) -> Wrapped | None:
        """Read a key; one that the storage lacks is stored before it is used."""
        if owner == CATALOG:
            return await self._stored(owner)
        row = await self._catalog.fetchrow(_QUERIES["find_key"], owner)
        if row is None:
            return None
        wrapped = Wrapped(row["wrapping_key_id"], row["wrapped_key"])
        if not row["is_stored"]:
            await self._store(owner, wrapped)
        return wrapped

    async def _store(self, tenant_id: str, wrapped: Wrapped) -> None:
        await self._put(tenant_id, wrapped)
        await self._catalog.execute(_QUERIES["record_stored"], tenant_id, wrapped.box)

    async def _put(self, owner: str, wrapped: Wrapped) -> None:
        content = orjson.dumps(
            {
                "format": _FORMAT,
                "of": owner,
                "wrapping_key_id": wrapped.key_id,
                "wrapped_key": base64.b64encode(wrapped.box).decode(),
            }
        )
        await self._storage.put(_path(owner), pieces_of(content))

    async def _stored(self, owner: str) -> Wrapped | None:
        """Read a wrapped key in the storage; None if there is none.

        Raises:
            KeyUnknownError: The object is no wrapped key.
            StorageError: The storage does not give it.
        """
        path = _path(owner)
        try:
            content = b"".join([piece async for piece in self._storage.get(path)])
        except NotStoredError:
            return None
        try:
            stored = orjson.loads(content)
            box = base64.b64decode(stored["wrapped_key"], validate=True)
            if stored["format"] != _FORMAT:
                raise KeyUnknownError(f"{path} needs a later release")
            return Wrapped(str(stored["wrapping_key_id"]), box)
        except (orjson.JSONDecodeError, binascii.Error, KeyError, TypeError) as error:
            raise KeyUnknownError(f"{path} is damaged") from error

    async def _unwrap(self, wrapped: Wrapped, owner: str) -> bytes:
        key = await self._key_management.unwrap(wrapped, owner)
        if len(key) != KEY_BYTES:
            raise KeyManagementError("the key management gave something that is no data key")
        return key

    async def _wrap_anew(self, owner: str, old: Wrapped) -> None:
        key = await self._unwrap(old, owner)
        new = await self._key_management.wrap(key, owner)
        # The storage first: the operator removes the old wrapping key once the catalog no longer
        # names it, and until then the catalog's copy opens.
        await self._put(owner, new)
        if owner != CATALOG:
            await self._catalog.execute(_QUERIES["rewrap_key"], owner, *new, old.box)
        _log.info("data key wrapped anew", tenant_id=owner, wrapping_key=new.key_id)


def _path(owner: str) -> str:
    return "catalog/data-key" if owner == CATALOG else f"tenants/{owner}/data-key"
