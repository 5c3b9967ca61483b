"""Unexpected errors are answered and logged, without secrets."""

import json
from pathlib import Path
from uuid import uuid4

from support.answers import created, problem
from support.clients import Tenant, event_body, event_of
from support.machine import Machine


async def test_a_failure_is_logged_without_secrets(
    machine: Machine, tenant: Tenant, other_tenant: Tenant
) -> None:
    request_id = uuid4().hex
    body = event_body(metadata={"note": "strictly confidential"})
    async with machine.ledger(tenant) as ledger:
        # Something is wrong in this tenant's database that no code expects.
        await ledger.execute(
            "ALTER TABLE idempotency_keys ADD CONSTRAINT trouble"
            " CHECK (expires_at < '2000-01-01') NOT VALID"
        )
        answer = await tenant.post("/events", body, key="k", headers={"X-Request-Id": request_id})
        theirs = await other_tenant.append()
        await ledger.execute("ALTER TABLE idempotency_keys DROP CONSTRAINT trouble")
    problem(answer, "internal")
    assert "trouble" not in answer.text
    # Nothing of it was kept, so that the same request is good once the fault is mended.
    event = event_of(created(await tenant.post("/events", body, key="k")))
    await machine.assert_whole(tenant, [event])
    await machine.assert_whole(other_tenant, [theirs])

    logs = machine.stack.state / "logs"
    logged = [json.loads(line) for line in lines(logs / "ingest.log") if request_id in line]
    assert any(line["tenant_id"] == tenant.tenant_id and "exception" in line for line in logged)
    kept = json.loads((machine.stack.state / "secrets.json").read_text())
    secrets = [
        *kept.values(),
        kept["credential_keys"].partition(":")[2],
        *(each.api_key.rpartition("_")[2] for each in (tenant, other_tenant)),
        "strictly confidential",
    ]
    for log in logs.iterdir():
        text = "\n".join(lines(log))
        for secret in secrets:
            # Not even most of it.
            assert secret[: len(secret) * 2 // 3] not in text, log.name


def lines(log: Path) -> list[str]:
    return log.read_text(errors="replace").splitlines()
