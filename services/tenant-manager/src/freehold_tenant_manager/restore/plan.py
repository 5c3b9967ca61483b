"""Plans a restore by what the catalog knows.

A restore is planned when it is asked for, to refuse at once what cannot be restored, and again when
it runs: by then there may be a newer backup and more segments.
"""

from datetime import UTC, datetime

from freehold.contracts.errors import NotFound
from freehold.contracts.times import rfc_3339
from freehold.http.bodies import field_errors
from freehold.ledger.client import Connection
from freehold_tenant_manager.archive.epochs import list_bases, list_epochs
from freehold_tenant_manager.archive.history import (
    EpochRow,
    Plan,
    plan_for_event,
    plan_for_instant,
    shared_seq,
)
from freehold_tenant_manager.archive.segments import BEGINNING, Position
from freehold_tenant_manager.backups.store import find_backup
from freehold_tenant_manager.contracts.restores import NewRestore
from freehold_tenant_manager.exports.final_exports import find_final_export
from freehold_tenant_manager.tenants.store import TenantRow, require_tenant


async def find_restorable(connection: Connection, tenant_id: str) -> TenantRow:
    """Give a tenant whose ledger can be restored, also while they are being deleted.

    Raises:
        NotFound: Also if the ledger is removed or about to be.
    """
    tenant = await require_tenant(connection, tenant_id)
    if tenant.status in ("provisioning", "deleted") or (
        tenant.status == "deleting" and await find_final_export(connection, tenant_id) is not None
    ):
        raise NotFound("there is no such tenant")
    return tenant


async def find_plan(
    connection: Connection, tenant: TenantRow, wanted: NewRestore, now: datetime
) -> tuple[Plan, datetime]:
    """Plan a restore, and give the instant that it stands for.

    Args:
        connection: To the catalog.
        tenant: The tenant.
        wanted: The restore; `to_seq` is of the tenant's current history.
        now: The current time.

    Raises:
        NotFound: The tenant has no such backup or had no ledger then;
            validation-failed, if the backup is damaged.
    """
    bases = await list_bases(connection, tenant.tenant_id)
    if wanted.backup_id is not None:
        for base in bases:
            if base.backup_id == wanted.backup_id:
                return Plan(base.epoch, base, ()), base.created_at
        if await find_backup(connection, tenant.tenant_id, wanted.backup_id) is None:
            raise NotFound("the tenant has no such backup")
        raise field_errors(
            [("/backup_id", "backup_id names a damaged backup: restore from another one")]
        )
    # There may be backups although nothing was archived yet.
    first = EpochRow(tenant.epoch, tenant.created_at, None, None, 0, 0, BEGINNING, None, None)
    epochs = await list_epochs(connection, tenant.tenant_id) or [first]
    if wanted.to_seq is not None:
        return plan_for_event(epochs, bases, wanted.to_seq), now
    # A clock that was ahead once may have recorded events in what is still the future.
    instant = wanted.to or now
    plan = plan_for_instant(epochs, bases, instant)
    if plan is None:
        raise NotFound("the tenant had no ledger at that time")
    return plan, min(instant, now)


async def plan_asked(
    connection: Connection, tenant_id: str, wanted: NewRestore, now: datetime
) -> tuple[TenantRow, Plan]:
    """Plan what is asked for, before it is done; give the tenant, too.

    Raises:
        NotFound: As `find_restorable` and `find_plan`.
        ValidationFailed: The instant was not lived through, or the backup is damaged.
    """
    tenant = await find_restorable(connection, tenant_id)
    if wanted.to is not None:
        epochs = await list_epochs(connection, tenant_id)
        last = epochs[-1].archived if epochs else BEGINNING
        _require_lived_through(wanted.to, tenant.created_at, now, last)
    plan, _ = await find_plan(connection, tenant, wanted, now)
    return tenant, plan


async def find_left_out(
    connection: Connection, tenant_id: str, plan: Plan, end_seq: int
) -> dict[str, int | None]:
    """Say which archived events of the live ledger a restored one that ends at `end_seq` lacks."""
    epochs = await list_epochs(connection, tenant_id)
    last = epochs[-1].archived.seq if epochs else 0
    shared = shared_seq(epochs, plan, end_seq) if epochs else 0
    if last <= shared:
        return {"count": 0, "first_seq": None, "last_seq": None}
    return {"count": last - shared, "first_seq": shared + 1, "last_seq": last}


def _require_lived_through(
    instant: datetime, created_at: datetime, now: datetime, last: Position
) -> None:
    """Let an instant be one that has been, or one that events were recorded at by a clock ahead.

    Raises:
        ValidationFailed: It is neither.
    """
    recorded = _recorded_by(last)
    if instant > max(now, recorded):
        fault = "to must not lie ahead"
        if recorded > now:
            fault += f", and event {last.seq}, the last, was recorded before {recorded.isoformat()}"
    elif instant < created_at:
        fault = f"to must not lie before {rfc_3339(created_at)}: the tenant had no ledger then"
    else:
        return
    raise field_errors([("/to", fault)])


def _recorded_by(position: Position) -> datetime:
    """Say by when an event was recorded: its id holds the millisecond (RFC 9562, section 5.7)."""
    return datetime.fromtimestamp(((position.event_id.int >> 80) + 1) / 1000, UTC)
