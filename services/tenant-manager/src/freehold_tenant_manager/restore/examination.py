"""Examines a restored ledger: it must prove itself, and match what is known outside of it."""

from freehold.database.queries import load_queries
from freehold.ledger import client as ledger
from freehold.ledger.client import Connection
from freehold.ledger.findings import differences
from freehold.tenants.catalog import Catalog
from freehold_tenant_manager.archive.epochs import list_bases, list_epochs
from freehold_tenant_manager.archive.history import Plan
from freehold_tenant_manager.archive.segments import SegmentError
from freehold_tenant_manager.tenants.store import find_reconciliation

_QUERIES = load_queries("freehold_tenant_manager.restore", "queries.sql")
_PROJECT_EVENTS = 200_000


async def examine(connection: Connection, anchors: list[tuple[int, bytes]], new_epoch: int) -> int:
    """Project the ledger's events and check ledger and state; give how much of it was mended.

    Args:
        connection: To the restored database, as its owner.
        anchors: The seq of events whose hash is known, with that hash.
        new_epoch: The tenant's next epoch.

    Raises:
        SegmentError: The ledger does not prove itself, or lacks an anchor's hash.
    """
    analyze: str = await connection.fetchval(_QUERIES["analyze_command"])
    await connection.execute(analyze)
    await connection.execute("SELECT begin_epoch($1)", new_epoch)
    await connection.execute("SELECT make_partitions()")
    while (projection := await ledger.project(connection, _PROJECT_EVENTS)).last_seq < (
        projection.head_seq
    ):
        pass
    findings = await differences(connection)
    if findings:
        await ledger.rebuild(connection)
    proof = await ledger.verify(connection)
    if not proof.ok:
        raise SegmentError(f"the restored ledger does not prove itself: {proof.reason}")
    for seq, known in anchors:
        if await ledger.hash_at(connection, seq) != known:
            raise SegmentError(f"the restored ledger has another hash at event {seq} than is known")
    return len(findings)


async def find_anchors(
    catalog: Catalog, tenant_id: str, plan: Plan, head_seq: int
) -> list[tuple[int, bytes]]:
    """List the hashes that the catalog knows of the histories that a plan is made of."""
    async with catalog.connection() as connection:
        epochs = await list_epochs(connection, tenant_id)
        backups = await list_bases(connection, tenant_id)
        last = await find_reconciliation(connection, tenant_id)
    through = {leg.epoch: leg.through for leg in plan.legs} or {plan.epoch: None}
    known = [(epoch.epoch, epoch.archived.seq, epoch.archived.hash) for epoch in epochs]
    known += [(backup.epoch, backup.head_seq, backup.head_hash) for backup in backups]
    if last is not None and last["anchor_hash"] is not None:
        known.append((last["epoch"], last["anchor_seq"], last["anchor_hash"]))
    return [
        (seq, hash_there)
        for epoch, seq, hash_there in known
        if epoch in through and 0 < seq <= head_seq and seq <= (through[epoch] or (head_seq, 0))[0]
    ]
