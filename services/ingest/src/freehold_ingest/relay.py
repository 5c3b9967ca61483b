"""Relay: announces what a dead ingest process committed and did not announce.

The ledger is its own outbox. The leases of a dead process name the few tenants to look at, and an
append whose answer was lost names one more. The relay reads each ledger's head and announces it,
which is harmless if nothing was missing.

Such an append may still wait in the database for another writer, and commit after the look. So each
ledger is looked at once more when no statement of that time can still be running.
"""

import time

import structlog

from freehold.ledger import client as ledger
from freehold.tenants.connections import TenantConnections
from freehold.tenants.directory import Directory
from freehold_ingest.announcement_leases import AnnouncementLeases
from freehold_ingest.announcer import Announcer, Growth
from freehold_ingest.metrics import RELAYED

_log = structlog.get_logger(__name__)
_LOOKS_MAX = 100


class Relay:
    """Finds tenants with growth that may be unannounced, and announces their ledgers' heads."""

    def __init__(
        self,
        leases: AnnouncementLeases,
        announcer: Announcer,
        directory: Directory,
        connections: TenantConnections,
        *,
        again_after_s: float,
    ) -> None:
        """Look at a ledger a second time after `again_after_s`: longer than any statement runs."""
        self._leases = leases
        self._announcer = announcer
        self._directory = directory
        self._connections = connections
        self._again_after_s = again_after_s
        self._to_look_at: dict[str, None] = {}
        self._again_at: dict[str, float] = {}
        self._taking_over = False

    @property
    def settled(self) -> bool:
        """Whether no tenant is left to look at."""
        return not self._to_look_at and not self._again_at and not self._taking_over

    def look_at(self, tenant_id: str) -> None:
        """Have a ledger looked at twice, now and later: an append was not answered."""
        self._to_look_at[tenant_id] = None
        self._again_at[tenant_id] = time.monotonic() + self._again_after_s

    async def renew(self) -> bool:
        """Renew this process's leases, and release those of idle tenants.

        Raises:
            Unavailable: The catalog does not answer.
        """
        await self._leases.renew()
        await self._leases.release_idle(self._is_busy)
        return False

    async def look_around(self) -> bool:
        """Take over from a dead process and look at ledgers; answers whether there was one.

        Raises:
            Unavailable: The catalog does not answer.
        """
        # Stays set if this is cut short: what was taken over is then unknown.
        self._taking_over = True
        taken_over = await self._leases.take_over()
        for tenant_id in taken_over:
            self.look_at(tenant_id)
        self._taking_over = False
        if taken_over:
            RELAYED.inc(len(taken_over))
            _log.info("took over from a dead ingest process", tenants=len(taken_over))
        now = time.monotonic()
        for tenant_id in [each for each, again_at in self._again_at.items() if again_at <= now]:
            del self._again_at[tenant_id]
            self._to_look_at[tenant_id] = None
        for tenant_id in list(self._to_look_at)[:_LOOKS_MAX]:
            # A tenant that cannot be looked at now comes last in the next round.
            del self._to_look_at[tenant_id]
            if not await self._look(tenant_id):
                self._to_look_at[tenant_id] = None
        return bool(taken_over)

    def _is_busy(self, tenant_id: str) -> bool:
        return (
            tenant_id in self._to_look_at
            or tenant_id in self._again_at
            or self._announcer.busy(tenant_id)
        )

    async def _look(self, tenant_id: str) -> bool:
        """Announce a ledger's head; say whether that is settled."""
        try:
            home = await self._directory.home(tenant_id)
            if home is None:
                return True
            async with self._connections.use(home) as connection:
                head = await ledger.head(connection)
        except Exception as error:  # noqa: BLE001 (one tenant's fault must not delay the others)
            _log.warning("could not look at a ledger", tenant_id=tenant_id, fault=repr(error))
            return False
        if head.seq:
            growth = Growth(home.epoch, head.seq, head.seq, head.event_id, head.hash)
            self._announcer.announce(tenant_id, growth)
        return True
