"""``freehold operators`` against the running services."""

import json
import secrets
from pathlib import Path

from support.clients import Tenant
from support.commands import freehold
from support.operators import first_fault, lines_of


async def test_an_operator_is_made_acts_and_is_revoked(
    tenant: Tenant, operator: dict[str, str], tmp_path: Path
) -> None:
    name, file = f"op-{secrets.token_hex(6)}", tmp_path / "token"
    words = ("operators", "create", name, "--role", "operator", "--expires-in", "1h")
    made = await freehold(*words, "--output", str(file), environment=operator)
    assert (made.code, made.out) == (0, ""), made.err
    assert file.stat().st_mode & 0o777 == 0o600
    theirs = {**operator, "FREEHOLD_OPERATOR_TOKEN": file.read_text().strip()}
    me = await freehold("operators", "me", "--json", environment=theirs)
    assert json.loads(me.out) == {"name": name, "role": "operator", "credential": "token"}
    asked = await freehold("backup", "create", tenant.tenant_id, environment=theirs)
    assert asked.code == 0, asked.err
    refused = await freehold("operators", "revoke", name, "--confirm", name, environment=theirs)
    assert refused.code == 3
    assert "owner" in refused.err

    acts = await freehold("operators", "acts", "--operator", name, "--json", environment=operator)
    entries = [json.loads(line) for line in acts.out.splitlines()][::-1]
    assert [(entry["act"], entry["phase"]) for entry in entries] == [
        ("create_backup", "begun"),
        ("create_backup", "ended"),
        ("create_backup", "finished"),
        ("revoke_operator", "begun"),
        ("revoke_operator", "ended"),
    ]
    table = await freehold("operators", "acts", "--operator", name, environment=operator)
    assert "create_backup" in table.out

    rotated = await freehold("operators", "rotate", name, "--confirm", name, environment=operator)
    assert rotated.out.startswith("fo_")
    assert (await freehold("operators", "me", environment=theirs)).code == 3
    nothing = await freehold("operators", "revoke", name, environment=operator)
    assert nothing.code == 2
    revoked = await freehold("operators", "revoke", name, "--confirm", name, environment=operator)
    assert revoked.code == 0, revoked.err
    listed = await freehold("operators", "list", "--json", environment=operator)
    (entry,) = [one for one in json.loads(listed.out)["data"] if one["name"] == name]
    assert entry["revoked_at"]


async def test_the_audit_log_is_exported_and_verified(
    operator: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "acts.ndjson"
    words = ("operators", "export", "--output", str(file))
    exported = await freehold(*words, environment=operator)
    assert exported.code == 0, exported.err
    assert first_fault(lines_of(file.read_text())) is None
    verified = await freehold("operators", "verify", "--json", environment=operator)
    assert verified.code == 0, verified.err
    assert json.loads(verified.out)["ok"]
