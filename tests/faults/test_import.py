"""Imports whose servers, clients and lines fail on the way: nothing is lost and nothing doubled."""

import asyncio
import signal
import sys
from functools import partial
from pathlib import Path

from support.clients import Tenant
from support.machine import Machine, waiting_for_a_lock
from support.uploads import imported, line, lines, uploading
from support.waiting import eventually

TIMEOUT_S = 120


async def test_a_killed_ingest_loses_no_line_that_it_told_of(
    machine: Machine, tenant: Tenant
) -> None:
    async with uploading(tenant) as upload:
        await upload.send(lines(1, 5_000))
        await upload.head()
        told = await upload.line()
        await machine.replace("ingest", signal.SIGKILL)
    last = await imported(tenant, lines(1, 6_000))
    assert last["accepted"] + last["duplicates"] == 6_000
    assert last["duplicates"] >= told["accepted"] > 0
    await machine.assert_whole(tenant, [])
    assert (await tenant.lag())["head_seq"] == 6_000


async def test_the_command_outlives_an_ingest_that_is_killed_under_it(
    machine: Machine, tenant: Tenant, tmp_path: Path
) -> None:
    file = tmp_path / "events.ndjson"
    file.write_bytes(lines(1, 60_000))
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("freehold"),
        "import",
        file,
        env={
            "FREEHOLD_INGEST_URL": tenant.freehold.addresses.ingest,
            "FREEHOLD_API_KEY": tenant.api_key,
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:

        async def begun() -> bool:
            return bool((await tenant.lag())["head_seq"])

        await eventually(begun, "the import has begun")
        await machine.replace("ingest", signal.SIGKILL)
        async with asyncio.timeout(TIMEOUT_S):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0, err.decode()
    assert "Trying again" in err.decode()
    assert "events imported" in out.decode()
    await machine.assert_whole(tenant, [])
    assert (await tenant.lag())["head_seq"] == 60_000


async def test_a_ledger_that_is_lost_for_a_moment_is_waited_for(
    machine: Machine, tenant: Tenant
) -> None:
    async with uploading(tenant) as upload:
        await upload.send(lines(1, 10))
        await upload.head()
        while (await upload.line())["accepted"] < 10:
            pass
        await machine.cut_connections()
        await upload.send(lines(11, 20))
        await upload.end()
        last = await upload.last_line()
    assert (last["done"], last["lines"]) == (True, 20)
    assert last["accepted"] + last["duplicates"] == 20
    assert (await tenant.lag())["head_seq"] == 20


async def test_a_ledger_that_stays_busy_is_given_up_on_and_it_is_said_how_far_it_came(
    machine: Machine, tenant: Tenant
) -> None:
    async with uploading(tenant) as upload:
        await upload.send(lines(1, 10))
        await upload.head()
        while (await upload.line())["accepted"] < 10:
            pass
        async with (
            machine.ledger(tenant) as watching,
            machine.ledger(tenant) as blocking,
            blocking.transaction(),
        ):
            # Somebody has the tenant's writer lock and does not let go.
            await blocking.execute("SELECT FROM ledger_head FOR UPDATE")
            await upload.send(lines(11, 20))
            await eventually(partial(waiting_for_a_lock, watching), "an append waits")
            last = await upload.last_line()
    assert (last["done"], last["lines"], last["accepted"]) == (False, 10, 10)
    assert last["error"]["type"] == "/problems/overloaded"
    again = await imported(tenant, lines(1, 20))
    assert (again["accepted"], again["duplicates"]) == (10, 10)


async def test_one_line_that_the_ledger_chokes_on_does_not_take_others_with_it(
    machine: Machine, tenant: Tenant
) -> None:
    async with machine.ledger(tenant) as ledger:
        # A rule that ingest knows nothing of.
        await ledger.execute(
            "ALTER TABLE ledger_events ADD CONSTRAINT unlucky CHECK (amount_minor <> 13)"
        )
    body = (
        lines(1, 500)
        + line(external_id="a", amount_minor=13)
        + lines(501, 900)
        + line(external_id="b", amount_minor=13)
    )
    last = await imported(tenant, body)
    assert (last["done"], last["accepted"], last["rejected_count"]) == (True, 900, 2)
    assert [(entry["line"], entry["type"]) for entry in last["rejected"]] == [
        (501, "/problems/internal"),
        (902, "/problems/internal"),
    ]
    await machine.assert_whole(tenant, [])


async def test_a_client_that_falls_silent_is_not_waited_for(tenant: Tenant) -> None:
    async with uploading(tenant) as upload:
        refused = await upload.problem()
    assert refused["type"].rpartition("/")[2] == "request-timeout"
    assert refused["status"] == 408


async def test_of_a_client_that_falls_silent_half_way_what_came_stays(tenant: Tenant) -> None:
    async with uploading(tenant) as upload:
        await upload.send(lines(1, 10) + b'{"account_id"')
        await upload.head()
        last = await upload.last_line()
    assert (last["done"], last["lines"], last["accepted"]) == (False, 10, 10)
    assert last["error"]["type"] == "/problems/request-timeout"
    assert (await tenant.lag())["head_seq"] == 10
