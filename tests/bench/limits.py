"""What Postgres itself can do here, in the same run: the limits that speeds are put to."""

import asyncio
import io
import os
import re
import secrets
import time
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from freehold_local.installation import find_postgres
from support.ledgers import Ledger

# As much as an event is: the same columns and indexes, its external id unique, and a hash. It has
# neither the order, nor the chain, nor the idempotency of an append.
_PLAIN = """
CREATE TABLE plain (LIKE ledger_events INCLUDING DEFAULTS INCLUDING CONSTRAINTS);
ALTER TABLE plain ADD PRIMARY KEY (event_id), ADD UNIQUE (external_id);
CREATE INDEX ON plain (account_id, seq);
"""
_INSERT = r"""
\set account random(1, 5000)
INSERT INTO ledger.plain (
    event_id, seq, account_id, transaction_time, recorded_at, event_type, amount_minor, currency,
    external_id, metadata, hash
) VALUES (
    gen_random_uuid(), 1, 'cus_' || :account, now(), now(), 'CHARGE', 2000, 'USD',
    gen_random_uuid()::text, '{"plan": "pro"}', sha256('an event')
);
"""
_COPIED = 100_000


async def plain_inserts_per_s(ledger: Ledger, folder: Path, *, clients: int) -> float:
    """Measure single inserts, a transaction each, with pgbench."""
    async with ledger.connection() as connection:
        await connection.execute(_PLAIN)
    script = folder / "insert.sql"
    script.write_text(_INSERT)
    binaries = find_postgres()
    assert binaries is not None
    process = await asyncio.create_subprocess_exec(
        binaries / "pgbench",
        "--no-vacuum",
        "--protocol=prepared",
        f"--client={clients}",
        f"--jobs={min(2, clients)}",
        "--time=4",
        f"--file={script}",
        ledger.url,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PGOPTIONS": "-c search_path=ledger"},
    )
    written, _ = await process.communicate()
    found = re.search(r"tps = ([0-9.]+)", written.decode())
    assert process.returncode == 0
    assert found is not None
    async with ledger.connection() as connection:
        await connection.execute("DROP TABLE plain")
    return float(found[1])


async def copied_rows_per_s(ledger: Ledger) -> float:
    """Measure COPY into ledger_events itself, with all of its indexes."""
    now = datetime.now(UTC)
    milliseconds = round(now.timestamp() * 1000)
    lines = []
    for seq in range(1, _COPIED + 1):
        event_id = UUID(int=milliseconds << 80 | 7 << 76 | 2 << 62 | seq)
        lines.append(
            f"{event_id}\t{seq}\tcus_{seq % 5000}\t{now}\t{now}\tCHARGE\t2000\tUSD\tch_{seq}"
            f'\t{{"plan": "pro"}}\t\\\\x{secrets.token_hex(32)}\n'
        )
    rows = io.BytesIO("".join(lines).encode())
    async with ledger.connection() as connection:
        started = time.perf_counter()
        await connection.copy_to_table(
            "ledger_events",
            source=rows,
            columns=[
                "event_id",
                "seq",
                "account_id",
                "transaction_time",
                "recorded_at",
                "event_type",
                "amount_minor",
                "currency",
                "external_id",
                "metadata",
                "hash",
            ],
            schema_name="ledger",
        )
        return _COPIED / (time.perf_counter() - started)
