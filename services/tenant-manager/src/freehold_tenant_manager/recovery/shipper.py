"""Ships the catalog: after each change, and every hour, a version of it is stored.

The transaction that makes a change records it. The record is deleted once a version with the change
is stored and was read back. One process at a time ships; all report how far behind it is.
"""

import asyncio
import time
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace

import asyncpg
import structlog

from freehold.aio.backoff import backoff_s
from freehold.contracts.errors import DomainError, Unavailable
from freehold.ledger.client import Connection
from freehold.tenants.catalog import Catalog
from freehold_tenant_manager.catalog.installation import (
    list_unshipped,
    read_installation,
    save_shipped,
)
from freehold_tenant_manager.metrics import (
    CATALOG_BEHIND_SECONDS,
    CATALOG_FAILURES,
    CATALOG_SHIPPED,
    CATALOG_SHIPPED_AT,
)
from freehold_tenant_manager.operators.act_store import has_act
from freehold_tenant_manager.recovery.snapshot import SnapshotError, describe, take
from freehold_tenant_manager.recovery.versions import Version, Versions
from freehold_tenant_manager.server.locks import Lock, locked_if_free
from freehold_tenant_manager.server.server import Server
from freehold_tenant_manager.storage.kms import KeyManagementError
from freehold_tenant_manager.storage.objects import NotStoredError, StorageError
from freehold_tenant_manager.storage.vault import DamagedError

_log = structlog.get_logger(__name__)

NOT_SHIPPED = (
    StorageError,
    DamagedError,
    SnapshotError,
    KeyManagementError,
    OSError,
    TimeoutError,
    asyncpg.PostgresError,
)
"""What `ship` raises besides a DomainError."""
_HEADER_TIMEOUT_S = 5.0
_REFRESH_S = 3_600.0
"""The greatest age of what changes all the time without being recorded, such as anchors."""
_TIMEOUT_S = 300.0
# After shipping, a pause of this many times its duration: a twentieth of the time is spent on it.
# On a slow server it is more of the time, since the stored version is promised within seconds.
_PAUSE_FACTOR = 20
_PAUSE_MAX_S = 10.0
_RETRY_FIRST_S = 2.0
_RETRY_MAX_S = 60.0
_REMOVE_BEHIND_MAX_S = 3_600.0


class Shipper:
    """Ships the catalog of one installation."""

    def __init__(
        self, catalog: Catalog, server: Server, versions: Versions, *, cluster: str
    ) -> None:
        self._catalog = catalog
        self._server = server
        self._versions = versions
        self._cluster = cluster
        self._not_before = 0.0
        self._failures = 0

    async def ship_if_due(self) -> bool:
        """Ship the catalog after a change or an hour; False: there is no more now.

        Raises:
            Unavailable: The catalog does not answer.
        """
        async with self._catalog.connection() as connection:
            known = await read_installation(connection)
        CATALOG_BEHIND_SECONDS.set(known.behind_s)
        if known.shipped_at is not None:
            CATALOG_SHIPPED_AT.set(known.shipped_at.timestamp())
        is_old = known.since_shipped_s is None or known.since_shipped_s > _REFRESH_S
        if (known.behind_s > 0 or is_old) and time.monotonic() >= self._not_before:
            await self._try_to_ship(known.behind_s)
        return False

    async def require_shipped(self) -> None:
        """Check before a removal that no object is removed that the last stored version needs.

        Raises:
            Unavailable: The storage lacks what changed more than an hour ago.
        """
        async with self._catalog.connection() as connection:
            known = await read_installation(connection)
        if known.behind_s > _REMOVE_BEHIND_MAX_S:
            raise Unavailable("nothing is removed while the catalog is not shipped")

    async def ship(self) -> int | None:
        """Ship the catalog now; give the version's number, None while another process ships it.

        Raises:
            StorageError, DamagedError: The storage does not take it, or damages it.
            KeyManagementError: The catalog's data key is damaged.
            Unavailable: The data key cannot be had.
            OSError, TimeoutError, asyncpg.PostgresError: The catalog does not answer.
        """
        async with (
            self._server.catalog(statement_timeout_s=_TIMEOUT_S) as connection,
            locked_if_free(connection, Lock.SHIPPING) as held,
        ):
            return await self._ship(connection) if held else None

    async def shipped_acts_head(self) -> tuple[int, bytes] | None:
        """Give the head of the audit log in the newest stored version; None where none is known.

        It is kept where who changes the catalog cannot change it.
        """
        try:
            async with asyncio.timeout(_HEADER_TIMEOUT_S):
                return await self._acts_head(await self._versions.list())
        except (DomainError, *NOT_SHIPPED) as error:
            _log.warning("the shipped head of the audit log is not known", fault=str(error))
            return None

    async def _acts_head(self, versions: Sequence[Version]) -> tuple[int, bytes] | None:
        if not versions:
            return None
        try:
            header = await self._versions.header(versions[0].number)
        except (DamagedError, NotStoredError, SnapshotError) as error:
            _log.warning("a version of the catalog cannot be read", fault=str(error))
            return None
        return header.acts_seq, bytes.fromhex(header.acts_hash)

    async def _ship(self, connection: Connection) -> int:
        earlier = await self._versions.list()
        known = await read_installation(connection)
        acts_head = await self._acts_head(earlier)
        number = max([known.shipped_version, *(version.number for version in earlier)]) + 1
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            changes = await list_unshipped(connection)
            header = await describe(connection, self._cluster)
            if acts_head is not None and not await has_act(connection, *acts_head):
                _log.error("the audit log lacks what was shipped", seq=acts_head[0])
                header = replace(header, acts_seq=acts_head[0], acts_hash=acts_head[1].hex())
            async with aclosing(take(connection, header)) as pieces:
                stored = await self._versions.put(number, pieces)
        # A version counts once it can be read back.
        await self._versions.examine(number)
        await save_shipped(connection, number, header.taken_at, changes)
        CATALOG_SHIPPED.inc()
        _log.debug("catalog shipped", version=number, bytes=stored.bytes)
        try:
            await self._versions.remove_old(await self._versions.list())
        except StorageError as error:
            _log.warning("old versions of the catalog not removed yet", fault=str(error))
        return number

    async def _try_to_ship(self, behind_s: float) -> None:
        started = time.monotonic()
        try:
            await self.ship()
        except DomainError as error:
            fault = error.detail
        except NOT_SHIPPED as error:
            fault = str(error) or repr(error)
        else:
            self._failures = 0
            ended = time.monotonic()
            self._not_before = ended + min(_PAUSE_FACTOR * (ended - started), _PAUSE_MAX_S)
            return
        self._failures += 1
        CATALOG_FAILURES.inc()
        pause_s = backoff_s(self._failures, first_s=_RETRY_FIRST_S, max_s=_RETRY_MAX_S)
        self._not_before = time.monotonic() + pause_s
        _log.warning(
            "catalog not shipped", fault=fault, behind_s=round(behind_s), tries=self._failures
        )
