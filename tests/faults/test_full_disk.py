"""Postgres' disk is full, and then there is room again: nothing acknowledged is lost meanwhile."""

import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import pytest

from freehold.ledger.client import Connection
from freehold_client.generated.models import LedgerEvent
from freehold_local.accounts import server_account
from support.answers import created, problem
from support.clients import Tenant, event_body, event_of
from support.machine import Machine
from support.waiting import eventually

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a disk to be filled")

DISK_BYTES = 4 * 2**20
# More than the pages that a table has can still take.
EVENTS = [event_body(account_id=f"cus_{n}", metadata={"pad": "x" * 500}) for n in range(100)]


async def test_a_full_disk_refuses_events_and_loses_none(
    machine: Machine, tenant: Tenant, other_tenant: Tenant
) -> None:
    acknowledged = await tenant.append_batch(EVENTS)
    async with small_disk(machine, tenant) as disk:
        fill(disk)
        for key in ("first", "second"):
            refused = await tenant.post("/events/batch", {"events": EVENTS}, key=key)
            assert "no room left on its disk" in problem(refused, "unavailable")["detail"]
            assert int(refused.headers["Retry-After"]) > 0
        # What is there is read and projected, and others append.
        assert (await tenant.caught_up()).head_seq == len(EVENTS)
        await other_tenant.append()

        (disk / "filler").unlink()
        for key in ("first", "second"):

            async def taken(key: str = key) -> list[LedgerEvent] | None:
                answer = await tenant.post("/events/batch", {"events": EVENTS}, key=key)
                if answer.status_code == 503:
                    return None
                return [event_of(event) for event in created(answer)["events"]]

            acknowledged += await eventually(taken, "the batch is taken")
        await machine.assert_whole(tenant, acknowledged)


def fill(disk: Path) -> None:
    """Leave no byte free."""
    with suppress(OSError), (disk / "filler").open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass


@contextmanager
def mounted(disk: Path) -> Iterator[None]:
    """Have a small disk mounted for a while."""
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(disk)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    try:
        if done.returncode:
            pytest.skip(f"nothing is mounted here: {done.stderr.strip()}")
        try:
            yield
        finally:
            subprocess.run(["umount", str(disk)], check=True)
    finally:
        disk.rmdir()


@asynccontextmanager
async def small_disk(machine: Machine, tenant: Tenant) -> AsyncIterator[Path]:
    """Have a tenant's events on a small disk of their own for a while."""
    disk = (machine.stack.state / "postgres").resolve() / "small"
    with mounted(disk):
        space = disk / "space"
        space.mkdir(mode=0o700)
        account = server_account("postgres")
        if account is not None:
            shutil.chown(space, account.uid, account.gid)
        async with machine.ledger(tenant) as ledger:
            await ledger.execute(f"CREATE TABLESPACE small LOCATION '{space}'")
            try:
                await move_events(ledger, "small")
                yield disk
            finally:
                (disk / "filler").unlink(missing_ok=True)
                await move_events(ledger, "pg_default")
                await ledger.execute("DROP TABLESPACE small")


async def move_events(ledger: Connection, tablespace: str) -> None:
    for partition in await ledger.fetch(
        "SELECT inhrelid::regclass::text AS name FROM pg_inherits"
        " WHERE inhparent = 'ledger_events'::regclass"
    ):
        await ledger.execute(f"ALTER TABLE {partition['name']} SET TABLESPACE {tablespace}")
