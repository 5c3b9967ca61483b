"""Operations in the catalog: what was asked for, who works on it, and how far it is.

Only the worker that an operation is claimed by changes it; one that was taken over finds that out
at its next note.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import asyncpg
import orjson

from freehold.contracts.operations import Operation
from freehold.ledger.client import Connection, Record

_COLUMNS = (
    "operation_id, kind, tenant_id, parameters, status, progress, message, state, result,"
    " created_at, finished_at"
)


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
        """Give what an operator sees of it."""
        return Operation(
            operation_id=self.operation_id,
            kind=self.kind,
            tenant_id=self.tenant_id,
            status=self.status,
            progress=self.progress,
            message=self.message,
            result=self.result,
            created_at=self.created_at,
            finished_at=self.finished_at,
        )


async def ask_for_operation(
    connection: Connection, kind: str, tenant_id: str | None, parameters: Mapping[str, Any]
) -> OperationRow:
    """Write down that something is to be done; where it is asked for already, give that."""
    as_text = orjson.dumps(parameters).decode()
    while True:
        row = await connection.fetchrow(
            "INSERT INTO operations (operation_id, kind, tenant_id, parameters)"  # noqa: S608
            " VALUES ($1, $2, $3, $4::jsonb)"
            " ON CONFLICT (coalesce(tenant_id, ''), kind, md5(parameters::text))"
            " WHERE status IN ('queued', 'running') DO NOTHING"
            f" RETURNING {_COLUMNS}",
            uuid.uuid4(),
            kind,
            tenant_id,
            as_text,
        ) or await connection.fetchrow(
            f"SELECT {_COLUMNS} FROM operations"  # noqa: S608 (our own column names)
            " WHERE coalesce(tenant_id, '') = coalesce($1, '') AND kind = $2"
            " AND md5(parameters::text) = md5($3::jsonb::text) AND status IN ('queued', 'running')",
            tenant_id,
            kind,
            as_text,
        )
        # None where the other one has just ended: then this one is a new one.
        if row is not None:
            return _read(row)


async def claim_operation(
    connection: Connection, worker: UUID, kinds: list[str], silent_s: float
) -> OperationRow | None:
    """Take over the oldest operation that nobody works on and that may run now.

    Args:
        connection: To the catalog.
        worker: Who takes it over.
        kinds: What the worker knows how to do.
        silent_s: A worker unheard of for so long is taken for dead.
    """
    try:
        row = await connection.fetchrow(
            "UPDATE operations SET status = 'running', worker = $1, seen_at = now()"  # noqa: S608
            " WHERE operation_id = ("
            "  SELECT o.operation_id FROM operations AS o"
            "  WHERE o.kind = ANY ($2::text[]) AND ("
            "   o.status = 'running' AND o.seen_at < now() - make_interval(secs => $3)"
            "   OR o.status = 'queued' AND NOT EXISTS ("
            "    SELECT FROM operations AS r WHERE r.status = 'running'"
            "    AND coalesce(r.tenant_id, '/' || r.kind) = coalesce(o.tenant_id, '/' || o.kind)"
            "   )"
            "  ) ORDER BY o.created_at, o.operation_id LIMIT 1 FOR UPDATE SKIP LOCKED"
            f" ) RETURNING {_COLUMNS}",
            worker,
            kinds,
            silent_s,
        )
    except asyncpg.UniqueViolationError:
        # Another worker has just begun with something of the same tenant.
        return None
    return None if row is None else _read(row)


async def note_seen(connection: Connection, worker: UUID, operation_id: UUID) -> bool:
    """Say that a worker is at work; answer whether the operation is still theirs."""
    return _changed(
        await connection.execute(
            "UPDATE operations SET seen_at = now()"
            " WHERE operation_id = $1 AND worker = $2 AND status = 'running'",
            operation_id,
            worker,
        )
    )


async def note_progress(
    connection: Connection,
    worker: UUID,
    operation_id: UUID,
    progress: float,
    message: str,
    state: Mapping[str, Any],
) -> bool:
    """Note how far an operation is; answer whether it is still the worker's."""
    return _changed(
        await connection.execute(
            "UPDATE operations"
            " SET progress = $3, message = $4, state = $5::jsonb, seen_at = now()"
            " WHERE operation_id = $1 AND worker = $2 AND status = 'running'",
            operation_id,
            worker,
            progress,
            message,
            orjson.dumps(state).decode(),
        )
    )


async def hold_operation(connection: Connection, worker: UUID, operation_id: UUID) -> bool:
    """Have nobody take an operation over until the transaction ends; say whether it is theirs."""
    row = await connection.fetchrow(
        "SELECT FROM operations WHERE operation_id = $1 AND worker = $2 AND status = 'running'"
        " FOR UPDATE",
        operation_id,
        worker,
    )
    return row is not None


async def end_operation(
    connection: Connection,
    worker: UUID,
    operation_id: UUID,
    *,
    message: str,
    result: Mapping[str, Any] | None,
) -> None:
    """Note how an operation ended: with a result, or without one where it failed."""
    await connection.execute(
        "UPDATE operations SET status = CASE WHEN $4::jsonb IS NULL THEN 'failed'"
        " ELSE 'succeeded' END, progress = CASE WHEN $4::jsonb IS NULL THEN progress ELSE 1 END,"
        " message = $3, result = $4::jsonb, worker = NULL, finished_at = now()"
        " WHERE operation_id = $1 AND worker = $2 AND status = 'running'",
        operation_id,
        worker,
        message,
        None if result is None else orjson.dumps(result).decode(),
    )


async def give_operations_back(connection: Connection, worker: UUID) -> None:
    """Let others go on at once with what a worker leaves undone."""
    await connection.execute(
        "UPDATE operations SET status = 'queued', worker = NULL"
        " WHERE worker = $1 AND status = 'running'",
        worker,
    )


async def forget_operations(connection: Connection, older_than_s: float) -> None:
    """Forget what ended this long ago."""
    await connection.execute(
        "DELETE FROM operations WHERE finished_at < now() - make_interval(secs => $1)",
        older_than_s,
    )


async def find_operation(connection: Connection, operation_id: UUID) -> OperationRow | None:
    """Give an operation, or None where there is none of this id."""
    row = await connection.fetchrow(
        f"SELECT {_COLUMNS} FROM operations WHERE operation_id = $1",  # noqa: S608
        operation_id,
    )
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
    rows = await connection.fetch(
        f"SELECT {_COLUMNS} FROM operations"  # noqa: S608 (our own column names)
        " WHERE ($1::text IS NULL OR tenant_id = $1) AND ($2::text IS NULL OR status = $2)"
        " AND ($3::uuid IS NULL OR (created_at, operation_id) < ("
        "  SELECT created_at, operation_id FROM operations WHERE operation_id = $3"
        " )) ORDER BY created_at DESC, operation_id DESC LIMIT $4",
        tenant_id,
        status,
        after,
        rows_max,
    )
    return [_read(row) for row in rows]


def _read(row: Record) -> OperationRow:
    values = dict(row)
    for name in ("parameters", "state", "result"):
        values[name] = None if values[name] is None else orjson.loads(values[name])
    return OperationRow(**values)


def _changed(command: str) -> bool:
    return command != "UPDATE 0"
