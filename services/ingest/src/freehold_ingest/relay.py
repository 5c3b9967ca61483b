"""The relay: announces what a dead ingest process committed and did not announce.

The ledger is its own outbox. A dead process's marks name the few tenants worth a look; each
ledger's head is read and announced, which is harmless where nothing was missing.
"""

import structlog

from freehold.contracts.problems import Problem
from freehold.ledger import client as ledger
from freehold.tenancy.connections import TenantConnections
from freehold.tenancy.directory import Directory
from freehold.tenancy.failures import database_failures
from freehold_ingest.announcer import Announcer, Growth
from freehold_ingest.marks import Marks
from freehold_ingest.metrics import RELAYED

_log = structlog.get_logger(__name__)
_LOOKS_PER_BEAT_MAX = 100


class Relay:
    """Beats, adopts, announces; a bounded amount of work a beat."""

    def __init__(
        self,
        marks: Marks,
        announcer: Announcer,
        directory: Directory,
        connections: TenantConnections,
    ) -> None:
        self._marks = marks
        self._announcer = announcer
        self._directory = directory
        self._connections = connections
        self._to_look_at: dict[str, None] = {}

    async def beat(self) -> bool:
        """Do one round; answers whether more is waiting for the next.

        Raises:
            Problem: unavailable, where the catalog does not answer.
        """
        await self._marks.beat()
        adopted = await self._marks.adopt()
        if adopted:
            _log.info("took over from a dead ingest process", tenants=len(adopted))
            self._to_look_at.update(dict.fromkeys(adopted))
        for tenant_id in list(self._to_look_at)[:_LOOKS_PER_BEAT_MAX]:
            if await self._look(tenant_id):
                del self._to_look_at[tenant_id]
        await self._marks.remove_idle(self._busy)
        return False

    def _busy(self, tenant_id: str) -> bool:
        return tenant_id in self._to_look_at or self._announcer.busy(tenant_id)

    async def _look(self, tenant_id: str) -> bool:
        """Announce a ledger's head; say whether that is settled."""
        home = await self._directory.home(tenant_id)
        if home is None:
            return True
        try:
            with database_failures():
                async with self._connections.use(home) as connection:
                    head = await ledger.head(connection)
        except Problem:
            _log.warning("relay could not read a ledger; it will try again", tenant_id=tenant_id)
            return False
        if head.seq:
            RELAYED.inc()
            growth = Growth(home.epoch, head.seq, head.seq, head.event_id, head.hash)
            self._announcer.announce(tenant_id, growth)
        return True
