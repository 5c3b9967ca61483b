"""Says what a restore would do, before it is asked for: by its plan and by the live ledger.

Nothing is made or changed. What a restore of the kind `preview` leaves is a database to look into.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from freehold.contracts.errors import NotFound
from freehold.ledger import client
from freehold.ledger.client import Connection
from freehold.tenants.catalog import Catalog
from freehold_tenant_manager.archive.epochs import list_epochs
from freehold_tenant_manager.archive.history import Plan, shared_seq
from freehold_tenant_manager.contracts.restores import NewRestore
from freehold_tenant_manager.overview.ledgers import Ledgers
from freehold_tenant_manager.restore.plan import plan_asked
from freehold_tenant_manager.tenants.store import TenantRow


@dataclass(frozen=True, slots=True)
class Kept:
    """How much of the live ledger a restore keeps."""

    live_seq: int
    """The ledger's last event now."""
    seq: int
    """The last event that stays."""
    recorded_at: datetime | None
    """When it was recorded, to the millisecond; None where no event stays."""
    is_all: bool
    """Whether the restored ledger ends there. If not, an earlier history's events follow."""

    @property
    def undone(self) -> int:
        """How many events would be undone."""
        return self.live_seq - self.seq


@dataclass(frozen=True, slots=True)
class Preview:
    """What a restore would do."""

    tenant: TenantRow
    plan: Plan
    kept: Kept | None
    """None where the live database does not answer."""


class Previews:
    """Makes previews."""

    def __init__(self, catalog: Catalog, ledgers: Ledgers) -> None:
        self._catalog = catalog
        self._ledgers = ledgers

    async def preview(self, tenant_id: str, wanted: NewRestore) -> Preview:
        """Say what a restore would do now.

        Raises:
            NotFound, ValidationFailed: As `plan_asked`; the ledger has no such event.
            ClocksDisagree: The time is uncertain.
            Unavailable: The catalog does not answer.
        """
        now = self._catalog.agreed_now()
        async with self._catalog.connection() as connection:
            tenant, plan = await plan_asked(connection, tenant_id, wanted, now)
            epochs = await list_epochs(connection, tenant_id)
            home = await self._ledgers.home(connection, tenant_id)

        async def kept(connection: Connection) -> Kept:
            live_seq = (await client.head(connection)).seq
            end_seq = await _end_seq(connection, wanted, plan)
            shared = shared_seq(epochs, plan, live_seq) if epochs else live_seq
            seq = min(shared, end_seq)
            # An instant of an earlier history may have had more events than the two share.
            is_known = plan.epoch == tenant.epoch or wanted.backup_id is not None
            is_all = seq == end_seq if is_known else end_seq < shared
            return Kept(live_seq, seq, await _recorded_at(connection, seq), is_all)

        found = await self._ledgers.ask(home, kept) if home else None
        if found is not None and (wanted.to_seq or 0) > found.live_seq:
            raise NotFound(f"{found.live_seq} is the ledger's last event")
        return Preview(tenant, plan, found)


async def _end_seq(connection: Connection, wanted: NewRestore, plan: Plan) -> int:
    """Give the event that the restored ledger ends with, if it is of the live history."""
    if wanted.to_seq is not None:
        return wanted.to_seq
    if wanted.backup_id is not None and plan.base is not None:
        return plan.base.head_seq
    seq: int = await connection.fetchval("SELECT seq_known_at($1)", wanted.to)
    return seq


async def _recorded_at(connection: Connection, seq: int) -> datetime | None:
    """Give an event's time by its id, which holds the millisecond (RFC 9562, section 5.7)."""
    event_id = await connection.fetchval("SELECT event_id FROM event_at($1)", seq)
    return None if event_id is None else datetime.fromtimestamp((event_id.int >> 80) / 1000, UTC)
