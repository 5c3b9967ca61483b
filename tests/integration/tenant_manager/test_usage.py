"""What tenants use: sampled on a real server, kept in the catalog, shown by the API and metrics."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from freehold.ledger import client
from freehold.ledger.client import Connection
from freehold.tenants.catalog import Catalog
from freehold_tenant_manager.contracts.usage import TenantUsageDetails, UsagePage
from freehold_tenant_manager.usage.gauges import UsageGauges
from freehold_tenant_manager.usage.sampler import Sampler
from freehold_tenant_manager.usage.store import list_usage
from integration.tenant_manager.installation import (
    Installation,
    client_of,
    components_of,
    make_tenant,
    running,
)
from integration.tenant_manager.ledgers import connection_of
from support.builders import append, append_request, new_event
from support.waiting import PATIENCE_S, eventually


@pytest.fixture
async def app(installation: Installation) -> AsyncIterator[FastAPI]:
    """A tenant-manager that has no tenants but this test's, and samples when it is asked to."""
    settings = installation.settings(
        usage_every_s=10 * PATIENCE_S,
        tenant_timeout_s=PATIENCE_S,
        request_timeout_s=2 * PATIENCE_S,
        metrics_tenants_max=1,
    )
    async with running(settings) as app:
        yield app


@pytest.fixture
async def manager(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(app) as client:
        yield client


@pytest.fixture
async def catalog(app: FastAPI) -> AsyncIterator[Connection]:
    async with components_of(app).find(Catalog).connection() as connection:
        yield connection


async def usage_of(manager: httpx.AsyncClient, **parameters: str | int) -> dict[str, Any]:
    answer = await manager.get("/v1/usage", params=parameters)
    assert answer.status_code == 200, answer.text
    UsagePage.model_validate_json(answer.content)
    body: dict[str, Any] = answer.json()
    return body


async def sample(app: FastAPI, catalog: Connection) -> None:
    """Go round once, and keep a sample."""
    await catalog.execute("UPDATE usage_rounds SET due_at = '-infinity', keep_due_at = '-infinity'")
    await components_of(app).find(Sampler).sample_if_due()


async def append_events(app: FastAPI, tenant_id: str, events: int) -> None:
    async with connection_of(app, tenant_id, "ingest") as connection:
        await append(connection, [append_request(new_event()) for _ in range(events)])


async def project(app: FastAPI, tenant_id: str) -> None:
    async with connection_of(app, tenant_id, "projector") as connection:
        await client.project(connection, 100)


async def sampled(
    app: FastAPI, catalog: Connection, manager: httpx.AsyncClient, tenant_id: str, **figures: Any
) -> dict[str, Any]:
    """Sample until a tenant's figures are these: the server counts writes with some delay."""

    async def look() -> dict[str, Any] | None:
        await sample(app, catalog)
        body = await usage_of(manager)
        found = {each["tenant_id"]: each for each in body["data"]}[tenant_id]
        return body if figures.items() <= found.items() else None

    return await eventually(look, f"{figures} of {tenant_id}", every_s=0.2)


async def test_a_tenant_s_figures_are_sampled(
    app: FastAPI, catalog: Connection, manager: httpx.AsyncClient
) -> None:
    busy, idle = await make_tenant(manager), await make_tenant(manager)
    await append_events(app, busy, 3)
    body = await sampled(app, catalog, manager, busy, events=3, events_behind=3)
    first, second = sorted(body["data"], key=lambda each: each["tenant_id"] != busy)
    assert first["seconds_behind"] > 0
    assert first["size_bytes"] > 1_000_000
    assert first["archived_at"] is None or first["archive_behind_s"] == 0
    assert (second["tenant_id"], second["events"], second["events_behind"]) == (idle, 0, 0)
    assert first["size_share"] + second["size_share"] == pytest.approx(1)
    assert body["totals"]["tenants"] == 2
    assert body["totals"]["events_behind"] == 3
    assert body["totals"]["size_bytes"] == first["size_bytes"] + second["size_bytes"]
    assert body["totals"]["parked_doorbells"] is None
    await project(app, busy)
    body = await sampled(app, catalog, manager, busy, events=3, events_behind=0, accounts=1)
    assert body["totals"]["seconds_behind"] == 0


async def test_an_idle_tenant_s_database_is_not_asked_again(
    app: FastAPI, catalog: Connection, manager: httpx.AsyncClient
) -> None:
    tenant_id = await make_tenant(manager)

    async def times() -> tuple[Any, Any]:
        await sample(app, catalog)
        (row,) = await catalog.fetch(
            "SELECT asked_at, known_at FROM tenant_usage WHERE tenant_id = $1", tenant_id
        )
        return row["asked_at"], row["known_at"]

    async def settled() -> tuple[Any, Any] | None:
        (asked, known), (asked_again, known_again) = await times(), await times()
        return (known, known_again) if asked == asked_again else None

    before, after = await eventually(settled, "a round without a question")
    assert after > before


async def test_work_is_shared_out_among_those_who_caused_it(
    app: FastAPI, catalog: Connection, manager: httpx.AsyncClient
) -> None:
    busy, idle = await make_tenant(manager), await make_tenant(manager)
    await sample(app, catalog)
    async with connection_of(app, busy, "query") as connection:
        await connection.execute("SELECT pg_sleep(1.5)")

    async def look() -> dict[str, Any] | None:
        await sample(app, catalog)
        found = {each["tenant_id"]: each for each in (await usage_of(manager))["data"]}
        return found if found[busy]["database_s"] >= 1.4 else None

    found = await eventually(look, "the server's count of busy seconds", every_s=0.2)
    assert found[busy]["cpu_share"] > found[idle]["cpu_share"]
    assert sum(each["cpu_share"] for each in found.values()) == pytest.approx(1)


async def test_lists_are_ordered_by_any_figure_and_paged(
    app: FastAPI, catalog: Connection, manager: httpx.AsyncClient
) -> None:
    tenants = sorted([await make_tenant(manager) for _ in range(3)])
    for events, tenant_id in enumerate(tenants, start=1):
        await append_events(app, tenant_id, events)
        await sampled(app, catalog, manager, tenant_id, events=events)
    assert [each["tenant_id"] for each in (await usage_of(manager))["data"]] == tenants
    first = await usage_of(manager, order="events", limit=2)
    second = await usage_of(manager, order="events", limit=2, cursor=first["next_cursor"])
    shown = [each["tenant_id"] for each in first["data"] + second["data"]]
    assert (shown, second["next_cursor"]) == (tenants[::-1], None)
    assert first["totals"]["events"] == second["totals"]["events"] == 6
    other = await manager.get("/v1/usage", params={"cursor": first["next_cursor"]})
    assert other.status_code == 422
    unknown = await manager.get("/v1/usage", params={"order": "beauty"})
    assert unknown.status_code == 422


async def test_a_tenant_s_usage_is_shown_over_time(
    app: FastAPI, catalog: Connection, manager: httpx.AsyncClient
) -> None:
    tenant_id = await make_tenant(manager)
    await sampled(app, catalog, manager, tenant_id, events=0)
    await append_events(app, tenant_id, 3)
    await sampled(app, catalog, manager, tenant_id, events=3)
    await catalog.execute(
        "INSERT INTO slow_reads VALUES ($1, current_date, 'totals', 0.5, now(), NULL)", tenant_id
    )
    answer = await manager.get(f"/v1/tenants/{tenant_id}/usage")
    details = TenantUsageDetails.model_validate_json(answer.content)
    assert [details.series[0].events, details.series[-1].events] == [0, 3]
    assert details.series[0].seconds == 0 < details.series[-1].seconds
    assert [(read.call, read.seconds) for read in details.slowest_reads] == [("totals", 0.5)]
    assert details.usage.slowest_read_s == 0.5
    assert (await manager.get("/v1/tenants/nobody/usage")).status_code == 404


async def test_old_samples_are_thinned_to_one_a_day_and_then_removed(
    app: FastAPI, catalog: Connection, manager: httpx.AsyncClient
) -> None:
    tenant_id = await make_tenant(manager)
    await catalog.execute("DELETE FROM usage_samples")
    await catalog.execute(
        "INSERT INTO usage_samples SELECT $1, date_trunc('day', now()) - interval '100 days'"
        " + n * interval '6 hours', n, n, n, 0, 0, 0, 0, 0, 0, 0, 0"
        " FROM generate_series(0, 400) AS n",
        tenant_id,
    )
    await sample(app, catalog)
    rows = await catalog.fetch(
        "SELECT date_trunc('day', sampled_at) AS day, count(*) AS samples, max(events) AS events"
        " FROM usage_samples WHERE sampled_at < date_trunc('day', now()) GROUP BY 1 ORDER BY 1"
    )
    assert {row["samples"] for row in rows[:-2]} == {1}
    assert [row["events"] % 4 for row in rows[:-2]] == [3] * (len(rows) - 2)
    assert rows[-1]["samples"] == 4
    assert 89 <= len(rows) <= 91


async def test_metrics_name_the_most_active_tenants_and_the_rest(
    app: FastAPI, catalog: Connection, manager: httpx.AsyncClient
) -> None:
    first, second = await make_tenant(manager), await make_tenant(manager)
    await append_events(app, first, 2)
    await append_events(app, second, 3)
    await sampled(app, catalog, manager, first, events=2)
    await sampled(app, catalog, manager, second, events=3)
    gauges = components_of(app).find(UsageGauges)
    await gauges.show()
    series = await tenant_series(manager)
    assert set(series) - {"_rest"} < {first, second}
    assert len(series) == 2
    assert sum(series.values()) == 5
    (named,) = set(series) - {"_rest"}
    await manager.delete(f"/v1/tenants/{named}", params={"confirm": named})

    async def gone() -> bool:
        await gauges.show()
        return named not in await tenant_series(manager)

    await eventually(gone, "no series of a deleted tenant")


async def test_nothing_of_a_deleted_tenant_s_usage_is_kept(
    app: FastAPI, catalog: Connection, manager: httpx.AsyncClient
) -> None:
    tenant_id = await make_tenant(manager)
    await sample(app, catalog)
    await catalog.execute("INSERT INTO tenant_traffic (tenant_id) VALUES ($1)", tenant_id)
    await catalog.execute(
        "INSERT INTO slow_reads VALUES ($1, current_date, 'balances', 1, now(), 1)", tenant_id
    )
    kept = """
        SELECT tenant_id FROM tenant_usage UNION ALL SELECT tenant_id FROM usage_samples
        UNION ALL SELECT tenant_id FROM tenant_traffic UNION ALL SELECT tenant_id FROM slow_reads
    """
    assert len(await catalog.fetch(kept)) == 4
    await manager.delete(f"/v1/tenants/{tenant_id}", params={"confirm": tenant_id})

    async def forgotten() -> bool:
        return not await catalog.fetch(kept)

    await eventually(forgotten, "no usage of a deleted tenant")


async def tenant_series(manager: httpx.AsyncClient) -> dict[str, float]:
    """Give the values of one metric by its tenants."""
    text = (await manager.get("/metrics")).text
    lines = [line for line in text.splitlines() if line.startswith("freehold_tenant_events{")]
    return {line.split('"')[1]: float(line.rpartition(" ")[2]) for line in lines}


async def test_a_thousand_tenants_are_listed(
    app: FastAPI, catalog: Connection, manager: httpx.AsyncClient
) -> None:
    await catalog.execute(
        "INSERT INTO tenants (tenant_id, name, region, isolation, status, cluster, database_name,"
        " schema_name) SELECT 't' || n, 'T', 'local', 'database', 'active', 'local',"
        " 'fh_none_' || n, 'ledger' FROM generate_series(1, 1000) AS n"
    )
    await sample(app, catalog)
    assert len(await list_usage(catalog)) == 1000
    page = await usage_of(manager, order="size_bytes", limit=1000)
    assert len(page["data"]) == page["totals"]["tenants"] == 1000
