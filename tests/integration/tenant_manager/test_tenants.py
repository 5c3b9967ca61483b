import asyncio
from collections.abc import Awaitable
from datetime import datetime
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from freehold.ledger import client
from freehold.ledger.client import Connection
from freehold.ledger.schema import LEDGER_VERSION
from freehold.security.api_keys import Scope, parse_api_key
from freehold.tenants.catalog import Catalog
from freehold.tenants.homes import Home
from freehold_tenant_manager.contracts.tenants import ProvisionedTenant, Tenant, TenantDetails
from freehold_tenant_manager.provisioning.templates import TEMPLATE
from freehold_tenant_manager.settings import Settings
from integration.tenant_manager.installation import (
    Installation,
    components_of,
    connected,
    make_tenant,
    new_tenant,
)
from support.answers import problem
from support.builders import append, append_request, new_event


async def _home(installation: Installation, settings: Settings, service: str, tenant: str) -> Home:
    """Look a tenant up as a service does."""
    async with installation.directory(settings, service) as directory:
        home = await directory.home(tenant)
    assert home is not None
    return home


async def test_a_tenant_is_made_with_a_key_and_a_home(manager: httpx.AsyncClient) -> None:
    wanted = new_tenant()
    answer = await manager.post("/v1/tenants", json=wanted)
    assert answer.status_code == 201
    body = answer.json()
    ProvisionedTenant.model_validate(body)
    assert set(body) == {"tenant", "api_key"}
    assert body["tenant"].items() >= wanted.items()
    assert body["tenant"]["status"] == "active"
    assert body["tenant"]["schema_version"] == LEDGER_VERSION
    assert body["tenant"]["home"]["database"].startswith("fh_")
    assert wanted["tenant_id"] not in body["tenant"]["home"]["database"]
    assert parse_api_key(body["api_key"])
    (listed,) = (await manager.get(f"/v1/tenants/{wanted['tenant_id']}/api-keys")).json()["data"]
    assert listed["key_id"] == body["api_key"].split("_")[1]
    assert set(listed["scopes"]) == {scope.value for scope in Scope}
    assert listed["expires_at"] is listed["revoked_at"] is None


async def test_the_same_request_again_changes_nothing(manager: httpx.AsyncClient) -> None:
    wanted = new_tenant()
    first = await manager.post("/v1/tenants", json=wanted)
    again = await manager.post("/v1/tenants", json=wanted)
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == {"tenant": first.json()["tenant"]}


async def test_other_settings_are_refused(manager: httpx.AsyncClient) -> None:
    wanted = new_tenant()
    await manager.post("/v1/tenants", json=wanted)
    answer = await manager.post("/v1/tenants", json=wanted | {"name": "Another"})
    problem(answer, "tenant-exists")


async def test_concurrent_same_requests_make_one_tenant(
    manager: httpx.AsyncClient, other_manager: httpx.AsyncClient
) -> None:
    wanted = new_tenant()
    answers = await asyncio.gather(
        *(asked.post("/v1/tenants", json=wanted) for asked in (manager, other_manager) * 5)
    )
    assert sorted(answer.status_code for answer in answers) == [200] * 9 + [201]
    assert len({answer.json()["tenant"]["home"]["database"] for answer in answers}) == 1
    listed = await manager.get(f"/v1/tenants/{wanted['tenant_id']}/api-keys")
    assert len(listed.json()["data"]) == 1


async def test_concurrent_different_settings_make_one_tenant(
    manager: httpx.AsyncClient, other_manager: httpx.AsyncClient
) -> None:
    wanted = new_tenant()
    answers = await asyncio.gather(
        manager.post("/v1/tenants", json=wanted),
        other_manager.post("/v1/tenants", json=wanted | {"name": "Another"}),
    )
    assert sorted(answer.status_code for answer in answers) == [201, 409]


async def test_many_tenants_are_made_at_once(
    manager: httpx.AsyncClient, other_manager: httpx.AsyncClient
) -> None:
    answers = await asyncio.gather(
        *(asked.post("/v1/tenants", json=new_tenant()) for asked in (manager, other_manager) * 6)
    )
    assert {answer.status_code for answer in answers} == {201}


async def test_services_work_in_the_new_database(
    manager: httpx.AsyncClient, installation: Installation, settings: Settings
) -> None:
    tenant_id = await make_tenant(manager)
    async with connected(await _home(installation, settings, "ingest", tenant_id)) as connection:
        (answer,) = await append(connection, [append_request(new_event(amount_minor=300))])
        (event,) = answer.events
    path = f"/v1/tenants/{tenant_id}"

    shown = (await manager.get(path)).json()
    TenantDetails.model_validate(shown)
    assert shown["head"]["seq"] == 1
    assert shown["head"]["event_id"] == str(event["event_id"])
    assert shown["head"]["hash"] == event["hash"].hex()
    assert datetime.fromisoformat(shown["head"]["recorded_at"]) == event["recorded_at"]
    assert shown["lag"]["events_behind"] == 1
    assert shown["lag"]["seconds_behind"] > 0

    async with connected(await _home(installation, settings, "projector", tenant_id)) as connection:
        await client.project(connection, 100)
    async with connected(await _home(installation, settings, "query", tenant_id)) as connection:
        (balance,) = await client.balances(connection, [event["account_id"]])
        assert balance["current_balance_minor"] == 300
    assert (await manager.get(path)).json()["lag"] == {
        "head_seq": 1,
        "projected_seq": 1,
        "events_behind": 0,
        "seconds_behind": 0.0,
    }


async def test_a_new_tenant_is_shown(manager: httpx.AsyncClient) -> None:
    wanted = new_tenant()
    made = (await manager.post("/v1/tenants", json=wanted)).json()["tenant"]
    shown = (await manager.get(f"/v1/tenants/{wanted['tenant_id']}")).json()
    assert shown.items() >= made.items()
    assert shown["size_bytes"] > 1_000_000
    assert shown["head"] == {"seq": 0, "event_id": None, "hash": None, "recorded_at": None}
    assert shown["reconciliation"] == {
        "reconciled_at": None,
        "ok": None,
        "findings": [],
        "anchor_seq": 0,
    }
    assert shown["last_backup"] is None
    assert made["created_at"].endswith("Z")
    assert len(made["created_at"]) == len("2026-03-01T12:00:00.000000Z")


async def test_a_silent_database_leaves_the_rest_to_be_shown(
    manager: httpx.AsyncClient, installation: Installation
) -> None:
    wanted = new_tenant()
    made = (await manager.post("/v1/tenants", json=wanted)).json()["tenant"]
    async with installation.superuser() as superuser:
        await superuser.execute(
            f"ALTER DATABASE {made['home']['database']} ALLOW_CONNECTIONS false"
        )
    answer = await manager.get(f"/v1/tenants/{wanted['tenant_id']}")
    assert answer.status_code == 200
    assert answer.json().items() >= made.items()
    assert answer.json()["head"] is answer.json()["lag"] is answer.json()["size_bytes"] is None


async def test_reconciliations_are_shown(manager: httpx.AsyncClient, app: FastAPI) -> None:
    tenant_id = await make_tenant(manager)
    finding = {"account_id": "cus_1", "currency": "USD"}
    await (
        components_of(app)
        .find(Catalog)
        .execute(
            "UPDATE reconciliations SET reconciled_at = now(), findings = $2 WHERE tenant_id = $1",
            tenant_id,
            '[{"account_id": "cus_1", "currency": "USD"}]',
        )
    )
    shown = (await manager.get(f"/v1/tenants/{tenant_id}")).json()["reconciliation"]
    assert shown["ok"] is False
    assert shown["findings"] == [finding]
    assert shown["reconciled_at"].endswith("Z")


async def test_the_list_has_every_tenant_once_and_in_order(manager: httpx.AsyncClient) -> None:
    made = {await make_tenant(manager) for _ in range(3)}
    listed: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        parameters = {"limit": "2"} | ({"cursor": cursor} if cursor else {})
        answer = (await manager.get("/v1/tenants", params=parameters)).json()
        assert len(answer["data"]) <= 2
        listed += answer["data"]
        cursor = answer["next_cursor"]
        if cursor is None:
            break
    ids = [tenant["tenant_id"] for tenant in listed]
    assert ids == sorted(set(ids))
    assert made <= set(ids)
    assert all(set(tenant) == set(Tenant.model_fields) for tenant in listed)
    assert (await manager.get("/v1/tenants", params={"limit": 1000})).json()["data"] == listed


@pytest.mark.parametrize("limit", ["", "1", "1000"])
async def test_regions_are_listed(manager: httpx.AsyncClient, limit: str) -> None:
    answer = await manager.get("/v1/regions", params={"limit": limit} if limit else {})
    assert answer.json() == {
        "data": [{"region": "local", "clusters": ["local"]}],
        "next_cursor": None,
    }


async def test_a_lost_template_is_made_again(
    manager: httpx.AsyncClient, installation: Installation
) -> None:
    async with installation.superuser() as superuser:
        await superuser.execute(f"ALTER DATABASE {TEMPLATE} IS_TEMPLATE false")
        await superuser.execute(f"DROP DATABASE {TEMPLATE}")
    assert (await manager.post("/v1/tenants", json=new_tenant())).status_code == 201


async def test_an_old_templates_copy_has_the_partitions_of_the_year_ahead(
    manager: httpx.AsyncClient, installation: Installation
) -> None:
    def last_partition(connection: Connection) -> Awaitable[str]:
        return connection.fetchval(
            "SELECT max(inhrelid::regclass::text) FROM pg_inherits"
            " WHERE inhparent = 'ledger.ledger_events'::regclass"
        )

    async with installation.superuser() as superuser:
        await superuser.execute(f"ALTER DATABASE {TEMPLATE} ALLOW_CONNECTIONS true")
        async with installation.superuser(TEMPLATE) as connection:
            last = await last_partition(connection)
            await connection.execute(f"DROP TABLE {last}")
        await superuser.execute(f"ALTER DATABASE {TEMPLATE} ALLOW_CONNECTIONS false")
        answer = await manager.post("/v1/tenants", json=new_tenant())
        assert answer.status_code == 201
        home = answer.json()["tenant"]["home"]["database"]
        async with installation.superuser(home) as connection:
            assert await last_partition(connection) == last
            owner = await connection.fetchval(
                "SELECT relowner::regrole::text FROM pg_class WHERE oid = $1::text::regclass", last
            )
            assert owner == f"{home}_owner"
            assert await connection.fetchval(
                "SELECT has_table_privilege($1, $2, 'SELECT')", f"{home}_auditor", last
            )
        await superuser.execute(f"ALTER DATABASE {TEMPLATE} IS_TEMPLATE false")
        await superuser.execute(f"DROP DATABASE {TEMPLATE}")
    assert (await manager.post("/v1/tenants", json=new_tenant())).status_code == 201


async def test_nobody_can_connect_to_the_template(installation: Installation) -> None:
    for url in (
        installation.url(TEMPLATE),
        installation.url(TEMPLATE, installation.role, installation.password),
    ):
        with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError):
            await asyncpg.connect(url, timeout=5)
