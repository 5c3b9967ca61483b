"""The services' logins in the catalog: each sees what is its own, and nothing of another's."""

from collections.abc import AsyncIterator

import asyncpg
import httpx
import pytest

from freehold.ledger.client import Connection
from freehold_tenant_manager.settings import Settings
from integration.tenant_manager.installation import SERVICES, Installation, service_password

TABLES = (
    "announcement_leases",
    "api_keys",
    "backups",
    "clusters",
    "credentials",
    "customer_roles",
    "data_keys",
    "final_exports",
    "hold_expiries",
    "homes",
    "ingest_instances",
    "installation",
    "ledger_migrations",
    "operation_rows",
    "operations",
    "operator_acts",
    "operator_acts_head",
    "operators",
    "pool_databases",
    "reconciliations",
    "retired_databases",
    "schema_migrations",
    "service_api_keys",
    "service_homes",
    "sign_in_links",
    "slow_reads",
    "tenant_epochs",
    "tenant_migrations",
    "tenant_rows",
    "tenant_traffic",
    "tenant_usage",
    "tenants",
    "unshipped_changes",
    "usage_rounds",
    "usage_samples",
)
RIGHTS = {
    "ingest": {
        "announcement_leases": {"SELECT", "INSERT", "DELETE"},
        "ingest_instances": {"SELECT", "INSERT", "UPDATE", "DELETE"},
        "service_api_keys": {"SELECT"},
        "service_homes": {"SELECT"},
        "tenant_traffic": {"SELECT", "INSERT", "UPDATE"},
    },
    "projector": {
        "hold_expiries": {"SELECT", "INSERT", "UPDATE", "DELETE"},
        "reconciliations": {"SELECT", "UPDATE"},
        "service_homes": {"SELECT"},
        "tenant_traffic": {"SELECT", "INSERT", "UPDATE"},
    },
    "query": {
        "service_api_keys": {"SELECT"},
        "service_homes": {"SELECT"},
        "sign_in_links": {"SELECT", "DELETE"},
        "slow_reads": {"SELECT", "INSERT", "UPDATE"},
        "tenant_traffic": {"SELECT", "INSERT", "UPDATE"},
    },
}
ALL_RIGHTS = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER")
NEVER = (
    "CREATE TABLE mine (x integer)",
    "CREATE TEMPORARY TABLE mine (x integer)",
    "CREATE SCHEMA mine",
    "CREATE VIEW mine AS SELECT * FROM service_homes",
    "CREATE ROLE mine",
    "CREATE DATABASE mine",
    "SELECT * FROM credentials",
    "SELECT * FROM api_keys",
    "SELECT * FROM data_keys",
    "SELECT * FROM homes",
    "INSERT INTO tenants SELECT * FROM tenants",
    "UPDATE service_api_keys SET tenant_id = 'mine'",
    "DELETE FROM service_api_keys",
    "SET ROLE {manager}",
    "SET ROLE freehold_template_owner",
    "SET ROLE {neighbour}",
    "ALTER ROLE {neighbour} PASSWORD 'mine'",
    "COPY (SELECT 1) TO PROGRAM 'true'",
    "SELECT pg_read_file('PG_VERSION')",
)


@pytest.fixture(params=SERVICES)
def service(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def login(
    service: str, tenant_id: str, installation: Installation, settings: Settings
) -> AsyncIterator[Connection]:
    """A service's own connection to the catalog."""
    connection = await asyncpg.connect(
        installation.url(settings.catalog_name, f"freehold_{service}", service_password(service)),
        timeout=10,
        server_settings={"search_path": "catalog"},
    )
    yield connection
    await connection.close(timeout=10)


async def test_a_service_sees_its_own_credentials_only(
    login: Connection, service: str, tenant_id: str
) -> None:
    (home,) = await login.fetch("SELECT * FROM service_homes WHERE tenant_id = $1", tenant_id)
    assert home["role_name"] == f"{home['database_name']}_{service}"
    roles = await login.fetch("SELECT role_name FROM service_homes")
    assert all(row["role_name"].endswith(f"_{service}") for row in roles)


@pytest.mark.parametrize(
    ("view", "key", "leak"),
    [
        # The error of a function tells what it was given, and a cheap one is run early.
        (
            "service_homes",
            "role_name",
            "has_database_privilege(encode(sealed_password, 'escape'), 'CONNECT')",
        ),
        ("service_homes", "role_name", "has_database_privilege(role_name, 'CONNECT')"),
        ("service_api_keys", "key_id", "has_database_privilege(key_id, 'CONNECT')"),
    ],
)
async def test_a_condition_is_run_on_no_row_of_others(
    login: Connection,
    service: str,
    manager: httpx.AsyncClient,
    tenant_id: str,
    view: str,
    key: str,
    leak: str,
) -> None:
    """Neither on another service's credentials nor on a revoked key."""
    if view not in RIGHTS[service]:
        return
    created = await manager.post(f"/v1/tenants/{tenant_id}/api-keys", json={"scopes": ["read"]})
    await manager.delete(f"/v1/tenants/{tenant_id}/api-keys/{created.json()['key_id']}")
    own = [row[key] for row in await login.fetch(f"SELECT {key} FROM {view}")]
    with pytest.raises(asyncpg.PostgresError):
        await login.fetch(f"SELECT FROM {view} WHERE {leak}")
    # Once its own rows are taken out, nothing is left that could be told.
    rows = await login.fetch(f"SELECT FROM {view} WHERE {leak} AND {key} <> ALL ($1)", own)
    assert rows == []


async def test_a_service_has_the_rights_it_needs_and_no_more(
    login: Connection, service: str
) -> None:
    rows = await login.fetch(
        "SELECT relname, p.privilege FROM pg_class, unnest($1::text[]) AS p (privilege)"
        " WHERE relnamespace = 'catalog'::regnamespace AND relkind IN ('r', 'v')"
        " AND has_table_privilege(pg_class.oid, p.privilege)",
        ALL_RIGHTS,
    )
    found: dict[str, set[str]] = {}
    for row in rows:
        found.setdefault(row["relname"], set()).add(row["privilege"])
    assert found == RIGHTS[service]
    present = await login.fetch(
        "SELECT relname FROM pg_class"
        " WHERE relnamespace = 'catalog'::regnamespace AND relkind IN ('r', 'v')"
    )
    assert {row["relname"] for row in present} == set(TABLES)


@pytest.mark.parametrize("statement", NEVER)
async def test_forbidden_statements_are_refused_to_every_role(
    login: Connection, service: str, installation: Installation, statement: str
) -> None:
    neighbour = next(f"freehold_{name}" for name in SERVICES if name != service)
    with pytest.raises((asyncpg.InsufficientPrivilegeError, asyncpg.InvalidSchemaNameError)):
        await login.execute(
            statement.format(manager=installation.role, neighbour=neighbour), timeout=10
        )


async def test_service_roles_cannot_enter_tenants_databases(
    login: Connection, service: str, tenant_id: str, installation: Installation
) -> None:
    home = await login.fetchval(
        "SELECT database_name FROM service_homes WHERE tenant_id = $1", tenant_id
    )
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await asyncpg.connect(
            installation.url(home, f"freehold_{service}", service_password(service)), timeout=10
        )
