"""The audit log in the catalog: append-only, and chained by hashes."""

from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import Any

import orjson

from freehold.database.queries import load_queries
from freehold.ledger.client import Connection, Record
from freehold.tenants.catalog import Catalog
from freehold_tenant_manager.contracts.operator_acts import OperatorAct, OperatorActsVerification

_QUERIES = load_queries("freehold_tenant_manager.operators", "queries.sql")
_EXPORTED_AT_ONCE = 1_000


async def append_act(connection: Connection, stated: Mapping[str, Any]) -> None:
    """Append an entry: the columns that are stated, by their names."""
    await connection.execute(_QUERIES["append_act"], orjson.dumps(stated).decode())


async def list_acts(
    connection: Connection,
    *,
    operator: str | None,
    tenant_id: str | None,
    act: str | None,
    recorded_from: datetime | None,
    recorded_before: datetime | None,
    before_seq: int | None,
    rows_max: int,
) -> list[OperatorAct]:
    """List entries, the newest first; filters that are None let all pass."""
    rows = await connection.fetch(
        _QUERIES["list_acts"],
        operator,
        tenant_id,
        act,
        recorded_from,
        recorded_before,
        before_seq,
        rows_max,
    )
    return [_read(row) for row in rows]


async def exported_acts(catalog: Catalog) -> AsyncIterator[bytes]:
    """Give the whole log, the oldest entry first, as lines of JSON; in flat memory.

    A connection is held for a thousand entries at a time, however slowly they are read.

    Raises:
        Unavailable, Overloaded: The catalog does not answer.
    """
    last_seq = 0
    while True:
        rows = await catalog.fetch(_QUERIES["export_acts"], last_seq, _EXPORTED_AT_ONCE)
        if not rows:
            return
        yield b"".join(row["line"].encode() + b"\n" for row in rows)
        last_seq = rows[-1]["seq"]


async def verify_acts(
    connection: Connection, shipped: tuple[int, bytes] | None
) -> OperatorActsVerification:
    """Recompute the chain, and compare it with a head that is kept outside of the catalog.

    Args:
        connection: To the catalog.
        shipped: The seq and the hash of that head, if there is one.
    """
    (row,) = await connection.fetch(_QUERIES["verify_acts"])
    found = {**row, "head_hash": row["head_hash"].hex()}
    if found["reason"] is None and shipped is not None and not await has_act(connection, *shipped):
        found["first_bad_seq"] = min(shipped[0], found["head_seq"] + 1)
        found["reason"] = f"the log no longer has entry {shipped[0]} as it was shipped"
    return OperatorActsVerification(
        ok=found["reason"] is None, shipped_seq=None if shipped is None else shipped[0], **found
    )


async def has_act(connection: Connection, seq: int, entry_hash: bytes) -> bool:
    """Say whether the log has an entry with this hash; before the first, there is none to have."""
    return seq == 0 or await connection.fetchval(_QUERIES["has_act"], seq, entry_hash)


def _read(row: Record) -> OperatorAct:
    values = dict(row)
    for name in ("details", "outcome"):
        values[name] = None if values[name] is None else orjson.loads(values[name])
    for name in ("previous_hash", "hash"):
        values[name] = values[name].hex()
    return OperatorAct(**values)
