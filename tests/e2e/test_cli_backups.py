"""``freehold export``, ``backup``, ``restore`` and ``former`` against the running services."""

import asyncio
import json
import uuid
from datetime import UTC, datetime
from pathlib import Path

from support.clients import Tenant
from support.commands import freehold as run
from support.waiting import eventually


async def test_an_export_is_a_whole_file(
    tenant: Tenant, operator: dict[str, str], tmp_path: Path
) -> None:
    event = await tenant.append()
    ended = await run("export", tenant.tenant_id, environment=operator, folder=tmp_path)
    assert ended.code == 0, ended.err
    text = (tmp_path / f"{tenant.tenant_id}.sql").read_text()
    assert event.event_id in text
    assert "PostgreSQL database dump complete" in text
    own = {
        "FREEHOLD_TENANT_MANAGER_URL": operator["FREEHOLD_TENANT_MANAGER_URL"],
        "FREEHOLD_API_KEY": tenant.api_key,
    }
    ended = await run("export", "--format", "custom", environment=own, folder=tmp_path)
    assert ended.code == 0, ended.err
    assert (tmp_path / "ledger.dump").read_bytes().startswith(b"PGDMP")


async def test_an_export_needs_its_scope(tenant: Tenant, operator: dict[str, str]) -> None:
    reader = await tenant.limited_to("read")
    own = {
        "FREEHOLD_TENANT_MANAGER_URL": operator["FREEHOLD_TENANT_MANAGER_URL"],
        "FREEHOLD_API_KEY": reader.api_key,
    }
    ended = await run("export", "-o", "-", environment=own)
    assert (ended.code, ended.out) == (3, "")
    assert "the scope export" in ended.err


async def test_a_backup_is_made_listed_verified_and_restored(
    tenant: Tenant, operator: dict[str, str]
) -> None:
    await tenant.append(amount_minor=100)
    await tenant.caught_up()
    made = await run("backup", "create", tenant.tenant_id, "--json", environment=operator)
    assert made.code == 0, made.err
    listed = await run("backup", "list", tenant.tenant_id, "--json", environment=operator)
    (backup,) = json.loads(listed.out)["data"]
    assert backup["head_seq"] == 1
    verified = await run(
        "backup", "verify", tenant.tenant_id, backup["backup_id"], environment=operator
    )
    assert verified.code == 0, verified.err
    table = await run("backup", "list", tenant.tenant_id, environment=operator)
    (row,) = [row for row in table.out.splitlines() if row.startswith(backup["backup_id"])]
    assert row.split()[-1].endswith("Z")
    await tenant.append(amount_minor=50)
    await tenant.caught_up()
    words = ("restore", tenant.tenant_id, "--backup", backup["backup_id"])
    restored = await run(*words, "--confirm", tenant.tenant_id, environment=operator)
    assert restored.code == 0, restored.err

    async def as_it_was() -> bool:
        answer = await tenant.get("/accounts/cus_42/balances")
        return answer.status_code == 200 and (
            answer.json()["balances"][0]["current_balance_minor"] == 100
        )

    await eventually(as_it_was, "the ledger is as it was")
    listed = await run("former", "list", tenant.tenant_id, "--json", environment=operator)
    (left,) = json.loads(listed.out)["data"]
    assert left["kind"] == "former"
    drop = ("former", "drop", tenant.tenant_id, left["name"], "--confirm", left["name"])
    dropped = await run(*drop, environment=operator)
    assert dropped.code == 0, dropped.err
    none = await run("former", "list", tenant.tenant_id, environment=operator)
    assert (none.code, none.out) == (0, "")


async def test_an_earlier_instant_is_previewed_next_to_the_live_ledger(
    tenant: Tenant, operator: dict[str, str]
) -> None:
    await tenant.append(amount_minor=100)
    await tenant.caught_up()
    assert (await run("backup", "create", tenant.tenant_id, environment=operator)).code == 0
    moment = datetime.now(UTC).isoformat()
    await asyncio.sleep(0.01)
    await tenant.append(amount_minor=50)
    await tenant.caught_up()
    for options in (("--to", moment), ("--to-seq", "1")):
        words = ("restore", tenant.tenant_id, *options, "--preview", "--json")
        restored = await run(*words, environment=operator)
        assert restored.code == 0, restored.err
        assert json.loads(restored.out)["result"]["events_left_out"]["count"] == 1
    assert await tenant.balances("cus_42") == {"USD": 150}
    listed = await run("former", "list", tenant.tenant_id, environment=operator)
    assert "preview" in listed.out


async def test_a_refused_restore_says_why(tenant: Tenant, operator: dict[str, str]) -> None:
    for options, said in (
        (("--to", "2999-01-01T00:00:00Z"), "must not lie ahead"),
        (("--to", "2001-01-01T00:00:00Z"), "no ledger then"),
        (("--backup", "nonsense"), "backup_id"),
        (("--backup", str(uuid.uuid4())), "no such backup"),
    ):
        words = ("restore", tenant.tenant_id, *options, "--confirm", tenant.tenant_id)
        ended = await run(*words, environment=operator)
        assert ended.code == 3, ended.err
        assert said in ended.err
    for misused in ([], ["--to-seq", "1", "--to", "2026-03-01T12:00:00Z"], ["--to-seq", "0"]):
        ended = await run("restore", tenant.tenant_id, *misused, "--preview", environment=operator)
        assert ended.code == 2, ended.err
