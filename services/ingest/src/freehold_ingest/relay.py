"""The relay: announces what a dead ingest process committed and did not announce.

The ledger is its own outbox. A dead process's marks name the few tenants worth a look, and so does
an append whose answer was lost; each ledger's head is read and announced, which is harmless where
nothing was missing.

Such an append may still wait in the database for another writer, and commit after the look. So each
ledger is looked at once more when no statement of then can be running any longer.
"""

import time

import structlog

from freehold.ledger import client as ledger
from freehold.tenancy.connections import TenantConnections
from freehold.tenancy.directory import Directory
from freehold.tenancy.failures import database_failures
from freehold_ingest.announcer import Announcer, Growth
from freehold_ingest.marks import Marks
from freehold_ingest.metrics import RELAYED

_log = structlog.get_logger(__name__)
_LOOKS_MAX = 100


class Relay:
    """Finds tenants with growth that may be unannounced, and announces their ledgers' heads."""

    def __init__(
        self,
        marks: Marks,
        announcer: Announcer,
        directory: Directory,
        connections: TenantConnections,
        *,
        again_after_s: float,
    ) -> None:
        self._marks = marks
        self._announcer = announcer
        self._directory = directory
        self._connections = connections
        self._again_after_s = again_after_s
        self._to_look_at: dict[str, None] = {}
        self._again_at: dict[str, float] = {}
        self._adopting = False

    @property
    def settled(self) -> bool:
        """Whether no tenant is left to look at."""
        return not self._to_look_at and not self._again_at and not self._adopting

    def look_at(self, tenant_id: str) -> None:
        """Have a ledger looked at, now and once more: an append was not answered for."""
        self._to_look_at[tenant_id] = None
        self._again_at[tenant_id] = time.monotonic() + self._again_after_s

    async def beat(self) -> bool:
        """Say that this process lives, and let go of idle tenants' marks.

        Raises:
            Problem: unavailable, where the catalog does not answer.
        """
        await self._marks.beat()
        await self._marks.remove_idle(self._busy)
        return False

    async def look_around(self) -> bool:
        """Take over from a dead process and look at ledgers; answers whether there was one.

        Raises:
            Problem: unavailable, where the catalog does not answer.
        """
        # Stays set where this is cut short: then who knows what was taken over.
        self._adopting = True
        adopted = await self._marks.adopt()
        for tenant_id in adopted:
            self.look_at(tenant_id)
        self._adopting = False
        if adopted:
            RELAYED.inc(len(adopted))
            _log.info("took over from a dead ingest process", tenants=len(adopted))
        now = time.monotonic()
        for tenant_id in [each for each, again_at in self._again_at.items() if again_at <= now]:
            del self._again_at[tenant_id]
            self._to_look_at[tenant_id] = None
        for tenant_id in list(self._to_look_at)[:_LOOKS_MAX]:
            # Whoever cannot be looked at now stands last in the next round.
            del self._to_look_at[tenant_id]
            if not await self._look(tenant_id):
                self._to_look_at[tenant_id] = None
        return bool(adopted)

    def _busy(self, tenant_id: str) -> bool:
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
            with database_failures():
                async with self._connections.use(home) as connection:
                    head = await ledger.head(connection)
        except Exception as error:  # noqa: BLE001 (one tenant's fault must not keep others waiting)
            _log.warning("could not look at a ledger", tenant_id=tenant_id, fault=repr(error))
            return False
        if head.seq:
            growth = Growth(home.epoch, head.seq, head.seq, head.event_id, head.hash)
            self._announcer.announce(tenant_id, growth)
        return True
