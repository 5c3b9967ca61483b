"""A snapshot of the catalog: written as frames, and loaded into an empty catalog.

H is the header, as JSON, and comes first. Then, for each table, a T frame names it and its columns
in JSON, and C frames hold its rows.
"""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import asdict, dataclass
from datetime import datetime

import orjson

from freehold.database.queries import load_queries
from freehold.ledger.client import Connection
from freehold.tenants.catalog import CATALOG_SCHEMA
from freehold_tenant_manager.archive.frames import FrameError, FrameReader, copied, frame

_QUERIES = load_queries("freehold_tenant_manager.recovery", "queries.sql")

FORMAT = 1

SHIPPED = {
    "clusters": "",
    "tenants": "",
    # The pool's and those that restores left are gone with the server.
    "credentials": "WHERE database_name IN (SELECT t.database_name FROM tenants AS t)",
    "api_keys": "",
    "operators": "",
    "operator_acts": "",
    "data_keys": "",
    "reconciliations": "",
    "tenant_epochs": "",
    "backups": "",
    "final_exports": "",
    # Nothing depends on operations that are over.
    "operations": "WHERE status IN ('queued', 'running')",
}
"""The tables of a version in the order of loading, each with a filter of its rows."""

LEFT_OUT = {
    "schema_migrations": "said by the header",
    "installation": "this server's own",
    "unshipped_changes": "this server's own",
    "operator_acts_head": "the last entry says it",
    "ingest_instances": "processes of now",
    "announcement_leases": "of those processes",
    "hold_expiries": "projector finds them in the ledgers",
    "tenant_migrations": "the ledgers say their versions",
    "retired_databases": "gone with the server; the archive has what was in them",
    "sign_in_links": "used within a day at most",
    "tenant_traffic": "counted anew",
    "slow_reads": "counted anew",
    "tenant_usage": "sampled anew",
    "usage_samples": "sampled anew",
    "usage_rounds": "this server's own",
    "pool_databases": "gone with the server; made anew",
}
"""The tables that no version has, each with the reason."""


class SnapshotError(Exception):
    """A snapshot cannot be loaded here."""


@dataclass(frozen=True, slots=True)
class Header:
    """A snapshot's header; `schema_version` is the catalog's last migration.

    `acts_seq` and `acts_hash` (in hex) are the head of the operators' audit log: that of an earlier
    version for as long as the log does not contain it.
    """

    taken_at: datetime
    cluster: str
    schema_version: int
    tenants: int
    acts_seq: int
    acts_hash: str


async def describe(connection: Connection, cluster: str) -> Header:
    """Make the header of a snapshot taken in this transaction."""
    (row,) = await connection.fetch(_QUERIES["describe"])
    return Header(cluster=cluster, **row)


async def take(connection: Connection, header: Header) -> AsyncGenerator[bytes, None]:
    """Give a snapshot's bytes, in the repeatable-read transaction of the header; in flat memory."""
    yield frame(b"H", orjson.dumps({"format": FORMAT, **asdict(header)}))
    for table, rows in SHIPPED.items():
        columns = await _columns(connection, table)
        yield frame(b"T", orjson.dumps({"table": table, "columns": columns}))
        query = f"SELECT {', '.join(columns)} FROM {table} {rows}"  # noqa: S608 (our own names)
        async with aclosing(copied(connection, query)) as pieces:
            async for piece in pieces:
                yield frame(b"C", piece)


async def read_header(pieces: AsyncIterator[bytes]) -> Header:
    """Read a snapshot's header.

    Raises:
        SnapshotError: It is none, or needs a later release.
    """
    try:
        return await _header(FrameReader(pieces))
    except FrameError as error:
        raise SnapshotError(f"the catalog's snapshot is cut off: {error}") from error


async def examine(pieces: AsyncIterator[bytes]) -> Header:
    """Read a snapshot to its end, and give its header.

    Raises:
        SnapshotError: It is none, or needs a later release.
    """
    reader = FrameReader(pieces)
    try:
        header = await _header(reader)
        while await reader.kind() in (b"T", b"C"):
            await reader.take(await reader.kind() or b"")
        if await reader.kind() is not None:
            raise SnapshotError("the catalog's snapshot has a part of an unknown kind")
    except FrameError as error:
        raise SnapshotError(f"the catalog's snapshot is cut off: {error}") from error
    return header


async def load(connection: Connection, pieces: AsyncIterator[bytes]) -> None:
    """Load a snapshot into the tables of an empty catalog. Needs a transaction.

    Raises:
        SnapshotError: It is none, or needs a later release.
        asyncpg.PostgresError: It does not fit this catalog.
    """
    reader = FrameReader(pieces)
    try:
        await _header(reader)
        while (content := await reader.take(b"T")) is not None:
            stored = orjson.loads(content)
            if stored["table"] not in SHIPPED:
                raise SnapshotError("the catalog's snapshot has an unknown table")
            await connection.copy_to_table(
                stored["table"],
                schema_name=CATALOG_SCHEMA,
                source=reader.section(b"C"),
                columns=stored["columns"],
                format="text",
            )
    except FrameError as error:
        raise SnapshotError(f"the catalog's snapshot is cut off: {error}") from error


async def _header(reader: FrameReader) -> Header:
    content = await reader.take(b"H")
    if content is None:
        raise SnapshotError("this is no snapshot of a catalog")
    stored = orjson.loads(content)
    if stored.pop("format") != FORMAT:
        raise SnapshotError("the catalog's snapshot has a format that needs a later release")
    return Header(datetime.fromisoformat(stored.pop("taken_at")), **stored)


async def _columns(connection: Connection, table: str) -> list[str]:
    rows = await connection.fetch(_QUERIES["list_columns"], table)
    return [row["attname"] for row in rows]
