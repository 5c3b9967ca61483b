"""A tenant leaves with one file: it restores anywhere, and proves itself without Freehold."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import httpx
import pytest
from fastapi import FastAPI
from starlette.types import Message, Receive, Scope, Send

from freehold.ledger.client import Connection
from freehold.tenants.catalog import Catalog
from freehold_tenant_manager.dumps.client_programs import ClientPrograms
from freehold_tenant_manager.settings import Settings
from integration.query.proxy import proxy_to
from integration.tenant_manager.installation import (
    OPERATOR_TOKEN,
    Installation,
    client_of,
    components_of,
    database_of,
    make_tenant,
    running,
)
from integration.tenant_manager.ledgers import append_some, connection_of, filled_tenant
from integration.tenant_manager.listener import listening
from support.answers import problem
from support.locks import until_one_waits
from support.restoration import pg_restore, psql
from support.servers import postgres_server
from support.streams import collect
from support.waiting import PATIENCE_S, eventually

EVENTS = 500
LATER_SETTING = "SET transaction_timeout = 0;"
"""What pg_dump 17 and later write and servers before that refuse, here in an event."""


@pytest.fixture(scope="module")
async def filled(app: FastAPI, manager: httpx.AsyncClient) -> tuple[str, str]:
    """A tenant with events, and their key."""
    tenant_id, key = await filled_tenant(app, manager, events=EVENTS)
    await append_some(app, tenant_id, 1, note=LATER_SETTING)
    return tenant_id, key


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of the customer's own, which never heard of Freehold."""
    with postgres_server(tmp_path_factory.mktemp("elsewhere")) as url:
        yield url


@asynccontextmanager
async def _database(elsewhere: str, name: str) -> AsyncIterator[str]:
    server = await asyncpg.connect(elsewhere)
    await server.execute(f"CREATE DATABASE {name}")
    try:
        yield urlsplit(elsewhere)._replace(path=f"/{name}").geturl()
    finally:
        await server.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await server.close()


async def _facts(connection: Connection) -> list[object]:
    """What a ledger says of itself: its proof, its end, its balances, its events."""
    verification = await connection.fetchrow("SELECT * FROM ledger.verify()")
    assert verification
    assert verification["ok"]
    return [
        tuple(verification),
        tuple(await connection.fetchrow("SELECT * FROM ledger.head()") or ()),
        await connection.fetch("SELECT * FROM ledger.balances('{cus_1,cus_7}') ORDER BY 1, 2"),
        await connection.fetch("SELECT * FROM ledger.events(max_rows => 10000)"),
        await connection.fetch("SELECT * FROM ledger.reconcile()"),
    ]


@pytest.mark.parametrize(("form", "restore"), [("sql", psql), ("custom", pg_restore)])
async def test_an_export_works_without_freehold(
    app: FastAPI,
    manager: httpx.AsyncClient,
    filled: tuple[str, str],
    elsewhere: str,
    tmp_path: Path,
    form: str,
    restore: Callable[[str, Path], object],
) -> None:
    tenant_id, _ = filled
    answer = await manager.get(f"/v1/tenants/{tenant_id}/export", params={"format": form})
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    ending = {"sql": "sql", "custom": "dump"}[form]
    disposition = answer.headers["content-disposition"]
    assert disposition.startswith(f'attachment; filename="{tenant_id}-')
    assert disposition.endswith(f'.{ending}"')
    if form == "sql":
        # Once, and that is the ledger's own.
        assert answer.text.count(LATER_SETTING) == 1
        assert f"\n{LATER_SETTING}" not in answer.text
    file = tmp_path / "export"
    file.write_bytes(answer.content)
    async with _database(elsewhere, f"export_{form}") as url:
        restored = restore(url, file)
        assert asyncio.iscoroutine(restored)
        await restored
        there = await asyncpg.connect(url)
        async with connection_of(app, tenant_id, "auditor") as here:
            assert await _facts(there) == await _facts(here)
        # What is immutable stays so, even for that server's superuser.
        with pytest.raises(asyncpg.PostgresError):
            await there.execute("DELETE FROM ledger.ledger_events")
        await there.close()


async def test_an_export_names_no_role_and_grants_nothing(
    app: FastAPI,
    manager: httpx.AsyncClient,
    filled: tuple[str, str],
    installation: Installation,
    settings: Settings,
) -> None:
    tenant_id, key = filled
    text = (await manager.get(f"/v1/tenants/{tenant_id}/export")).text
    assert "OWNER TO" not in text
    assert "\nGRANT " not in text
    details = (await manager.get(f"/v1/tenants/{tenant_id}")).json()
    async with connection_of(app, tenant_id, "backup") as connection:
        role = str(await connection.fetchval("SELECT current_user"))
    secrets = (OPERATOR_TOKEN, installation.password, key, settings.operator_token, role)
    for name in (details["home"]["database"], installation.role, *map(str, secrets)):
        assert name not in text


async def test_a_tenant_exports_their_own_ledger_and_no_other(
    app: FastAPI, manager: httpx.AsyncClient, filled: tuple[str, str]
) -> None:
    tenant_id, key = filled
    async with client_of(app) as client:
        client.headers["Authorization"] = f"Bearer {key}"
        own = await client.get("/v1/export")
        assert own.status_code == 200
        assert own.headers["content-disposition"].startswith(f'attachment; filename="{tenant_id}-')
        assert own.content.count(b"\tCHARGE\t") >= EVENTS
        problem(await client.get(f"/v1/tenants/{tenant_id}/export"), "unauthorized")

        keys = f"/v1/tenants/{tenant_id}/api-keys"
        made = (await manager.post(keys, json={"scopes": ["read", "audit", "ingest"]})).json()
        client.headers["Authorization"] = f"Bearer {made['api_key']}"
        problem(await client.get("/v1/export"), "missing-scope")

        made = (await manager.post(keys, json={"scopes": ["export"]})).json()
        client.headers["Authorization"] = f"Bearer {made['api_key'][:-1]}"
        problem(await client.get("/v1/export"), "unauthorized")
        client.headers["Authorization"] = f"Bearer {made['api_key']}"
        assert (await client.get("/v1/export", params={"format": "custom"})).status_code == 200
        await manager.delete(f"{keys}/{made['key_id']}")
        problem(await client.get("/v1/export"), "unauthorized")
        client.headers["Authorization"] = f"Bearer {OPERATOR_TOKEN}"
        problem(await client.get("/v1/export"), "unauthorized")


async def test_a_refused_export_says_why(
    manager: httpx.AsyncClient, filled: tuple[str, str]
) -> None:
    problem(await manager.get("/v1/tenants/unknown/export"), "not-found")
    path = f"/v1/tenants/{filled[0]}/export"
    problem(await manager.get(path, params={"format": "csv"}), "validation-failed")
    problem(await manager.get(path, params={"compress": "yes"}), "validation-failed")


async def test_a_tenant_of_an_earlier_release_is_to_be_migrated_first(
    app: FastAPI, manager: httpx.AsyncClient
) -> None:
    tenant_id, _ = await filled_tenant(app, manager, events=1)
    await (
        components_of(app)
        .find(Catalog)
        .execute(
            "DELETE FROM credentials AS c USING tenants AS t WHERE t.tenant_id = $1"
            " AND c.database_name = t.database_name AND c.service = 'backup'",
            tenant_id,
        )
    )
    answer = await manager.get(f"/v1/tenants/{tenant_id}/export")
    problem(answer, "unavailable")
    assert "migrations" in answer.json()["detail"]


async def test_a_missing_database_is_reported_before_a_file_begins(
    app: FastAPI, manager: httpx.AsyncClient, installation: Installation
) -> None:
    tenant_id, _ = await filled_tenant(app, manager, events=1)
    database = await database_of(manager, tenant_id)
    await installation.drop_database(database)
    answer = await manager.get(f"/v1/tenants/{tenant_id}/export")
    problem(answer, "unavailable")
    assert answer.headers["retry-after"]
    assert database not in answer.text


async def test_a_silent_server_is_reported_before_a_file_begins(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        proxy_to(*installation.address) as proxy,
        running(installation.settings(cluster_host="127.0.0.1", cluster_port=proxy.port)) as app,
        client_of(app) as operator,
        listening(app) as client,
    ):
        tenant_id, _ = await filled_tenant(app, operator, events=10)
        path = f"/v1/tenants/{tenant_id}/export"
        database = await database_of(operator, tenant_id)
        async with installation.superuser(database) as superuser, superuser.transaction():
            # The dump comes this far for certain, and hears no more of it.
            await superuser.execute("LOCK TABLE ledger.ledger_events")
            with monkeypatch.context() as patched:
                # Long enough for a dump to come so far on a busy machine.
                patched.setattr("freehold_tenant_manager.exports.exports._BEGINNING_S", 5)
                asked = asyncio.create_task(client.get(path))
                await until_one_waits(superuser)
                assert len(await asyncio.to_thread(_dumps_under_way)) == 1
                proxy.fall_silent()
                async with asyncio.timeout(PATIENCE_S):
                    answer = await asked
            problem(answer, "unavailable")
            assert answer.headers["retry-after"]
            assert await asyncio.to_thread(_dumps_under_way) == []
        proxy.speak()
        assert (await client.get(path)).status_code == 200


def _dumps_under_way() -> list[Path]:
    """The programs that this process has started and that have not ended."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            name, _, rest = (process / "stat").read_text().partition("(")[2].rpartition(")")
            if name == "pg_dump" and rest.split()[1] == str(os.getpid()):
                found.append(process)
    return found


@pytest.fixture
async def slow(installation: Installation, settings: Settings) -> AsyncIterator[FastAPI]:
    """A process on the same catalog that exports no faster than can be looked at."""
    slow_settings = installation.settings(
        settings.catalog_name, dump_bytes_per_s=200_000, exports_in_flight_max=2
    )
    async with running(slow_settings) as app:
        yield app


async def test_an_incomplete_export_is_not_taken_for_a_complete_one(
    app: FastAPI, slow: FastAPI, manager: httpx.AsyncClient, installation: Installation
) -> None:
    tenant_id, _ = await filled_tenant(app, manager, events=1)
    # More than pipes and sockets hold, so that the server is still at it.
    await append_some(app, tenant_id, 10_000, note="x" * 400)
    async with connection_of(app, tenant_id, "backup") as connection:
        role = str(await connection.fetchval("SELECT current_user"))
    async with (
        listening(slow) as client,
        client.stream("GET", f"/v1/tenants/{tenant_id}/export") as answer,
    ):
        assert answer.status_code == 200
        pieces = answer.aiter_raw()
        await anext(pieces)
        async with installation.superuser() as superuser:
            await superuser.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE usename = $1 AND application_name = 'freehold-tenant-manager'",
                role,
            )
        with pytest.raises(httpx.RemoteProtocolError):
            await collect(pieces)


async def test_concurrent_exports_are_limited_and_a_client_that_leaves_frees_a_slot(
    app: FastAPI, slow: FastAPI, manager: httpx.AsyncClient
) -> None:
    tenants = [(await filled_tenant(app, manager, events=3_000))[0] for _ in range(3)]
    paths = [f"/v1/tenants/{tenant_id}/export" for tenant_id in tenants]
    async with listening(slow) as client:
        async with client.stream("GET", paths[0]), client.stream("GET", paths[1]):
            again = await client.get(paths[0])
            problem(again, "too-many-requests")
            assert int(again.headers["retry-after"]) >= 1
            more = await client.get(paths[2])
            problem(more, "overloaded")
            assert int(more.headers["retry-after"]) >= 1

        async def is_let_in() -> bool:
            async with client.stream("GET", paths[2]) as answer:
                return answer.status_code == 200

        await eventually(is_let_in, "a place of those who left")


async def test_a_client_with_a_whole_export_may_have_another_at_once(
    app: FastAPI, manager: httpx.AsyncClient, filled: tuple[str, str]
) -> None:
    path = f"/v1/tenants/{filled[0]}/export"
    others: list[httpx.Response] = []

    async def asking_again_at_the_end(scope: Scope, receive: Receive, send: Send) -> None:
        async def ask_and_send(message: Message) -> None:
            if message["type"] == "http.response.body" and not message.get("more_body"):
                others.append(await manager.get(path))
            await send(message)

        await app(scope, receive, ask_and_send)

    async with client_of(asking_again_at_the_end) as client:
        assert (await client.get(path)).status_code == 200
    assert [other.status_code for other in others] == [200]


async def test_programs_of_every_version_here_are_found() -> None:
    assert (await ClientPrograms().find("pg_dump", 15)).name == "pg_dump"


async def test_an_export_of_an_unfinished_tenant_is_to_be_repeated_later(
    app: FastAPI, manager: httpx.AsyncClient
) -> None:
    tenant_id = await make_tenant(manager)
    catalog = components_of(app).find(Catalog)
    put = "UPDATE tenants SET status = $2, created_at = now() WHERE tenant_id = $1"
    await catalog.execute(put, tenant_id, "provisioning")
    problem(await manager.get(f"/v1/tenants/{tenant_id}/export"), "unavailable")
    # Others count the tenants who are in the making.
    await catalog.execute(put, tenant_id, "active")
