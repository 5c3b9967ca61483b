"""A server that does not keep what Freehold relies on is refused by name, within seconds."""

import asyncio
import gc
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from structlog.testing import capture_logs

from freehold.database.fitness import UnfitServerError, examine
from freehold.messaging import fitness as broker_fitness
from freehold.messaging.fitness import UnfitBrokerError
from freehold_local.database import examine_given
from freehold_local.errors import StackError
from freehold_query.application import make_application
from freehold_query.settings import Settings as QuerySettings
from freehold_tenant_manager.application import build_application
from integration.tenant_manager.installation import CREDENTIAL_KEYS, Installation
from support.poolers import pgbouncer
from support.waiting import eventually

IGNORED = ",".join(
    [
        *("search_path", "statement_timeout", "extra_float_digits"),
        *("intervalstyle", "bytea_output", "default_transaction_isolation"),
    ]
)
POOLERS = {
    "refuses a connection's parameters": {"pool_mode": "transaction"},
    "drops parameters of a connection (search_path, statement_timeout": {
        "pool_mode": "session",
        "ignore_startup_parameters": IGNORED,
    },
    "its pool_mode is not session": {
        "pool_mode": "transaction",
        "ignore_startup_parameters": IGNORED,
        "connect_query": "SET search_path = freehold_examined; SET statement_timeout = ''59s''",
    },
}


@asynccontextmanager
async def role_with(installation: Installation, setting: str) -> AsyncIterator[str]:
    """Have a role that begins with a setting, and yield its URL."""
    role = f"freehold_test_{secrets.token_hex(6)}"
    async with installation.superuser() as superuser:
        await superuser.execute(f"CREATE ROLE {role} LOGIN CREATEDB CREATEROLE PASSWORD 'secret'")
        await superuser.execute(f"GRANT CONNECT ON DATABASE postgres TO {role}")
        await superuser.execute(f"ALTER ROLE {role} SET {setting}")
        yield installation.url("postgres", role, "secret")
        await superuser.execute(f"REVOKE CONNECT ON DATABASE postgres FROM {role}")
        await superuser.execute(f"DROP ROLE {role}")


async def test_a_server_without_a_pooler_will_do(installation: Installation) -> None:
    await examine(installation.server_url, timeout_s=10)


@pytest.mark.parametrize("fault", POOLERS)
async def test_a_pooler_is_named(installation: Installation, fault: str) -> None:
    with pgbouncer(installation.server_url, **POOLERS[fault]) as url:
        with pytest.raises(UnfitServerError) as refused:
            await examine(url, timeout_s=10)
        assert "PgBouncer" in str(refused.value)
        assert fault in str(refused.value)
        # As `make up` says it, before it starts or stops anything.
        with pytest.raises(StackError, match=r"_POSTGRES_URL will not do: .*PgBouncer"):
            await asyncio.to_thread(examine_given, url, connections=100)


@pytest.mark.parametrize(
    "setting", ["synchronous_commit = off", "default_transaction_read_only = on"]
)
async def test_a_setting_that_breaks_a_promise_is_named(
    installation: Installation, setting: str
) -> None:
    async with role_with(installation, setting) as url:
        with pytest.raises(UnfitServerError, match=setting.partition(" ")[0]):
            await examine(url, timeout_s=10)


async def test_another_version_is_named(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("freehold.database.fitness.POSTGRES_VERSIONS", range(8, 10))
    with pytest.raises(UnfitServerError, match=r"it is PostgreSQL \d+; 8 to 9 will do"):
        await examine(installation.server_url, timeout_s=10)


async def test_too_few_connections_are_doubtful(installation: Installation) -> None:
    async with role_with(installation, "jit = off") as url:
        doubts = await asyncio.to_thread(examine_given, url, connections=100_000)
    assert any("max_connections" in doubt for doubt in doubts)


async def test_services_say_why_they_are_not_ready(installation: Installation) -> None:
    made = installation.settings()
    url = installation.url("postgres", installation.role, installation.password)
    drops = POOLERS["drops parameters of a connection (search_path, statement_timeout"]
    with pgbouncer(url, **drops) as pooler:
        dsn = pooler.replace("/postgres", f"/{made.catalog_name}")
        settings = {**made.model_dump(), "catalog_dsn": dsn}
        manager = build_application(type(made)(**settings))
        query = make_application(QuerySettings(catalog_dsn=pooler, credential_keys=CREDENTIAL_KEYS))
        for app, check in ((manager, "set_up"), (query, "catalog")):
            async with (
                app.router.lifespan_context(app),
                httpx.AsyncClient(
                    transport=httpx.ASGITransport(app), base_url="http://service"
                ) as client,
            ):

                async def told(client: httpx.AsyncClient = client, check: str = check) -> bool:
                    answer = await client.get("/readyz")
                    assert answer.status_code == 503
                    reason = answer.json().get("reasons", {}).get(check, "")
                    return "PgBouncer" in reason and reason in answer.json()["detail"]

                await eventually(told, f"{check} is given a reason")


async def test_what_a_broker_refuses_is_named(amqp_url: str) -> None:
    await broker_fitness.examine(amqp_url, timeout_s=10)
    for url, fault in (
        (amqp_url.replace("://freehold:", "://freehold:not-"), "the user or the password"),
        (f"{amqp_url}no-such-vhost", "no such vhost"),
    ):
        with pytest.raises(UnfitBrokerError, match=fault):
            await broker_fitness.examine(url, timeout_s=10)
    # The driver closes what it could not open when that is collected, and needs a loop for it.
    gc.collect()
    await asyncio.sleep(0)


async def test_a_service_that_starts_before_the_catalog_waits_for_it_quietly(
    installation: Installation,
) -> None:
    dsn = installation.url("no_such_catalog", installation.role, installation.password)
    app = make_application(QuerySettings(catalog_dsn=dsn, credential_keys=CREDENTIAL_KEYS))
    with capture_logs() as logs:
        async with app.router.lifespan_context(app):

            async def waits() -> bool:
                return any(line["event"] == "waiting for the catalog" for line in logs)

            await eventually(waits, "it says that it waits")
    # Other tests' services may log meanwhile.
    assert {line["log_level"] for line in logs if "no_such_catalog" in str(line)} == {"info"}
