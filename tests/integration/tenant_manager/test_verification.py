"""Verifying on request: what is found in the chain, in the state, and against the head outside."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import asyncpg
import httpx
import pytest

from freehold.ledger import client as ledger
from freehold.ledger.client import Connection
from freehold_tenant_manager.settings import Settings
from freehold_tenant_manager.verification import verifier as verifying
from integration.tenant_manager.installation import Installation, make_tenant
from support.builders import append, append_request, new_event
from support.operations import operation_ended, result_of

EVENTS = 7
FORGED_MINOR = 987_654_321
"""No hash holds these digits by chance."""


@pytest.fixture(autouse=True)
def _small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifying, "_STEP_EVENTS", 3)


@pytest.fixture
async def tenant_id(
    manager: httpx.AsyncClient, installation: Installation, settings: Settings
) -> str:
    """A tenant with a few events, projected, and their head noted outside."""
    tenant_id = await make_tenant(manager)
    async with inside(installation, settings, tenant_id) as connection:
        for number in range(EVENTS):
            await append(connection, [append_request(new_event(f"cus_{number % 2}"))])
        await ledger.project(connection, 100)
        head = await ledger.head(connection)
    async with installation.superuser(settings.catalog_name) as catalog:
        await catalog.execute(
            "UPDATE catalog.reconciliations SET anchor_seq = $2, anchor_hash = $3"
            " WHERE tenant_id = $1",
            tenant_id,
            head.seq,
            head.hash,
        )
    return tenant_id


@asynccontextmanager
async def inside(
    installation: Installation, settings: Settings, tenant_id: str
) -> AsyncIterator[Connection]:
    """Have a superuser's connection to a tenant's ledger for a while."""
    async with installation.superuser(settings.catalog_name) as catalog:
        database = await catalog.fetchval(
            "SELECT database_name FROM catalog.tenants WHERE tenant_id = $1", tenant_id
        )
    async with installation.superuser(database) as connection:
        await connection.execute("SET search_path TO ledger")
        yield connection


async def tamper(connection: Connection, statement: str) -> None:
    """Do as a superuser what the triggers would refuse."""
    async with connection.transaction():
        await connection.execute("SET LOCAL session_replication_role = replica")
        partitions = await connection.fetch(
            "SELECT inhrelid::regclass::text AS name FROM pg_inherits"
            " WHERE inhparent = 'ledger_events'::regclass"
        )
        for table in ("ledger_events", *(row["name"] for row in partitions)):
            await connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER append_only")
        await connection.execute(statement)


async def verified(manager: httpx.AsyncClient, tenant_id: str) -> dict[str, Any]:
    """Have a tenant verified, and give what came of it."""
    answer = await manager.post(f"/v1/tenants/{tenant_id}/verify")
    assert answer.status_code == 202, answer.text
    asked = answer.json()
    assert (asked["kind"], asked["tenant_id"]) == ("verify", tenant_id)
    return result_of(await operation_ended(manager, asked["operation_id"]))


async def test_a_whole_ledger_is_verified_step_by_step(
    manager: httpx.AsyncClient, installation: Installation, settings: Settings, tenant_id: str
) -> None:
    result = await verified(manager, tenant_id)
    async with inside(installation, settings, tenant_id) as connection:
        head = await ledger.head(connection)
    assert result == {
        "ok": True,
        "head": {"seq": EVENTS, "hash": head.hash.hex()},
        "events_checked": EVENTS,
        "anchor_seq": EVENTS,
        "findings_count": 0,
        "findings": [],
    }


async def test_an_empty_ledger_is_whole(manager: httpx.AsyncClient) -> None:
    result = await verified(manager, await make_tenant(manager))
    assert (result["ok"], result["head"], result["events_checked"]) == (
        True,
        {"seq": 0, "hash": None},
        0,
    )


async def test_every_fault_is_found_and_none_hides_another(
    manager: httpx.AsyncClient, installation: Installation, settings: Settings, tenant_id: str
) -> None:
    async with inside(installation, settings, tenant_id) as connection:
        await tamper(
            connection,
            f"UPDATE ledger_events SET amount_minor = {FORGED_MINOR} WHERE seq IN (2, 5)",
        )
        await connection.execute(
            "UPDATE account_balances SET event_count = 1 WHERE account_id = 'cus_1'"
        )
    result = await verified(manager, tenant_id)
    assert result["ok"] is False
    found = [(each["kind"], each["seq"], each["account_id"]) for each in result["findings"]]
    assert found[:2] == [("chain-broken", 2, None), ("chain-broken", 5, None)]
    assert ("balance-differs", None, "cus_1") in found
    assert result["findings_count"] == len(found)
    assert str(FORGED_MINOR) not in str(result)


async def test_a_truncated_and_repaired_ledger_differs_from_the_outside_head(
    manager: httpx.AsyncClient, installation: Installation, settings: Settings, tenant_id: str
) -> None:
    async with inside(installation, settings, tenant_id) as connection:
        await tamper(connection, "DELETE FROM ledger_events WHERE seq > 6")
        await connection.execute(
            "UPDATE ledger_head"
            " SET last_seq = e.seq, last_event_id = e.event_id, last_hash = e.hash"
            " FROM (SELECT * FROM ledger_events ORDER BY seq DESC LIMIT 1) AS e"
        )
        await connection.execute(
            "UPDATE projection_checkpoint AS c SET last_seq = h.last_seq,"
            " last_ledger_event_id = h.last_event_id FROM ledger_head AS h"
        )
        await connection.fetchval("SELECT rebuild()")
    result = await verified(manager, tenant_id)
    found = {(each["kind"], each["seq"]) for each in result["findings"]}
    assert ("ledger-rewritten", EVENTS) in found


async def test_a_step_that_was_done_is_not_done_again(
    manager: httpx.AsyncClient, installation: Installation, settings: Settings, tenant_id: str
) -> None:
    async with inside(installation, settings, tenant_id) as connection:
        await tamper(connection, "UPDATE ledger_events SET amount_minor = 999 WHERE seq = 2")
        await connection.fetchval("SELECT rebuild()")
    async with installation.superuser(settings.catalog_name) as catalog:
        # As a process leaves it that died after two steps.
        operation_id = await catalog.fetchval(
            "INSERT INTO catalog.operations (operation_id, kind, tenant_id, parameters, state)"
            " VALUES (gen_random_uuid(), 'verify', $1, '{}', $2::jsonb) RETURNING operation_id",
            tenant_id,
            '{"next_seq": 7, "events_checked": 6, "findings": [{"kind": "chain-broken"}]}',
        )
    result = result_of(await operation_ended(manager, operation_id))
    assert (result["events_checked"], result["findings"]) == (7, [{"kind": "chain-broken"}])


async def test_a_customer_cannot_stop_a_verification(
    manager: httpx.AsyncClient, tenant_id: str
) -> None:
    path = f"/v1/tenants/{tenant_id}"
    given = (await manager.get(f"{path}/credentials")).json()
    async with AsyncExitStack() as sessions:
        first = await sessions.enter_async_context(_entered(given))
        limit = await first.fetchval(
            "SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user"
        )
        for _ in range(limit - 1):
            await sessions.enter_async_context(_entered(given))
        with pytest.raises(asyncpg.TooManyConnectionsError):
            async with _entered(given):
                pass
        await first.execute("ALTER ROLE CURRENT_USER PASSWORD 'mine'")
        shown = (await manager.get(path)).json()
        assert (shown["head"]["seq"], shown["lag"]["events_behind"]) == (EVENTS, 0)
        assert shown["size_bytes"] > 0
        assert (await verified(manager, tenant_id))["ok"]
    with pytest.raises(asyncpg.InvalidPasswordError):
        async with _entered(given):
            pass
    answer = await manager.post(f"{path}/credentials/rotate", json={"service": "auditor"})
    assert answer.json()["services"] == ["auditor"]
    async with _entered((await manager.get(f"{path}/credentials")).json()) as again:
        assert (await ledger.verify(again)).ok


@asynccontextmanager
async def _entered(given: dict[str, Any]) -> AsyncIterator[Connection]:
    """Have a session as the customer has it, with what an operator is shown for them."""
    connection = await asyncpg.connect(
        given["dsn"], timeout=10, server_settings={"search_path": given["schema"]}
    )
    try:
        yield connection
    finally:
        await connection.close(timeout=10)


async def test_an_unknown_tenant_cannot_be_verified(manager: httpx.AsyncClient) -> None:
    assert (await manager.post("/v1/tenants/nobody-here/verify")).status_code == 404
    assert (await manager.post("/v1/tenants/nobody-here/verify?deep=1")).status_code == 422


async def test_without_a_broker_nothing_can_be_redriven(manager: httpx.AsyncClient) -> None:
    answer = await manager.post("/v1/doorbells/redrive", json={"limit": 1})
    assert answer.status_code == 503
    assert "FREEHOLD_AMQP_URL" in answer.json()["detail"]
    for body in ({"limit": 0}, {"limit": "all"}, {"queue": "mine"}):
        assert (await manager.post("/v1/doorbells/redrive", json=body)).status_code == 422
