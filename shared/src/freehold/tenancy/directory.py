"""The directory: who a key belongs to and where a tenant lives, cached from the catalog.

Entries are dropped by the catalog's change notices, so a revoked key stops working at once. With
the catalog down, what is known goes on working.

Whoever guesses keys keeps the catalog from nobody: that a key is unknown is kept too, apart from
what is known and for a moment only, and keys that wait to be looked up are looked up together. So
is a tenant's home, however many of their requests wait for it.
"""

import asyncio
import time
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Generic, TypeVar

from freehold.ledger.client import Record
from freehold.security.api_keys import ApiKey, Scope, same_secret
from freehold.security.sealing import KeyRing
from freehold.tenancy.catalog import Catalog
from freehold.tenancy.homes import Home, home_of

_CACHED_MAX = 50_000
_UNKNOWN_MAX = 10_000
_UNKNOWN_S = 3.0

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Grant:
    """What a key allows: its tenant and scopes."""

    tenant_id: str
    secret_hash: bytes
    scopes: frozenset[str]
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated request's tenant and what it may do."""

    home: Home
    key_id: str
    scopes: frozenset[str]

    def may(self, *scopes: Scope) -> bool:
        """Say whether the key has any of these scopes."""
        return not self.scopes.isdisjoint(scopes)


class _Cache(Generic[Value]):
    """A bounded cache that never keeps what changed while it was being read."""

    def __init__(self, values_max: int) -> None:
        self._values_max = values_max
        self._values: OrderedDict[str, Value] = OrderedDict()
        self._generation = 0

    def get(self, key: str) -> Value | None:
        return self._values.get(key)

    def reading(self) -> int:
        return self._generation

    def keep(self, key: str, value: Value, begun: int) -> None:
        if begun != self._generation:
            return
        self._values[key] = value
        if len(self._values) > self._values_max:
            self._values.popitem(last=False)

    def drop(self, key: str | None) -> None:
        self._generation += 1
        if key is None:
            self._values.clear()
        else:
            self._values.pop(key, None)


class Directory:
    """Looks keys and tenants up."""

    def __init__(self, catalog: Catalog, key_ring: KeyRing) -> None:
        self._catalog = catalog
        self._key_ring = key_ring
        self._grants: _Cache[Grant] = _Cache(_CACHED_MAX)
        # Until when a key is taken for unknown without another look.
        self._unknown: _Cache[float] = _Cache(_UNKNOWN_MAX)
        self._homes: _Cache[Home] = _Cache(_CACHED_MAX)
        # Callers by the digest of what they sent, and until when they may; of what changes, all.
        self._remembered: dict[bytes, tuple[Caller, datetime | None]] = {}
        self._home_reads: dict[str, asyncio.Task[Home | None]] = {}
        self._wanted: set[str] = set()
        self._next_look: asyncio.Task[dict[str, Grant]] | None = None
        self._looking = asyncio.Lock()

    def changed(self, notice: str | None) -> None:
        """Drop what a change notice speaks of; everything where notices were missed."""
        self._remembered.clear()
        kind, _, name = (notice or "").partition(":")
        if kind != "key":
            self._homes.drop(name or None)
            # Whoever asks from now on is not to hear what was read before.
            for tenant_id in [name] if name else list(self._home_reads):
                self._home_reads.pop(tenant_id, None)
        if kind != "tenant":
            self._grants.drop(name or None)
            self._unknown.drop(name or None)

    async def caller(self, key: ApiKey) -> Caller | None:
        """Say who bears this key; None where it is unknown, wrong, revoked or expired.

        Raises:
            Problem: unavailable, where the key is not known yet and the catalog does not answer.
        """
        grant = self._grants.get(key.key_id) or await self._read_grant(key.key_id)
        if grant is None or not _holds(grant, key):
            return None
        home = await self.home(grant.tenant_id)
        return None if home is None else Caller(home, key.key_id, grant.scopes)

    def recall(self, digest: bytes) -> Caller | None:
        """Say who was remembered by this digest, if nothing was changed since."""
        caller, expires_at = self._remembered.get(digest, (None, None))
        if expires_at is not None and expires_at <= datetime.now(UTC):
            return None
        return caller

    def remember(self, digest: bytes, key: ApiKey) -> Caller | None:
        """Say who bears this key, and remember it; None where that is not at hand, or nobody."""
        grant = self._grants.get(key.key_id)
        if grant is None or not _holds(grant, key):
            return None
        home = self._homes.get(grant.tenant_id)
        if home is None:
            return None
        if len(self._remembered) >= _CACHED_MAX:
            self._remembered.clear()
        caller = Caller(home, key.key_id, grant.scopes)
        self._remembered[digest] = caller, grant.expires_at
        return caller

    async def home(self, tenant_id: str) -> Home | None:
        """Say where a tenant lives; None where there is no such active tenant.

        Raises:
            Problem: unavailable, where the tenant is not known yet and the catalog does not answer.
            SealingError: The stored credential does not open.
        """
        home = self._homes.get(tenant_id)
        if home is not None:
            return home
        read = self._home_reads.get(tenant_id)
        if read is None:
            read = asyncio.create_task(self._read_home(tenant_id))
            self._home_reads[tenant_id] = read
            read.add_done_callback(partial(self._home_was_read, tenant_id))
        return await asyncio.shield(read)

    async def _read_home(self, tenant_id: str) -> Home | None:
        begun = self._homes.reading()
        row = await self._catalog.fetchrow(
            "SELECT * FROM service_homes WHERE tenant_id = $1", tenant_id
        )
        if row is None:
            return None
        home = home_of(row, self._key_ring)
        self._homes.keep(tenant_id, home, begun)
        return home

    def _home_was_read(self, tenant_id: str, read: asyncio.Task[Home | None]) -> None:
        if self._home_reads.get(tenant_id) is read:
            del self._home_reads[tenant_id]
        # Nobody may be left to hear of a failure.
        if not read.cancelled():
            read.exception()

    async def _read_grant(self, key_id: str) -> Grant | None:
        if (self._unknown.get(key_id) or 0.0) > time.monotonic():
            return None
        self._wanted.add(key_id)
        if self._next_look is None:
            self._next_look = asyncio.create_task(self._look_up())
            # Nobody may be left to hear of a failure.
            self._next_look.add_done_callback(lambda look: look.cancelled() or look.exception())
        found = await asyncio.shield(self._next_look)
        return found.get(key_id)

    async def _look_up(self) -> dict[str, Grant]:
        """Look up all keys that are wanted by the time the look before has ended."""
        async with self._looking:
            wanted, self._wanted, self._next_look = self._wanted, set(), None
            begun, unknown_begun = self._grants.reading(), self._unknown.reading()
            rows = await self._catalog.fetch(
                "SELECT * FROM service_api_keys WHERE key_id = ANY ($1)", list(wanted)
            )
        found = {row["key_id"]: _grant(row) for row in rows}
        for key_id, grant in found.items():
            self._grants.keep(key_id, grant, begun)
        for key_id in wanted - found.keys():
            self._unknown.keep(key_id, time.monotonic() + _UNKNOWN_S, unknown_begun)
        return found


def _holds(grant: Grant, key: ApiKey) -> bool:
    """Whether a key is its grant's own, and has not expired."""
    if not same_secret(key, grant.secret_hash):
        return False
    return grant.expires_at is None or grant.expires_at > datetime.now(UTC)


def _grant(row: Record) -> Grant:
    return Grant(
        tenant_id=row["tenant_id"],
        secret_hash=row["secret_hash"],
        scopes=frozenset(row["scopes"]),
        expires_at=_aware(row["expires_at"]),
    )


def _aware(instant: datetime | None) -> datetime | None:
    # The driver reads infinity as the first or last datetime there is, without a time zone.
    return instant and (instant if instant.tzinfo else instant.replace(tzinfo=UTC))
