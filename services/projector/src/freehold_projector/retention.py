"""Retention: idempotency keys that have expired are removed, in small steps and in the background.

External ids are for good and stay.
"""

import asyncio

import structlog

from freehold.ledger import client as ledger
from freehold.tenancy.connections import TenantConnections
from freehold.tenancy.directory import Directory
from freehold.tenancy.failures import database_failures
from freehold_projector.metrics import KEYS_FORGOTTEN

_log = structlog.get_logger(__name__)
_STEP_S = 10.0
_STEP_KEYS_MAX = 2_000
PAUSE_S = 0.1
"""Between the rounds: in small steps, and still faster than keys come in."""


class Retention:
    """Tenants to remove expired keys of: one step each a round, until nothing is left."""

    def __init__(
        self,
        directory: Directory,
        connections: TenantConnections,
        *,
        keys_max: int = _STEP_KEYS_MAX,
    ) -> None:
        """Set up.

        Args:
            directory: Knows where tenants live.
            connections: Lends connections to their databases.
            keys_max: What a step removes at most.
        """
        self._directory = directory
        self._connections = connections
        self._keys_max = keys_max
        self._due: dict[str, None] = {}

    def take_up(self, tenant_id: str) -> None:
        """Begin with a tenant in the next round. What a crash cuts short, another call begins."""
        self._due[tenant_id] = None

    async def forget(self) -> bool:
        """Take a step for every tenant there is. Never asks for the next round to come at once."""
        for tenant_id in list(self._due):
            if not await self._step(tenant_id):
                del self._due[tenant_id]
        return False

    async def _step(self, tenant_id: str) -> bool:
        """Remove some keys; say whether there may be more."""
        try:
            home = await self._directory.home(tenant_id)
            if home is None:
                return False
            with database_failures():
                async with asyncio.timeout(_STEP_S), self._connections.use(home) as connection:
                    forgotten = await ledger.forget_expired_keys(connection, self._keys_max)
        except Exception as error:  # noqa: BLE001 (one tenant's fault must not keep others waiting)
            _log.warning("could not forget keys", tenant_id=tenant_id, fault=repr(error))
            return False
        KEYS_FORGOTTEN.inc(forgotten)
        return forgotten == self._keys_max
