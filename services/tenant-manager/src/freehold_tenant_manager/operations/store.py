"""Operations in the catalog: requests, their workers' leases, and their progress.

Only the worker that holds the lease changes an operation. A worker that has lost it learns so when
it saves its progress.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import asyncpg
import orjson

from freehold.database.queries import load_queries
from freehold.ledger.client import Connection, Record
from freehold_tenant_manager.contracts.operations import Operation

_QUERIES = load_queries("freehold_tenant_manager.operations", "queries.sql")


@dataclass(frozen=True, slots=True)
class OperationRow:
    """An operation's row."""

    operation_id: UUID
    kind: str
    tenant_id: str | None
    parameters: dict[str, Any]
    status: Literal["queued", "running", "succeeded", "failed"]
    progress: float
    message: str
    state: dict[str, Any]
    result: dict[str, Any] | None
    created_at: datetime
    finished_at: datetime | None

    def shown(self) -> Operation:
        """Give the operation as the API shows it."""
        return Operation.model_validate(self, from_attributes=True)


async def ask_for_operation(
    connection: Connection,
    kind: str,
    tenant_id: str | None,
    parameters: Mapping[str, Any],
    asked_by: Mapping[str, Any] | None = None,
) -> OperationRow:
    """Request an operation; return the existing one if the same is queued or running.

    Args:
        connection: To the catalog.
        kind: What is to be done.
        tenant_id: Whose it is.
        parameters: How it is to be done.
        asked_by: What the audit log is to say of who asked, when the operation ends.
    """
    as_text = orjson.dumps(parameters).decode()
    asked_as_text = None if asked_by is None else orjson.dumps(asked_by).decode()
    while True:
        asked: UUID | None = await connection.fetchval(
            _QUERIES["ask"], uuid.uuid4(), kind, tenant_id, as_text, asked_as_text
        ) or await connection.fetchval(_QUERIES["find_asked"], tenant_id, kind, as_text)
        row = None if asked is None else await find_operation(connection, asked)
        # None if the existing operation has just ended.
        if row is not None:
            return row


async def claim_operation(
    connection: Connection, worker: UUID, kinds: list[str], lease_s: float
) -> OperationRow | None:
    """Claim the oldest operation that has no worker and that may run now.

    Args:
        connection: To the catalog.
        worker: Who claims it.
        kinds: The kinds that the worker has handlers for.
        lease_s: Seconds until the lease ends, unless it is renewed.
    """
    try:
        claimed: UUID | None = await connection.fetchval(_QUERIES["claim"], worker, kinds, lease_s)
    except asyncpg.UniqueViolationError:
        # Another worker has just claimed an operation of the same tenant.
        return None
    return None if claimed is None else await find_operation(connection, claimed)


async def renew_operation(
    connection: Connection, worker: UUID, operation_id: UUID, lease_s: float
) -> bool:
    """Renew a worker's lease of an operation; return whether the worker still had it."""
    return _changed(await connection.execute(_QUERIES["renew"], operation_id, worker, lease_s))


async def save_progress(
    connection: Connection,
    worker: UUID,
    operation_id: UUID,
    progress: float,
    message: str,
    state: Mapping[str, Any],
) -> bool:
    """Save an operation's progress; return whether the worker still has its lease."""
    return _changed(
        await connection.execute(
            _QUERIES["save_progress"],
            operation_id,
            worker,
            progress,
            message,
            orjson.dumps(state).decode(),
        )
    )


async def hold_operation(connection: Connection, worker: UUID, operation_id: UUID) -> bool:
    """Lock an operation until the transaction ends; return whether the worker has its lease."""
    row = await connection.fetchrow(_QUERIES["hold"], operation_id, worker)
    return row is not None


async def end_operation(
    connection: Connection,
    worker: UUID,
    operation_id: UUID,
    *,
    message: str,
    result: Mapping[str, Any] | None,
) -> None:
    """Save how an operation ended: with a result, or without one if it failed."""
    await connection.execute(
        _QUERIES["finish"],
        operation_id,
        worker,
        message,
        None if result is None else orjson.dumps(result).decode(),
    )


async def give_operations_back(connection: Connection, worker: UUID) -> None:
    """Release a worker's unfinished operations to others."""
    await connection.execute(_QUERIES["give_back"], worker)


async def forget_operations(connection: Connection, older_than_s: float) -> None:
    """Delete operations that ended longer ago; age in seconds."""
    await connection.execute(_QUERIES["forget"], older_than_s)


async def find_operation(connection: Connection, operation_id: UUID) -> OperationRow | None:
    """Give an operation, or None if none has this id."""
    row = await connection.fetchrow(_QUERIES["find"], operation_id)
    return None if row is None else _read(row)


async def list_last_of(connection: Connection, kind: str) -> list[OperationRow]:
    """List each tenant's last operation of a kind, in order of the tenants' ids."""
    rows = await connection.fetch(_QUERIES["list_last_of"], kind)
    return [_read(row) for row in rows]


async def find_last_operation(connection: Connection, kind: str) -> OperationRow | None:
    """Give the newest operation of a kind; None if there is none."""
    row = await connection.fetchrow(_QUERIES["find_last"], kind)
    return None if row is None else _read(row)


async def list_operations(
    connection: Connection,
    *,
    tenant_id: str | None,
    status: str | None,
    after: UUID | None,
    rows_max: int,
) -> list[OperationRow]:
    """List operations, the newest first, after the one of a given id."""
    rows = await connection.fetch(_QUERIES["list"], tenant_id, status, after, rows_max)
    return [_read(row) for row in rows]


def _read(row: Record) -> OperationRow:
    values = dict(row)
    for name in ("parameters", "state", "result"):
        values[name] = None if values[name] is None else orjson.loads(values[name])
    return OperationRow(**values)


def _changed(command: str) -> bool:
    return command != "UPDATE 0"
