"""Starting: on an empty server, again, in replicas at once, after a crash, before Postgres."""

import asyncio
from typing import Any

import asyncpg
import pytest

from freehold_tenant_manager.application import build_application
from freehold_tenant_manager.foundation import Foundation
from freehold_tenant_manager.provisioning.templates import TEMPLATE
from freehold_tenant_manager.settings import Settings
from integration.query.proxy import proxy_to
from integration.tenant_manager.installation import (
    KEY_RING,
    Installation,
    becomes_ready,
    client_of,
    new_tenant,
    running,
    service_password,
)
from support.answers import problem
from support.waiting import PATIENCE_S


async def set_up(settings: Settings) -> None:
    await Foundation(settings, KEY_RING).setup.run()


async def test_replicas_may_start_at_once_and_again(installation: Installation) -> None:
    settings = installation.settings()
    await asyncio.gather(*(set_up(settings) for _ in range(4)))
    await set_up(settings)
    async with installation.superuser(settings.catalog_name) as connection:
        clusters = await connection.fetch("SELECT cluster, region FROM catalog.clusters")
        assert [tuple(row) for row in clusters] == [("local", "local")]
        is_public: bool = await connection.fetchval(
            "SELECT has_database_privilege('pg_monitor', current_database(), 'CONNECT, TEMPORARY')"
        )
        assert not is_public


async def test_a_half_made_template_is_made_anew(installation: Installation) -> None:
    settings = installation.settings()
    await set_up(settings)
    async with installation.superuser() as superuser:
        await superuser.execute(f"ALTER DATABASE {TEMPLATE} IS_TEMPLATE false")
        await superuser.execute(f"ALTER DATABASE {TEMPLATE} RENAME TO {TEMPLATE}_in_the_making")
    await set_up(settings)
    async with installation.superuser() as superuser:
        rows = await superuser.fetch(
            "SELECT datname, datistemplate, datallowconn FROM pg_database"
            " WHERE starts_with(datname, $1)",
            TEMPLATE,
        )
    assert [tuple(row) for row in rows] == [(TEMPLATE, True, False)]


async def test_services_get_new_passwords(installation: Installation) -> None:
    settings = installation.settings(query_password="another-password")
    catalog = settings.catalog_name
    await set_up(settings)
    dsn = installation.url(catalog, "freehold_query", "another-password")
    connection = await asyncpg.connect(dsn, timeout=10)
    await connection.close(timeout=10)
    settings = installation.settings(catalog)
    await set_up(settings)
    dsn = installation.url(catalog, "freehold_query", service_password("query"))
    connection = await asyncpg.connect(dsn, timeout=10)
    await connection.close(timeout=10)


async def test_passwords_are_kept_as_scram_verifiers(
    installation: Installation, settings: Settings
) -> None:
    await set_up(settings)
    async with installation.superuser() as superuser:
        rows = await superuser.fetch(
            "SELECT rolpassword FROM pg_authid WHERE rolcanlogin AND rolname ~ '^freehold_'"
        )
    assert rows
    assert all(row["rolpassword"].startswith("SCRAM-SHA-256$4096:") for row in rows)


async def test_an_address_for_the_services_may_be_given(installation: Installation) -> None:
    settings = installation.settings(
        cluster="main", region="eu", cluster_host="postgres", cluster_port=6432
    )
    await set_up(settings)
    async with installation.superuser(settings.catalog_name) as connection:
        row = await connection.fetchrow("SELECT cluster, region, host, port FROM catalog.clusters")
    assert row is not None
    assert tuple(row) == ("main", "eu", "postgres", 6432)


async def test_it_waits_for_postgres(installation: Installation) -> None:
    async with proxy_to(*installation.address) as proxy:
        settings = installation.settings(address=("127.0.0.1", proxy.port))
        await proxy.stop()
        app = build_application(settings)
        async with app.router.lifespan_context(app), client_of(app) as manager:
            assert (await manager.get("/healthz")).status_code == 200
            not_ready = await manager.get("/readyz")
            assert not_ready.status_code == 503
            assert not_ready.json()["checks"] == {"catalog": False, "clock": True, "set_up": False}
            refused = await manager.post("/v1/tenants", json=new_tenant())
            problem(refused, "unavailable")
            assert (await manager.get("/v1/tenants")).status_code == 503

            await proxy.start()
            await becomes_ready(manager)
            assert (await manager.get("/v1/tenants")).status_code == 200


async def test_it_survives_a_lost_catalog(installation: Installation) -> None:
    async with proxy_to(*installation.address) as proxy:
        settings = installation.settings(
            address=("127.0.0.1", proxy.port), request_timeout_s=PATIENCE_S
        )
        async with running(settings) as app, client_of(app) as manager:
            await proxy.stop()
            assert (await manager.get("/v1/tenants")).status_code == 503
            answer = await manager.post("/v1/tenants", json=new_tenant())
            assert answer.status_code == 503
            assert answer.headers["retry-after"]
            await becomes_ready(manager, status=503)
            await proxy.start()
            await becomes_ready(manager)
            assert (await manager.post("/v1/tenants", json=new_tenant())).status_code == 201


@pytest.mark.parametrize(
    "choices",
    [
        {"operator_token": "short"},
        {"query_password": "short"},
        {"query_password": "p\N{LATIN SMALL LETTER A WITH DIAERESIS}ssw\N{SNOWMAN}rd"},
        {"catalog_dsn": "postgresql:///catalog"},
        {"region": "Not a name"},
        {"provisioning_in_flight_max": 8},
        {"colour": "red"},
    ],
)
def test_bad_settings_are_refused(installation: Installation, choices: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        installation.settings("freehold_catalog", **choices)
