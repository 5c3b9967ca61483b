"""``freehold tenants`` and ``freehold keys``, as processes: what they do, say, and how they end."""

import json
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from support.answers import found
from support.clients import Freehold, Tenant
from support.commands import freehold as run
from support.documents import Document

NOWHERE = "http://127.0.0.1:1"


async def test_a_tenant_is_made_once_and_their_key_is_all_of_stdout(
    freehold: Freehold, operator: dict[str, str]
) -> None:
    tenant_id = f"test-{secrets.token_hex(8)}"
    made = await run("tenants", "create", tenant_id, "--name", "[b]Acme", environment=operator)
    assert made.code == 0, made.err
    tenant = Tenant(freehold, tenant_id, made.out.strip())
    await tenant.append()
    assert found(await freehold.manage("GET", f"/tenants/{tenant_id}"))["name"] == "[b]Acme"
    again = await run("tenants", "create", tenant_id, "--name", "[b]Acme", environment=operator)
    assert (again.code, again.out) == (0, "")
    assert f"freehold keys create {tenant_id}" in again.err
    other = await run("tenants", "create", tenant_id, "--json", environment=operator)
    assert other.code == 3
    assert json.loads(other.out)["problem"]["type"] == "/problems/tenant-exists"


async def test_tenants_are_listed_to_the_last(
    tenant: Tenant, other_tenant: Tenant, operator: dict[str, str]
) -> None:
    listed = await run("tenants", "list", "--json", environment=operator)
    assert listed.code == 0, listed.err
    ids = [entry["tenant_id"] for entry in json.loads(listed.out)["data"]]
    assert ids == sorted(ids)
    assert {tenant.tenant_id, other_tenant.tenant_id} <= set(ids)
    table = await run("tenants", "list", environment=operator)
    rows = [row.split() for row in table.out.splitlines()]
    assert rows[0][:3] == ["tenant", "name", "status"]
    assert tenant.tenant_id in {row[0] for row in rows}


async def test_a_tenant_is_shown_with_head_and_lag(
    tenant: Tenant, operator: dict[str, str]
) -> None:
    event = await tenant.append()
    await tenant.caught_up()
    shown = await run("tenants", "show", tenant.tenant_id, environment=operator)
    assert shown.code == 0, shown.err
    facts = dict(row.split(maxsplit=1) for row in _unspaced(shown.out))
    assert facts["tenant"].strip() == tenant.tenant_id
    assert facts["events"].strip() == "1"
    assert facts["head_hash"].strip() == event.hash
    shown = await run("tenants", "show", tenant.tenant_id, "--json", environment=operator)
    assert json.loads(shown.out)["head"]["hash"] == event.hash


async def test_limits_are_set_and_lifted(tenant: Tenant, operator: dict[str, str]) -> None:
    words = ("tenants", "limit", tenant.tenant_id)
    limited = await run(*words, "--events-per-s", "500", "--json", environment=operator)
    assert limited.code == 0, limited.err
    assert json.loads(limited.out)["limits"] == {"events_per_s": 500, "requests_max": None}
    lifted = await run(*words, "--json", environment=operator)
    assert json.loads(lifted.out)["limits"] == {"events_per_s": None, "requests_max": None}


async def test_keys_are_made_listed_and_revoked(tenant: Tenant, operator: dict[str, str]) -> None:
    words = ["keys", "create", tenant.tenant_id, "--scope", "read", "--scope", "ingest"]
    words += ["--expires-in", "2h", "--label", "web"]
    made = await run(*words, environment=operator)
    assert made.code == 0, made.err
    key = made.out.strip()
    assert key not in made.err
    limited = tenant.bearing(key)
    await limited.append()
    assert (await limited.get("/lag")).status_code == 200
    listed = await run("keys", "list", tenant.tenant_id, "--json", environment=operator)
    keys: list[Document] = json.loads(listed.out)["data"]
    assert [entry["scopes"] for entry in keys] == [
        ["ingest", "read", "audit", "export"],
        ["read", "ingest"],
    ]
    expires_at = datetime.fromisoformat(keys[1]["expires_at"])
    assert abs(expires_at - datetime.now(UTC) - timedelta(hours=2)) < timedelta(minutes=5)
    key_id = keys[1]["key_id"]
    words = ["keys", "label", tenant.tenant_id, key_id, "web shop"]
    labelled = await run(*words, environment=operator)
    assert labelled.code == 0, labelled.err
    for _ in range(2):
        words = ["keys", "revoke", tenant.tenant_id, key_id, "--confirm", key_id]
        revoked = await run(*words, environment=operator)
        assert revoked.code == 0, revoked.err
    await limited.shut_out()
    table = await run("keys", "list", tenant.tenant_id, environment=operator)
    (row,) = [row for row in table.out.splitlines() if row.startswith(key_id)]
    assert row.split()[1:6] == ["web", "shop", "read", "ingest", "revoked"]
    assert key not in listed.out + table.out


async def test_a_key_expires_at_a_time_in_any_zone(
    tenant: Tenant, operator: dict[str, str]
) -> None:
    words = ["keys", "create", tenant.tenant_id, "--expires-at", "2999-01-01T01:00:00+01:00"]
    made = await run(*words, "--scope", "audit", "--json", environment=operator)
    assert made.code == 0, made.err
    document = json.loads(made.out)
    assert document["scopes"] == ["audit"]
    assert document["expires_at"] == "2999-01-01T00:00:00.000000Z"


async def test_the_token_may_come_from_a_file(
    tenant: Tenant, operator: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "token").write_text(operator.pop("FREEHOLD_OPERATOR_TOKEN") + "\n")
    operator["FREEHOLD_OPERATOR_TOKEN_FILE"] = str(tmp_path / "token")
    shown = await run("tenants", "show", tenant.tenant_id, environment=operator)
    assert shown.code == 0, shown.err
    operator["FREEHOLD_OPERATOR_TOKEN_FILE"] = str(tmp_path)
    shown = await run("tenants", "show", tenant.tenant_id, environment=operator)
    assert shown.code == 2


async def test_the_shell_completes_tenants(tenant: Tenant, operator: dict[str, str]) -> None:
    completing = {
        "_FREEHOLD_COMPLETE": "complete_bash",
        "COMP_WORDS": f"freehold tenants show {tenant.tenant_id[:12]}",
        "COMP_CWORD": "3",
    }
    completed = await run(environment={**operator, **completing})
    assert completed.out.split() == [tenant.tenant_id]
    away = {**operator, "FREEHOLD_TENANT_MANAGER_URL": NOWHERE}
    completed = await run(environment={**away, **completing})
    assert (completed.out.strip(), completed.err) == ("", "")


READING = ["keys", "create", "acme", "--scope", "read"]
WRONG: dict[str, list[str]] = {
    "no such command": ["tenants", "burn"],
    "no tenant": ["tenants", "show"],
    "no tenant's id": ["tenants", "show", "../regions"],
    "no scope": ["keys", "create", "acme", "--scope", "everything"],
    "no span": [*READING, "--expires-in", "soon"],
    "no time": [*READING, "--expires-at", "2027-01-01"],
    "two times": [*READING, "--expires-in", "1h", "--expires-at", "2027-01-01Z"],
    "nowhere to go back to": ["restore", "acme"],
    "two places to go back to": ["restore", "acme", "--to", "2026-01-01T00:00Z", "--backup", "b"],
    "unconfirmed": ["tenants", "delete", "acme"],
    "confirmed for another": ["tenants", "delete", "acme", "--confirm", "acne"],
}


@pytest.mark.parametrize("words", WRONG.values(), ids=WRONG)
async def test_what_is_called_wrongly_ends_with_two(words: list[str]) -> None:
    unreachable = {"FREEHOLD_TENANT_MANAGER_URL": NOWHERE, "FREEHOLD_OPERATOR_TOKEN": "not needed"}
    ended = await run(*words, environment=unreachable)
    assert ended.code == 2, ended.out + ended.err
    assert ended.err
    assert "Traceback" not in ended.err


async def test_a_missing_token_is_reported_with_its_setting(tmp_path: Path) -> None:
    ended = await run("tenants", "list", environment={}, folder=tmp_path)
    assert ended.code == 2
    assert "FREEHOLD_OPERATOR_TOKEN" in ended.err


async def test_a_server_that_refuses_or_is_not_there_ends_with_three(
    operator: dict[str, str],
) -> None:
    canary = f"canary-{secrets.token_hex(8)}"
    refusing: list[tuple[Mapping[str, str], list[str], str]] = [
        (operator, ["tenants", "show", "unknown-tenant"], "there is no such tenant"),
        (
            operator,
            ["keys", "revoke", "unknown-tenant", "0" * 16, "--confirm", "0" * 16],
            "no such key",
        ),
        (operator, ["tenants", "create", "acme", "--region", "mars"], "region must be"),
        (
            {**operator, "FREEHOLD_OPERATOR_TOKEN": canary},
            ["tenants", "list"],
            "the operator token is not valid",
        ),
        (
            {"FREEHOLD_TENANT_MANAGER_URL": NOWHERE, "FREEHOLD_OPERATOR_TOKEN": canary},
            ["tenants", "list"],
            "FREEHOLD_TENANT_MANAGER_URL",
        ),
    ]
    for environment, words, said in refusing:
        ended = await run(*words, "--json", environment=environment)
        assert ended.code == 3, ended.err
        assert said in ended.err
        assert said in json.loads(ended.out)["error"]
        assert canary not in ended.out + ended.err


def _unspaced(text: str) -> list[str]:
    """Rows of names and values, each name in one word."""
    return [
        "_".join(name.split()) + " " + value
        for name, _, value in (row.partition("  ") for row in text.splitlines())
    ]
