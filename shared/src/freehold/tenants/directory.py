"""The directory: API keys and tenants' homes, cached from the catalog.

Change notices of the catalog drop entries, so a revoked key stops working at once. While the
catalog is down, cached keys and homes go on working.

Guessed keys do not load the catalog: unknown keys are cached too, separately and for 3 seconds, and
keys that wait for a look-up are looked up together. All requests of a tenant share the look-up of
the tenant's home.
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
from freehold.security.key_ring import KeyRing
from freehold.tenants.catalog import Catalog
from freehold.tenants.homes import Home, home_of

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
    """The tenant of an authenticated request, and what its key allows."""

    home: Home
    key_id: str
    scopes: frozenset[str]
    expires_at: datetime | None
    """When the key expires."""

    @property
    def expired(self) -> bool:
        """Whether the key has expired."""
        return self.expires_at is not None and self.expires_at <= datetime.now(UTC)

    def may(self, *scopes: Scope) -> bool:
        """Say whether the key has any of these scopes."""
        return not self.scopes.isdisjoint(scopes)


class _Cache(Generic[Value]):
    """A bounded cache. A value that changes while it is read is not stored."""

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
    """Looks up keys and tenants."""

    def __init__(self, catalog: Catalog, key_ring: KeyRing) -> None:
        self._catalog = catalog
        self._key_ring = key_ring
        self._grants: _Cache[Grant] = _Cache(_CACHED_MAX)
        # The time until which a key counts as unknown without a look-up.
        self._unknown: _Cache[float] = _Cache(_UNKNOWN_MAX)
        self._homes: _Cache[Home] = _Cache(_CACHED_MAX)
        # Callers by the digest of their credential. Any change drops all.
        self._remembered: dict[bytes, Caller] = {}
        self._home_reads: dict[str, asyncio.Task[Home | None]] = {}
        self._wanted: set[str] = set()
        self._next_look: asyncio.Task[dict[str, Grant]] | None = None
        self._looking = asyncio.Lock()

    def changed(self, notice: str | None) -> None:
        """Drop what a change notice names, or everything if notices may be missed."""
        self._remembered.clear()
        kind, _, name = (notice or "").partition(":")
        if kind != "key":
            self._homes.drop(name or None)
            # Later requests must not get the result of a read that began before the change.
            for tenant_id in [name] if name else list(self._home_reads):
                self._home_reads.pop(tenant_id, None)
        if kind != "tenant":
            self._grants.drop(name or None)
            self._unknown.drop(name or None)

    async def caller(self, key: ApiKey) -> Caller | None:
        """Find the caller with a key; None if it is unknown, wrong, revoked or expired.

        Raises:
            Unavailable: The key is not cached, and the catalog does not answer.
        """
        grant = await self._grant(key.key_id)
        if grant is None or not same_secret(key, grant.secret_hash):
            return None
        return await self._caller(key.key_id, grant)

    async def bearer(self, key_id: str) -> Caller | None:
        """Find the caller that a key stands for; None if it is unknown, revoked or expired.

        Raises:
            Unavailable: The key is not cached, and the catalog does not answer.
        """
        grant = await self._grant(key_id)
        return None if grant is None else await self._caller(key_id, grant)

    def recall(self, digest: bytes) -> Caller | None:
        """Find the caller remembered under a digest, if nothing has changed since."""
        caller = self._remembered.get(digest)
        return None if caller is None or caller.expired else caller

    def remember(self, digest: bytes, key: ApiKey) -> None:
        """Remember the caller with a key under a digest, if all that is needed is cached."""
        grant = self._grants.get(key.key_id)
        home = self._homes.get(grant.tenant_id) if grant else None
        if grant is None or home is None or not same_secret(key, grant.secret_hash):
            return
        if len(self._remembered) >= _CACHED_MAX:
            self._remembered.clear()
        self._remembered[digest] = _caller(home, key.key_id, grant)

    async def home(self, tenant_id: str) -> Home | None:
        """Find a tenant's home; None if there is no such tenant with a ledger.

        Raises:
            Unavailable: The home is not cached, and the catalog does not answer.
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

    async def renewed(self, home: Home) -> Home | None:
        """Find a tenant's home again, after its database refused the password in `home`.

        Concurrent calls share one look-up.

        Raises:
            Unavailable: The catalog does not answer.
            SealingError: The stored credential does not open.
        """
        found = await self.home(home.tenant_id)
        if found is not None and found.password == home.password:
            # It was cached, or read, before the password was replaced.
            self.changed(f"tenant:{home.tenant_id}")
            found = await self.home(home.tenant_id)
        return found

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
        # Retrieved, since all that waited for it may have given up.
        if not read.cancelled():
            read.exception()

    async def _caller(self, key_id: str, grant: Grant) -> Caller | None:
        home = await self.home(grant.tenant_id)
        caller = None if home is None else _caller(home, key_id, grant)
        return None if caller is None or caller.expired else caller

    async def _grant(self, key_id: str) -> Grant | None:
        if grant := self._grants.get(key_id):
            return grant
        if (self._unknown.get(key_id) or 0.0) > time.monotonic():
            return None
        self._wanted.add(key_id)
        if self._next_look is None:
            self._next_look = asyncio.create_task(self._look_up())
            # Retrieved, since all that waited for it may have given up.
            self._next_look.add_done_callback(lambda look: look.cancelled() or look.exception())
        found = await asyncio.shield(self._next_look)
        return found.get(key_id)

    async def _look_up(self) -> dict[str, Grant]:
        """Look up all keys that were asked for until the previous look-up ended."""
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


def _caller(home: Home, key_id: str, grant: Grant) -> Caller:
    return Caller(home, key_id, grant.scopes, grant.expires_at)


def _grant(row: Record) -> Grant:
    return Grant(
        tenant_id=row["tenant_id"],
        secret_hash=row["secret_hash"],
        scopes=frozenset(row["scopes"]),
        expires_at=_aware(row["expires_at"]),
    )


def _aware(instant: datetime | None) -> datetime | None:
    # The driver reads infinity as the first or last datetime, without a time zone.
    return instant and (instant if instant.tzinfo else instant.replace(tzinfo=UTC))
