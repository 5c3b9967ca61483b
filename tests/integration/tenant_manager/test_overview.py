"""The installation at a glance: what the catalog, tenants' databases and the broker say."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from freehold.ledger import client
from freehold.ledger.client import Connection
from freehold.tenants.catalog import Catalog
from freehold_tenant_manager.contracts.overview import InstallationOverview
from freehold_tenant_manager.overview import survey
from integration.tenant_manager.installation import (
    Installation,
    client_of,
    components_of,
    database_of,
    make_tenant,
    running,
)
from integration.tenant_manager.ledgers import connection_of
from support.builders import append, append_request, new_event
from support.waiting import PATIENCE_S

DAY_S = 86_400


@pytest.fixture
async def app(installation: Installation) -> AsyncIterator[FastAPI]:
    """A tenant-manager that has no tenants but this test's, and whose schedules do not run."""
    settings = installation.settings(
        backup_every_s=10 * DAY_S,
        backup_verify_every_s=20 * DAY_S,
        tenant_timeout_s=PATIENCE_S,
        request_timeout_s=2 * PATIENCE_S,
    )
    async with running(settings) as app:
        yield app


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the tenants asked for as long as a busy machine takes."""
    monkeypatch.setattr(survey, "_TENANTS_S", PATIENCE_S)


@pytest.fixture
async def manager(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(app) as client:
        yield client


@pytest.fixture
async def catalog(app: FastAPI) -> AsyncIterator[Connection]:
    async with components_of(app).find(Catalog).connection() as connection:
        yield connection


async def overview(manager: httpx.AsyncClient) -> dict[str, Any]:
    answer = await manager.get("/v1/overview")
    assert answer.status_code == 200, answer.text
    InstallationOverview.model_validate_json(answer.content)
    body: dict[str, Any] = answer.json()
    return body


async def test_an_empty_installation_has_nothing_to_say(manager: httpx.AsyncClient) -> None:
    nothing = await overview(manager)
    assert set(nothing["tenants"].values()) == {0}
    assert nothing["lag"]["worst"] == nothing["reconciliations"]["tenants_with_findings"] == []
    assert nothing["backups"]["oldest_at"] is nothing["trials"]["oldest_at"] is None
    assert (nothing["broker"], nothing["parked_doorbells"]) == ("unset", None)


async def test_tenants_are_counted_and_the_furthest_behind_named_first(
    app: FastAPI, manager: httpx.AsyncClient
) -> None:
    first, second, third = [await make_tenant(manager) for _ in range(3)]
    for tenant_id, events in ((first, 3), (second, 5)):
        async with connection_of(app, tenant_id, "ingest") as connection:
            await append(connection, [append_request(new_event()) for _ in range(events)])
    await manager.post(f"/v1/tenants/{third}/suspend")
    body = await overview(manager)
    assert body["tenants"].items() >= {"active": 2, "suspended": 1, "deleted": 0}.items()
    lag = body["lag"]
    assert (lag["tenants_asked"], lag["tenants_silent"], lag["tenants_unasked"]) == (3, 0, 0)
    assert lag["events_behind"] == 8
    worst = {each["tenant_id"]: each["events_behind"] for each in lag["worst"]}
    assert worst == {first: 3, second: 5}
    seconds = [each["seconds_behind"] for each in lag["worst"]]
    assert seconds == sorted(seconds, reverse=True)
    assert lag["seconds_behind"] == seconds[0] > 0
    async with connection_of(app, first, "projector") as connection:
        await client.project(connection, 100)
    assert (await overview(manager))["lag"]["events_behind"] == 5


async def test_a_database_that_does_not_answer_is_counted(
    manager: httpx.AsyncClient, installation: Installation
) -> None:
    silent, _ = [await make_tenant(manager) for _ in range(2)]
    database = await database_of(manager, silent)
    async with installation.superuser() as superuser:
        await superuser.execute(f"ALTER DATABASE {database} ALLOW_CONNECTIONS false")
        await superuser.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = $1",
            database,
        )
        try:
            lag = (await overview(manager))["lag"]
        finally:
            await superuser.execute(f"ALTER DATABASE {database} ALLOW_CONNECTIONS true")
    assert (lag["tenants_asked"], lag["tenants_silent"]) == (1, 1)


async def test_tenants_that_there_is_no_time_for_are_counted(
    manager: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_tenant(manager)
    monkeypatch.setattr(survey, "_TENANTS_S", 0)
    lag = (await overview(manager))["lag"]
    assert (lag["tenants_asked"], lag["tenants_silent"], lag["tenants_unasked"]) == (0, 0, 1)


async def test_backups_and_trials_are_late_after_twice_their_time(
    manager: httpx.AsyncClient, catalog: Connection
) -> None:
    fresh, old, untried, without = [await make_tenant(manager) for _ in range(4)]
    await back_up(catalog, fresh, days=1, tried_days=1)
    await back_up(catalog, fresh, days=40)
    await back_up(catalog, old, days=21, tried_days=39)
    await back_up(catalog, untried, days=41)
    await back_up(catalog, untried, days=1, status="damaged")
    await catalog.execute(
        "UPDATE tenants SET created_at = now() - interval '30 days' WHERE tenant_id = $1", without
    )
    body = await overview(manager)
    backups, trials = body["backups"], body["trials"]
    assert (backups["every_s"], trials["every_s"]) == (10 * DAY_S, 20 * DAY_S)
    assert (backups["tenants_without"], backups["tenants_late"]) == (1, 3)
    assert backups["damaged"] == 1
    oldest = await catalog.fetchval("SELECT max(created_at) FROM backups WHERE tenant_id = $1", old)
    assert backups["oldest_at"] < oldest.isoformat()
    assert (trials["tenants_without"], trials["tenants_late"]) == (2, 1)
    await manager.post(f"/v1/tenants/{untried}/suspend")
    assert (await overview(manager))["trials"]["tenants_late"] == 1


async def test_tenants_whose_state_differs_are_named(
    manager: httpx.AsyncClient, catalog: Connection
) -> None:
    tenants = sorted([await make_tenant(manager) for _ in range(7)])
    for tenant_id in tenants:
        findings = "[]" if tenant_id == tenants[0] else '[{"account_id": "cus_42"}]'
        await catalog.execute(
            "UPDATE reconciliations SET reconciled_at = now(), findings = $2 WHERE tenant_id = $1",
            tenant_id,
            findings,
        )
    found = (await overview(manager))["reconciliations"]
    assert found["tenants_with_findings"] == tenants[1:6]
    assert found["tenants_with_findings_count"] == 6
    assert found["oldest_at"]


async def back_up(
    catalog: Connection,
    tenant_id: str,
    *,
    days: int,
    tried_days: int | None = None,
    status: str = "complete",
) -> None:
    """Record a backup that is so many days old, and so many since its trial."""
    await catalog.execute(
        "INSERT INTO backups (backup_id, tenant_id, status, object_path, epoch, schema_version,"
        " head_seq, head_hash, created_at, bytes, sha256, verified_at)"
        " VALUES (gen_random_uuid(), $1, $2, 'nowhere', 1, 1, 0, '', now() - $3::integer * interval"
        " '1 day', 1, 'sum', now() - $4::integer * interval '1 day')",
        tenant_id,
        status,
        days,
        tried_days,
    )
