"""The tenants' data keys: one each, random, made on first use, kept wrapped in the catalog.

What a tenant has in storage is encrypted with it. A key once made is never replaced: the wrapping
key may be, and then it is wrapped anew.
"""

import os
from collections import OrderedDict

import structlog

from freehold.contracts.problems import unavailable
from freehold.tenancy.catalog import Catalog
from freehold_tenant_manager.storage.encryption import KEY_BYTES
from freehold_tenant_manager.storage.kms import (
    KeyManagement,
    KeyManagementError,
    LocalKeyFile,
    Wrapped,
)

_log = structlog.get_logger(__name__)

_KEPT_MAX = 10_000


class DataKeys:
    """Gives each tenant's data key."""

    def __init__(self, catalog: Catalog, key_management: KeyManagement) -> None:
        """Say where the keys are kept, and what wraps them."""
        self._catalog = catalog
        self._key_management = key_management
        self._kept: OrderedDict[str, bytes] = OrderedDict()

    async def prepare(self) -> None:
        """Make a key file where none was ever needed, and wrap anew what an older key wraps.

        A key file that was lost is not replaced: what it wrapped would seem to be there.

        Raises:
            KeyManagementError: It cannot be done now.
            Problem: unavailable, where the catalog does not answer.
        """
        rows = await self._catalog.fetch(
            "SELECT tenant_id, wrapping_key_id, wrapped_key FROM data_keys"
        )
        if not rows and isinstance(self._key_management, LocalKeyFile):
            await self._key_management.make()
        current = {
            key_id: await self._key_management.is_current(key_id)
            for key_id in {row["wrapping_key_id"] for row in rows}
        }
        for row in rows:
            if not current[row["wrapping_key_id"]]:
                old = Wrapped(row["wrapping_key_id"], row["wrapped_key"])
                await self._wrap_anew(row["tenant_id"], old)

    async def find(self, tenant_id: str) -> bytes:
        """Give a tenant's data key; one is made where there is none.

        Raises:
            Problem: unavailable, where the catalog or the key management does not answer, or does
                not have the wrapping key.
        """
        if tenant_id in self._kept:
            self._kept.move_to_end(tenant_id)
            return self._kept[tenant_id]
        try:
            wrapped = await self._read(tenant_id) or await self._make(tenant_id)
            key = await self._key_management.unwrap(wrapped, tenant_id)
        except KeyManagementError as error:
            _log.warning("no data key", tenant_id=tenant_id, fault=str(error))
            raise unavailable("the tenant's data key cannot be had now") from error
        self._kept[tenant_id] = key
        if len(self._kept) > _KEPT_MAX:
            self._kept.popitem(last=False)
        return key

    async def _make(self, tenant_id: str) -> Wrapped:
        """Make a data key, unless another process is faster: then it is that one's."""
        wrapped = await self._key_management.wrap(os.urandom(KEY_BYTES), tenant_id)
        await self._catalog.execute(
            "INSERT INTO data_keys (tenant_id, wrapping_key_id, wrapped_key) VALUES ($1, $2, $3)"
            " ON CONFLICT ON CONSTRAINT data_keys_pkey DO NOTHING",
            tenant_id,
            wrapped.key_id,
            wrapped.box,
        )
        return await self._read(tenant_id) or wrapped

    async def _read(self, tenant_id: str) -> Wrapped | None:
        row = await self._catalog.fetchrow(
            "SELECT wrapping_key_id, wrapped_key FROM data_keys WHERE tenant_id = $1", tenant_id
        )
        return None if row is None else Wrapped(row["wrapping_key_id"], row["wrapped_key"])

    async def _wrap_anew(self, tenant_id: str, old: Wrapped) -> None:
        key = await self._key_management.unwrap(old, tenant_id)
        new = await self._key_management.wrap(key, tenant_id)
        await self._catalog.execute(
            "UPDATE data_keys SET wrapping_key_id = $2, wrapped_key = $3"
            " WHERE tenant_id = $1 AND wrapped_key = $4",
            tenant_id,
            new.key_id,
            new.box,
            old.box,
        )
        _log.info("data key wrapped anew", tenant_id=tenant_id, wrapping_key=new.key_id)
