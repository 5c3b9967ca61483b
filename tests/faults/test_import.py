"""Imports whose servers, clients and lines fail on the way: nothing is lost and nothing doubled."""

import signal
from pathlib import Path

from support.clients import Tenant
from support.commands import started
from support.locks import until_one_waits
from support.machine import Machine
from support.uploads import imported, line, lines, uploading
from support.waiting import eventually


async def test_a_killed_ingest_loses_no_line_that_it_reported(
    machine: Machine, tenant: Tenant
) -> None:
    async with uploading(tenant) as upload:
        await upload.send(lines(1, 5_000))
        await upload.head()
        progress = await upload.line()
        await machine.replace("ingest", signal.SIGKILL)
    last = await imported(tenant, lines(1, 6_000))
    assert last["accepted"] + last["duplicates"] == 6_000
    assert last["duplicates"] >= progress["accepted"] > 0
    await machine.assert_whole(tenant, [])
    assert (await tenant.lag()).head_seq == 6_000


async def test_the_command_completes_although_ingest_is_killed(
    machine: Machine, tenant: Tenant, tmp_path: Path
) -> None:
    file = tmp_path / "events.ndjson"
    file.write_bytes(lines(1, 60_000))
    customer = {
        "FREEHOLD_INGEST_URL": tenant.freehold.addresses.ingest,
        "FREEHOLD_API_KEY": tenant.api_key,
    }
    process = started("import", file, environment=customer)
    try:

        async def begun() -> bool:
            return bool((await tenant.lag()).head_seq)

        await eventually(begun, "the import has begun")
        await machine.replace("ingest", signal.SIGKILL)
        ended = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert ended.code == 0, ended.err
    assert "Trying again" in ended.err
    assert "events imported" in ended.out
    await machine.assert_whole(tenant, [])
    assert (await tenant.lag()).head_seq == 60_000


async def test_an_import_waits_for_a_database_that_is_briefly_unreachable(
    machine: Machine, tenant: Tenant
) -> None:
    async with uploading(tenant) as upload:
        await upload.send(lines(1, 10))
        await upload.head()
        await upload.accepted(10)
        await machine.cut_connections()
        await upload.send(lines(11, 20))
        await upload.end()
        last = await upload.last_line()
    assert (last["done"], last["lines"]) == (True, 20)
    assert last["accepted"] + last["duplicates"] == 20
    assert (await tenant.lag()).head_seq == 20


async def test_an_import_into_a_locked_ledger_is_given_up_and_reports_its_progress(
    machine: Machine, tenant: Tenant
) -> None:
    async with uploading(tenant) as upload:
        await upload.send(lines(1, 10))
        await upload.head()
        await upload.accepted(10)
        async with machine.locked(tenant) as blocking:
            await upload.send(lines(11, 20))
            await until_one_waits(blocking)
            last = await upload.last_line()
    assert (last["done"], last["lines"], last["accepted"]) == (False, 10, 10)
    assert last["error"]["type"] == "/problems/overloaded"
    again = await imported(tenant, lines(1, 20))
    assert (again["accepted"], again["duplicates"]) == (10, 10)


async def test_a_line_that_the_ledger_fails_on_does_not_affect_others(
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


async def test_a_silent_client_is_disconnected(tenant: Tenant) -> None:
    async with uploading(tenant) as upload:
        refused = await upload.problem()
    assert refused["type"].rpartition("/")[2] == "request-timeout"
    assert refused["status"] == 408


async def test_events_of_a_client_that_falls_silent_are_kept(tenant: Tenant) -> None:
    async with uploading(tenant) as upload:
        await upload.send(lines(1, 10) + b'{"account_id"')
        await upload.head()
        last = await upload.last_line()
    assert (last["done"], last["lines"], last["accepted"]) == (False, 10, 10)
    assert last["error"]["type"] == "/problems/request-timeout"
    assert (await tenant.lag()).head_seq == 10
