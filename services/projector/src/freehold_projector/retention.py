"""Retention: expired idempotency keys are removed in small steps in the background.

External ids are never removed.
"""

import asyncio

import structlog

from freehold.ledger import client as ledger
from freehold.ledger.clocks import Clock
from freehold.tenants.connections import TenantConnections
from freehold.tenants.directory import Directory
from freehold_projector.metrics import KEYS_FORGOTTEN

_log = structlog.get_logger(__name__)
_STEP_S = 10.0
_STEP_KEYS_MAX = 2_000
PAUSE_S = 0.1
"""Between rounds. Steps are small, and still remove keys faster than they are added."""


class Retention:
    """Removes expired keys of several tenants: one step each per round, until none is left."""

    def __init__(
        self,
        directory: Directory,
        connections: TenantConnections,
        *,
        keys_max: int = _STEP_KEYS_MAX,
        clock: Clock | None = None,
    ) -> None:
        """Set up.

        Args:
            directory: Knows where tenants live.
            connections: Lends connections to their databases.
            keys_max: What a step removes at most.
            clock: This process's. Keys must not end early because a database's clock leaps.
        """
        self._directory = directory
        self._connections = connections
        self._keys_max = keys_max
        self._clock = clock
        self._due: dict[str, None] = {}

    def take_up(self, tenant_id: str) -> None:
        """Begin with a tenant in the next round. After a crash the next call begins again."""
        self._due[tenant_id] = None

    async def forget(self) -> bool:
        """Take a step for each tenant. Answers that the next round need not come at once."""
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
            async with self._connections.use(home) as connection, asyncio.timeout(_STEP_S):
                forgotten = await ledger.forget_expired_keys(
                    connection, self._keys_max, self._clock
                )
        except Exception as error:  # noqa: BLE001 (one tenant's fault must not delay the others)
            _log.warning("could not forget keys", tenant_id=tenant_id, fault=repr(error))
            return False
        KEYS_FORGOTTEN.inc(forgotten)
        return forgotten == self._keys_max
