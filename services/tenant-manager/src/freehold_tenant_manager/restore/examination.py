"""Examines a restored ledger: whether it proves itself, and is what was noted of it outside.

Its state is brought up to it first.
"""

from freehold.ledger import client as ledger
from freehold.ledger.client import Connection
from freehold.tenancy.catalog import Catalog
from freehold_tenant_manager.archive.segments import SegmentError
from freehold_tenant_manager.catalog.epochs import list_bases, list_epochs
from freehold_tenant_manager.restore.history import Plan

_PROJECT_EVENTS = 200_000
_ANCHORS_FAULT = "the restored ledger does not have the hash that was noted at event {seq}"


async def examine(
    connection: Connection, anchors: list[tuple[int, bytes]], new_epoch: int, *, timeout_s: float
) -> int:
    """Bring the state up to the ledger and check both; answer how many balances were mended.

    Args:
        connection: To the restored database, as its owner.
        anchors: Events, each with the hash that it had.
        new_epoch: What the tenant's epoch will be.
        timeout_s: Bounds each statement.

    Raises:
        SegmentError: The ledger does not prove itself, or is not what was noted outside it.
    """
    await connection.execute("ANALYZE", timeout=timeout_s)
    await connection.execute("SELECT begin_epoch($1)", new_epoch)
    await connection.execute("SELECT make_partitions()", timeout=timeout_s)
    while True:
        projection = await connection.fetchrow(
            "SELECT * FROM project($1)", _PROJECT_EVENTS, timeout=timeout_s
        )
        if projection is None or projection["last_seq"] >= projection["head_seq"]:
            break
    differing = await connection.fetch("SELECT * FROM reconcile()", timeout=timeout_s)
    if differing:
        await connection.execute("SELECT rebuild()", timeout=timeout_s)
    proof = await connection.fetchrow("SELECT * FROM verify()", timeout=timeout_s)
    if proof is None or not proof["ok"]:
        reason = "" if proof is None else proof["reason"]
        raise SegmentError(f"the restored ledger does not prove itself: {reason}")
    for seq, known in anchors:
        if await ledger.hash_at(connection, seq) != known:
            raise SegmentError(_ANCHORS_FAULT.format(seq=seq))
    return len(differing)


async def find_anchors(
    catalog: Catalog, tenant_id: str, plan: Plan, head_seq: int
) -> list[tuple[int, bytes]]:
    """Give the hashes that are known outside of the histories which a restore is made of."""
    async with catalog.connection() as connection:
        epochs = await list_epochs(connection, tenant_id)
        backups = await list_bases(connection, tenant_id)
        row = await connection.fetchrow(
            "SELECT epoch, anchor_seq, anchor_hash FROM reconciliations WHERE tenant_id = $1",
            tenant_id,
        )
    through = {leg.epoch: leg.through for leg in plan.legs} or {plan.epoch: None}
    noted = [(epoch.epoch, epoch.archived.seq, epoch.archived.hash) for epoch in epochs]
    noted += [(backup.epoch, backup.head_seq, backup.head_hash) for backup in backups]
    if row is not None and row["anchor_hash"] is not None:
        noted.append((row["epoch"], row["anchor_seq"], row["anchor_hash"]))
    return [
        (seq, known)
        for epoch, seq, known in noted
        if epoch in through and 0 < seq <= head_seq and seq <= (through[epoch] or (head_seq, 0))[0]
    ]
