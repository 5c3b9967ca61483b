"""Each of a tenant's roles, tried against everything that it must not reach or do."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from freehold.contracts.fields import EARLIEST
from freehold.ledger import client, holds, rules, search
from freehold.ledger.activity import ActivityFilters, activity_span
from freehold.ledger.append import Capture, Outcome
from freehold.ledger.client import Connection
from freehold.ledger.findings import differences
from freehold.ledger.proofs import event_proof
from freehold.tenants.homes import Home
from freehold_tenant_manager.provisioning.templates import TEMPLATE
from freehold_tenant_manager.server.roles import SERVICES
from freehold_tenant_manager.settings import Settings
from integration.tenant_manager.installation import (
    Installation,
    components_of,
    connected,
    make_tenant,
)
from integration.tenant_manager.ledgers import home_of
from support.builders import append, append_request, new_event, new_hold
from support.waiting import eventually

Homes = dict[str, Home]

TABLES = (
    "ledger_events",
    "ledger_head",
    "ledger_settings",
    "external_ids",
    "reversals",
    "idempotency_keys",
    "holds",
    "event_types",
    "account_limits",
    "searchable_metadata",
    "account_balances",
    "account_blocks",
    "block_pages",
    "activity_rollups",
    "metadata_indexes",
    "metadata_values",
    "projection_checkpoint",
    "rule_changes",
    "schema_migrations",
)
PER_TABLE = (
    "SELECT * FROM {table}",
    "SELECT FROM {table} FOR UPDATE",
    "INSERT INTO {table} SELECT * FROM {table}",
    "INSERT INTO {table} DEFAULT VALUES",
    "DELETE FROM {table}",
    "TRUNCATE {table}",
    "TRUNCATE {table} CASCADE",
    "LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE",
    "COPY {table} TO STDOUT",
    "ALTER TABLE {table} DISABLE TRIGGER ALL",
    "ALTER TABLE {table} ADD COLUMN extra text",
    "ALTER TABLE {table} OWNER TO CURRENT_USER",
    "DROP TABLE {table} CASCADE",
    "CREATE INDEX ON {table} ((1))",
    "CREATE TRIGGER mine BEFORE INSERT ON {table} EXECUTE FUNCTION refuse_change()",
)
UPDATES = (
    "UPDATE ledger_events SET amount_minor = 1",
    "UPDATE ledger_head SET last_seq = 0",
    "UPDATE ledger_settings SET partition_span = 'month'",
    "UPDATE external_ids SET external_id = 'x'",
    "UPDATE reversals SET event_id = event_id",
    "UPDATE idempotency_keys SET fingerprint = 'x'",
    "UPDATE holds SET settled_event_id = NULL",
    "UPDATE event_types SET sign = 'any'",
    "UPDATE account_limits SET min_balance_minor = 0",
    "UPDATE account_balances SET current_balance_minor = 0",
    "UPDATE projection_checkpoint SET last_seq = 0",
    "UPDATE rule_changes SET subject = 'x'",
    "UPDATE schema_migrations SET version = 9",
)
NEVER = (
    # Making things: nothing in anybody's way, no place to keep data, no trap for others.
    "CREATE TABLE mine (x integer)",
    "CREATE TABLE public.mine (x integer)",
    "CREATE TEMPORARY TABLE mine (x integer)",
    "CREATE SCHEMA mine",
    "CREATE VIEW mine AS SELECT 1",
    "CREATE FUNCTION mine() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
    "CREATE FUNCTION pg_temp.mine() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
    "CREATE TYPE mine AS (x integer)",
    "CREATE EXTENSION pg_trgm",
    "CREATE PUBLICATION mine FOR ALL TABLES",
    "CREATE EVENT TRIGGER mine ON ddl_command_end EXECUTE FUNCTION refuse_change()",
    "CREATE DATABASE mine",
    "CREATE ROLE mine",
    # Changing the rules.
    "ALTER FUNCTION append SECURITY INVOKER",
    "DROP FUNCTION verify",
    "CREATE OR REPLACE FUNCTION head(OUT x bigint) LANGUAGE sql AS 'SELECT 1::bigint'",
    "DROP SCHEMA ledger CASCADE",
    "ALTER SCHEMA ledger RENAME TO other",
    "ALTER DEFAULT PRIVILEGES FOR ROLE {owner} GRANT ALL ON TABLES TO PUBLIC",
    "ALTER DATABASE {database} RENAME TO other",
    "ALTER DATABASE {database} SET search_path TO pg_temp",
    "DROP DATABASE {other_database}",
    "ALTER SYSTEM SET fsync TO off",
    "SET session_replication_role TO replica",
    # Becoming somebody else.
    "SET ROLE {owner}",
    "SET ROLE {other_role}",
    "SET ROLE {manager}",
    "SET ROLE freehold_template_owner",
    "SET ROLE pg_read_all_data",
    "SET SESSION AUTHORIZATION {owner}",
    "GRANT {owner} TO CURRENT_USER",
    "ALTER ROLE CURRENT_USER SUPERUSER",
    "ALTER ROLE CURRENT_USER CREATEROLE",
    "ALTER ROLE CURRENT_USER CONNECTION LIMIT -1",
    "ALTER ROLE {other_role} PASSWORD 'mine'",
    "REASSIGN OWNED BY {owner} TO CURRENT_USER",
    # The server's files, programs, passwords and other sessions.
    "COPY (SELECT 1) TO PROGRAM 'true'",
    "COPY (SELECT 1) TO '/tmp/mine'",
    "SELECT pg_read_file('PG_VERSION')",
    "SELECT pg_ls_dir('.')",
    "SELECT lo_import('/etc/hostname')",
    "SELECT * FROM pg_authid",
    "SELECT pg_terminate_backend({other_session})",
    "SELECT pg_cancel_backend({other_session})",
    "SELECT pg_reload_conf()",
)
# Whoever has a right but may not give it away is warned, and nothing is given.
GRANTS = (
    "GRANT ALL ON ALL TABLES IN SCHEMA ledger TO PUBLIC",
    "GRANT ALL ON ALL FUNCTIONS IN SCHEMA ledger TO PUBLIC",
    "GRANT ALL ON SCHEMA ledger TO PUBLIC",
    "GRANT ALL ON DATABASE {database} TO PUBLIC",
)
RIGHTS = """
    SELECT array_agg(acl::text ORDER BY acl::text) FROM (
        SELECT relacl FROM pg_class WHERE relnamespace = 'ledger'::regnamespace
        UNION ALL SELECT proacl FROM pg_proc WHERE pronamespace = 'ledger'::regnamespace
        UNION ALL SELECT nspacl FROM pg_namespace
        UNION ALL SELECT datacl FROM pg_database WHERE datname = current_database()
    ) AS rights (acl)
"""
APPEND = "SELECT * FROM append(NULL)"
FUNCTIONS = {
    "ingest": {
        "agreed_now",
        "append",
        "close_event_types",
        "declare_event_type",
        "declared_event_types",
        "head",
        "limit_account",
        "limits_of",
    },
    "projector": {
        "agreed_now",
        "event_at",
        "expire_holds",
        "forget_expired_keys",
        "head",
        "make_partitions",
        "project",
        "projection_lag",
        "rebuild",
        "reconcile",
        "reconcile_activity",
        "reconcile_metadata",
        "verify",
    },
    "query": {
        "account_span",
        "activity",
        "activity_span",
        "agreed_now",
        "balances",
        "balances_at",
        "balances_over_time",
        "changed_balances",
        "declare_searchable_metadata",
        "declared_event_types",
        "event",
        "event_at",
        "event_proof",
        "events",
        "head",
        "hold_events",
        "legs",
        "limits_of",
        "balance_before",
        "list_balances",
        "list_balances_at",
        "list_holds",
        "projection_lag",
        "reconcile",
        "searchable_keys",
        "statement_lines",
        "statement_totals",
        "strong_balances",
        "totals",
        "undoing",
        "verify",
    },
    "auditor": {
        "account_span",
        "activity",
        "activity_span",
        "balances",
        "balances_at",
        "balances_over_time",
        "canonical_json",
        "declared_event_types",
        "event",
        "event_at",
        "event_bytes",
        "event_proof",
        "events",
        "head",
        "hold_events",
        "legs",
        "limits_of",
        "balance_before",
        "list_balances",
        "list_balances_at",
        "list_holds",
        "projection_lag",
        "reconcile",
        "searchable_keys",
        "statement_lines",
        "statement_totals",
        "strong_balances",
        "totals",
        "undoing",
        "utf8_length",
        "verify",
    },
    "manager": {
        "event_at",
        "head",
        "projection_lag",
        "reconcile",
        "reconcile_activity",
        "reconcile_metadata",
        "seq_known_at",
        "verify",
    },
    "backup": {"head", "segment_end", "segment_events", "segment_keys", "segment_rules", "verify"},
}
READERS = ("auditor", "backup")
MAY_READ = ("SELECT * FROM {table}", "COPY {table} TO STDOUT")


@pytest.fixture(scope="module")
async def homes(manager: httpx.AsyncClient, app: FastAPI) -> Homes:
    """A tenant's home, for each of their roles."""
    return await _new_homes(manager, app)


@pytest.fixture(scope="module")
async def other_homes(manager: httpx.AsyncClient, app: FastAPI) -> Homes:
    return await _new_homes(manager, app)


@pytest.fixture(scope="module")
async def connections(homes: Homes) -> AsyncIterator[dict[str, Connection]]:
    """Each role's connection to its own tenant's database, where there is an event."""
    async with AsyncExitStack() as open_ones:
        connections: dict[str, Connection] = {
            service: await open_ones.enter_async_context(connected(homes[service]))
            for service in SERVICES
        }
        await append(connections["ingest"], [append_request(new_event(external_id="x"))])
        yield connections


async def _new_homes(manager: httpx.AsyncClient, app: FastAPI) -> Homes:
    tenant_id = await make_tenant(manager)
    return {service: await home_of(components_of(app), tenant_id, service) for service in SERVICES}


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("place", ["other tenant", "template", "catalog"])
async def test_a_role_enters_its_own_database_only(
    homes: Homes, other_homes: Homes, settings: Settings, place: str, service: str
) -> None:
    database = {
        "other tenant": other_homes[service].database,
        "template": TEMPLATE,
        "catalog": settings.catalog_name,
    }[place]
    # The template refuses everybody; the others lack a right.
    with pytest.raises(
        (asyncpg.InsufficientPrivilegeError, asyncpg.ObjectNotInPrerequisiteStateError)
    ):
        async with connected(replace(homes[service], database=database)):
            pass


async def test_the_owner_cannot_log_in(homes: Homes) -> None:
    home = homes["ingest"]
    with pytest.raises(
        (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidPasswordError)
    ):
        async with connected(replace(home, role=f"{home.database}_owner", password="")):
            pass


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("table", TABLES)
async def test_tables_are_out_of_reach(
    connections: dict[str, Connection], table: str, service: str
) -> None:
    for statement in PER_TABLE:
        if service in READERS and statement in MAY_READ:
            continue
        await _refused(connections[service], statement.format(table=table))


@pytest.mark.parametrize("service", SERVICES)
async def test_partitions_are_out_of_reach(
    connections: dict[str, Connection], homes: Homes, service: str
) -> None:
    partitions = await connections["auditor"].fetch(
        "SELECT inhrelid::regclass::text FROM pg_inherits"
        " WHERE inhparent = 'ledger_events'::regclass"
    )
    assert partitions
    for (partition,) in partitions:
        for statement in PER_TABLE:
            if service in READERS and statement in MAY_READ:
                continue
            await _refused(connections[service], statement.format(table=partition))


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("statement", UPDATES)
async def test_nothing_can_be_updated(
    connections: dict[str, Connection], statement: str, service: str
) -> None:
    await _refused(connections[service], statement)


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("statement", NEVER)
async def test_forbidden_statements_are_refused_to_every_role(
    connections: dict[str, Connection],
    homes: Homes,
    other_homes: Homes,
    installation: Installation,
    statement: str,
    service: str,
) -> None:
    neighbour = next(name for name in SERVICES if name != service)
    await _refused(
        connections[service],
        statement.format(
            owner=f"{homes[service].database}_owner",
            database=homes[service].database,
            other_database=other_homes[service].database,
            other_role=homes[neighbour].role,
            manager=installation.role,
            other_session=connections[neighbour].get_server_pid(),
        ),
    )


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("statement", GRANTS)
async def test_rights_cannot_be_granted_to_others(
    connections: dict[str, Connection], homes: Homes, statement: str, service: str
) -> None:
    connection = connections[service]
    before = await connection.fetchval(RIGHTS)
    transaction = connection.transaction()
    await transaction.start()
    with suppress(asyncpg.InsufficientPrivilegeError):
        await connection.execute(statement.format(database=homes[service].database))
        assert await connection.fetchval(RIGHTS) == before
    await transaction.rollback()


@pytest.mark.parametrize("service", SERVICES)
async def test_a_role_runs_its_own_functions_only(
    connections: dict[str, Connection], service: str
) -> None:
    rows = await connections[service].fetch(
        "SELECT proname, prokind, has_function_privilege(oid, 'EXECUTE') AS allowed FROM pg_proc"
        " WHERE pronamespace = 'ledger'::regnamespace"
    )
    assert {row["proname"] for row in rows if row["allowed"]} == FUNCTIONS[service]
    assert len(rows) > len(FUNCTIONS[service])


@pytest.mark.parametrize(
    ("service", "statement"),
    [
        ("ingest", "SELECT * FROM project(1)"),
        ("ingest", "SELECT * FROM balances('{{a}}')"),
        ("ingest", "SELECT rebuild()"),
        ("ingest", "SELECT * FROM expire_holds()"),
        ("ingest", "SELECT forget_expired_keys(1)"),
        ("ingest", "SELECT settle_expired_holds(NULL, now(), now())"),
        ("projector", "SELECT * FROM events()"),
        ("projector", "SELECT limit_account('a', 'USD', 0)"),
        ("projector", "SELECT settle_expired_holds(NULL, now(), now())"),
        ("query", "SELECT * FROM project(1)"),
        ("query", "SELECT close_event_types(true)"),
        ("query", "SELECT * FROM with_events('{}')"),
        ("query", "SELECT make_partitions()"),
        ("auditor", "SELECT * FROM project(1)"),
        ("auditor", "SELECT rebuild()"),
        ("auditor", "SELECT limit_account('a', 'USD', NULL)"),
        ("auditor", "SELECT declare_searchable_metadata('{}')"),
        ("ingest", "SELECT declare_searchable_metadata('{}')"),
        ("auditor", "SELECT * FROM expire_holds()"),
        *((service, APPEND) for service in ("projector", "query", "manager", "auditor", "backup")),
        ("manager", "SELECT rebuild()"),
        ("manager", "SELECT * FROM events()"),
        ("backup", "SELECT make_partitions()"),
    ],
)
async def test_other_services_functions_are_refused(
    connections: dict[str, Connection], service: str, statement: str
) -> None:
    await _refused(connections[service], statement)


@pytest.mark.parametrize("service", READERS)
async def test_readers_read_everything_and_prove_it(
    connections: dict[str, Connection], service: str
) -> None:
    reader = connections[service]
    for table in TABLES:
        await reader.fetch(f"SELECT * FROM {table}")
    verification = await client.verify(reader)
    assert verification.ok
    assert verification.events_checked == 1


async def test_each_role_has_all_the_rights_that_its_work_takes(
    connections: dict[str, Connection],
) -> None:
    ingest, projector, query = (connections[name] for name in ("ingest", "projector", "query"))
    await rules.declare_event_type(ingest, "CHARGE", "any", "")
    await rules.close_event_types(ingest, closed=True)
    await rules.limit_account(ingest, "cus_1", "USD", -1000)
    expires_at = datetime.now(UTC) + timedelta(seconds=2)
    pair = [new_event("cus_2", -5), new_event("cus_1", 5)]
    placed, passing, transaction = await append(
        ingest,
        [
            append_request(new_hold(amount_minor=500)),
            append_request(new_hold(amount_minor=100, expires_at=expires_at)),
            append_request(*pair, transaction=True),
        ],
    )
    await append(ingest, [append_request(Capture(placed.events[0]["hold_id"], 300))])
    (refused,) = await append(ingest, [append_request(new_event("cus_1", -5000))])
    assert refused.outcome is Outcome.INSUFFICIENT_FUNDS

    async def none_left() -> bool:
        return (await client.expire_holds(projector)).next_hold_expiry is None

    await eventually(none_left, "the hold expires")
    assert (await client.project(projector, 100)).next_hold_expiry is None
    assert await client.forget_expired_keys(projector, 10) == 0
    await rules.declare_searchable_metadata(query, ["order_id"])
    assert (await client.project(projector, 100)).unindexed is False
    assert await rules.searchable_keys(query) == ["order_id"]
    for reader in (projector, connections["manager"]):
        assert await differences(reader) == []
    (balance,) = await client.balances(query, ["cus_1"])
    assert (balance["current_balance_minor"], balance["held_minor"]) == (-195, 0)
    for reader in (query, connections["auditor"]):
        assert len(await client.legs(reader, transaction.events[0]["event_id"])) == 2
        hold_id = passing.events[0]["hold_id"]
        assert len(await holds.hold_events(reader, hold_id)) == 2
        assert len(await holds.list_holds(reader, holds_max=9)) == 2
        assert await event_proof(reader, hold_id) is not None
        assert len(await rules.limits_of(reader, "cus_1")) == 1
    for reader in (query, connections["auditor"]):
        assert await search.events(reader, rows_max=1)
        assert await activity_span(reader, EARLIEST, datetime.now(UTC), ActivityFilters())
        assert (await rules.event_types(reader)).closed
    assert (await client.verify(connections["auditor"])).ok


async def _refused(connection: Connection, statement: str) -> None:
    """Run a statement that must fail for want of a right, and change nothing if it does not."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        with pytest.raises(asyncpg.PostgresError) as refusal:
            await asyncio.wait_for(_run(connection, statement), 10)
    finally:
        await transaction.rollback()
    assert isinstance(refusal.value, REFUSALS), (statement, refusal.value)


async def _run(connection: Connection, statement: str) -> Any:
    if statement.startswith("COPY") and statement.endswith("STDOUT"):
        table = statement.split()[1]
        return await connection.copy_from_table(table, output=_nowhere)
    return await connection.execute(statement)


async def _nowhere(_: bytes) -> None:
    pass


REFUSALS = (
    asyncpg.InsufficientPrivilegeError,
    # CREATE TABLE without a schema to make it in; CREATE DATABASE in a transaction.
    asyncpg.InvalidSchemaNameError,
    asyncpg.ActiveSQLTransactionError,
)
