"""Tenants' own databases, asked with the control plane's role and within a deadline."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import asyncpg
import structlog

from freehold.contracts.errors import DomainError
from freehold.ledger.client import Connection
from freehold.security.key_ring import KeyRing, SealingError
from freehold.tenants.connections import TenantConnections
from freehold.tenants.homes import Home
from freehold_tenant_manager.credentials.store import find_own_home

_log = structlog.get_logger(__name__)

Answer = TypeVar("Answer")


class Ledgers:
    """Asks tenants' databases. What does not answer is None, and the rest is still shown."""

    def __init__(
        self, connections: TenantConnections, key_ring: KeyRing, *, timeout_s: float
    ) -> None:
        """Set how to reach them; `timeout_s` bounds what one of them is asked at a time."""
        self._connections = connections
        self._key_ring = key_ring
        self._timeout_s = timeout_s

    async def home(self, catalog: Connection, tenant_id: str) -> Home | None:
        """Give a tenant's home; None if there is none, or if its password does not open."""
        try:
            return await find_own_home(catalog, self._key_ring, tenant_id)
        except SealingError as error:
            _log.warning("credential does not open", tenant_id=tenant_id, fault=str(error))
            return None

    async def ask(
        self, home: Home, question: Callable[[Connection], Awaitable[Answer]]
    ) -> Answer | None:
        """Ask a tenant's database; None if it does not answer in time."""
        try:
            async with asyncio.timeout(self._timeout_s), self._connections.use(home) as connection:
                return await question(connection)
        except (DomainError, TimeoutError, asyncpg.PostgresError) as error:
            _log.warning("tenant database silent", tenant_id=home.tenant_id, fault=repr(error))
            return None
