"""Every right of a customer's session, against a list that says of each why it is no harm.

The list holds for all versions of Postgres that are served: what a new one lets everybody do is
found here before it is anywhere else.
"""

from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from freehold.ledger.client import Connection
from freehold.tenants.catalog import Catalog
from freehold_tenant_manager.catalog.setup import OPEN_RIGHTS
from freehold_tenant_manager.server.roles import CUSTOMER, USUAL_BOUNDS
from integration.tenant_manager.installation import Installation, components_of, make_tenant
from integration.tenant_manager.ledgers import connection_of

LIST = Path(__file__).with_name("customer_rights.txt")
RIGHTS = {
    "function": """
        SELECT DISTINCT p.proname FROM pg_proc AS p
        WHERE p.pronamespace <> 'ledger'::regnamespace
        AND p.provolatile <> 'i' AND has_function_privilege(p.oid, 'EXECUTE')
        AND NOT EXISTS (
            SELECT FROM pg_type AS t WHERE p.oid IN (
                t.typinput, t.typoutput, t.typreceive, t.typsend, t.typmodin, t.typmodout,
                t.typanalyze
            )
            UNION ALL SELECT FROM pg_operator AS o WHERE p.oid IN (o.oprcode, o.oprrest, o.oprjoin)
            UNION ALL SELECT FROM pg_cast AS c WHERE p.oid = c.castfunc
            UNION ALL SELECT FROM pg_am AS m WHERE p.oid = m.amhandler
            UNION ALL SELECT FROM pg_language AS l
            WHERE p.oid IN (l.lanplcallfoid, l.laninline, l.lanvalidator)
            UNION ALL SELECT FROM pg_aggregate AS a WHERE p.oid IN (
                a.aggfnoid, a.aggtransfn, a.aggfinalfn, a.aggcombinefn, a.aggserialfn,
                a.aggdeserialfn, a.aggmtransfn, a.aggminvtransfn, a.aggmfinalfn
            )
        )
    """,
    "setting": """
        SELECT name FROM pg_settings
        WHERE context = 'user' OR has_parameter_privilege(name, 'SET, ALTER SYSTEM')
    """,
    # What information_schema shows follows from rights to the rest (ISO/IEC 9075-11).
    "relation": """
        SELECT relname FROM pg_class
        WHERE relnamespace NOT IN ('ledger'::regnamespace, 'information_schema'::regnamespace)
        AND relkind <> 'i' AND has_schema_privilege(relnamespace, 'USAGE')
        AND has_any_column_privilege(oid, 'SELECT')
    """,
    "change": """
        SELECT relname FROM pg_class WHERE relkind <> 'i' AND (
            has_table_privilege(oid, 'INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')
            OR has_any_column_privilege(oid, 'INSERT, UPDATE, REFERENCES')
        )
    """,
    "language": "SELECT lanname FROM pg_language WHERE has_language_privilege(oid, 'USAGE')",
    "schema": "SELECT nspname FROM pg_namespace WHERE has_schema_privilege(oid, 'USAGE')",
    "large object": "SELECT oid::text FROM pg_largeobject_metadata",
    "creation in a schema": (
        "SELECT nspname FROM pg_namespace WHERE has_schema_privilege(oid, 'CREATE')"
    ),
    "creation in a tablespace": (
        "SELECT spcname FROM pg_tablespace WHERE has_tablespace_privilege(oid, 'CREATE')"
    ),
    # Other tests have made some databases as any superuser makes them.
    "creation in a database": (
        "SELECT datname FROM pg_database WHERE has_database_privilege(oid, 'CREATE, TEMPORARY')"
        " AND NOT starts_with(datname, 'freehold_test_')"
    ),
    "entry to another database": (
        "SELECT datname FROM pg_database WHERE datname <> current_database() AND datallowconn"
        " AND has_database_privilege(oid, 'CONNECT')"
        " AND NOT starts_with(datname, 'freehold_test_')"
    ),
    "foreign data": (
        "SELECT fdwname FROM pg_foreign_data_wrapper"
        " WHERE has_foreign_data_wrapper_privilege(oid, 'USAGE')"
        " UNION ALL SELECT srvname FROM pg_foreign_server"
        " WHERE has_server_privilege(oid, 'USAGE')"
    ),
    "role": (
        "SELECT rolname FROM pg_roles WHERE rolname <> current_user AND pg_has_role(oid, 'MEMBER')"
    ),
    "owned thing": (
        "SELECT classid::regclass::text FROM pg_shdepend"
        " WHERE refobjid = to_regrole(current_user) AND deptype = 'o'"
    ),
    "default privilege for PUBLIC": (
        "SELECT defaclrole::regrole::text FROM pg_default_acl, aclexplode(defaclacl) AS a"
        " WHERE a.grantee = 0"
    ),
}
SEPARATELY = (
    "SELECT lo_from_bytea(0, 'x')",
    "SELECT lo_create(0)",
    "SELECT lo_creat(-1)",
    "SELECT lo_put(1, 0, 'x')",
    "SELECT pg_logical_emit_message(false, 'x', 'x')",
    "SELECT pg_notify('x', 'x')",
    "SELECT pg_advisory_lock(1)",
    "SELECT pg_try_advisory_xact_lock_shared(1, 2)",
    "SELECT pg_export_snapshot()",
    "SELECT pg_current_xact_id()",
    "SELECT txid_current()",
    "DO $$ BEGIN RAISE LOG 'x'; END $$",
    "SELECT * FROM pg_stat_activity",
    "SELECT * FROM pg_stat_get_activity(NULL)",
    "SELECT pg_stat_get_backend_activity(1)",
    "SELECT * FROM pg_locks",
    "SELECT * FROM pg_stat_database",
    "SELECT pg_stat_get_db_xact_commit(1)",
    "SELECT * FROM pg_stat_database_conflicts",
    "SELECT * FROM pg_stat_bgwriter",
    "SELECT * FROM pg_stat_wal",
    "SELECT pg_current_wal_lsn()",
    "SELECT pg_tablespace_size('pg_default')",
    "SELECT pg_notification_queue_usage()",
    "SET temp_file_limit TO -1",
    "SET LOCAL temp_file_limit TO -1",
    "SELECT set_config('temp_file_limit', '-1', false)",
    "RESET temp_file_limit",
    "ALTER ROLE CURRENT_USER SET temp_file_limit TO -1",
    "ALTER ROLE CURRENT_USER RESET temp_file_limit",
    "SET log_min_messages TO debug5",
    "SET log_min_error_statement TO error",
    "ALTER ROLE CURRENT_USER RESET log_min_messages",
    "ALTER ROLE CURRENT_USER VALID UNTIL 'infinity'",
    "CREATE FOREIGN DATA WRAPPER mine",
    "LOAD 'auto_explain'",
    "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC",
    "GRANT SELECT ON ledger.ledger_events TO PUBLIC",
    "DROP OWNED BY CURRENT_USER",
)


@pytest.fixture(scope="module")
async def customer(manager: httpx.AsyncClient, app: FastAPI) -> AsyncIterator[Connection]:
    """A customer's session."""
    async with connection_of(app, await make_tenant(manager), CUSTOMER) as connection:
        yield connection


async def test_every_right_is_listed(customer: Connection) -> None:
    listed = _listed()
    assert set(listed) <= set(RIGHTS)
    for kind, query in RIGHTS.items():
        found = {row[0] for row in await customer.fetch(query)}
        assert found - listed[kind] == set(), kind


@pytest.mark.parametrize("statement", SEPARATELY)
async def test_revoked_rights_are_gone(customer: Connection, statement: str) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await customer.execute(statement, timeout=10)


async def test_reset_all_keeps_enforced_settings(customer: Connection) -> None:
    bounded = {
        "temp_file_limit": f"{USUAL_BOUNDS.temp_files_mb // 1024}GB",
        "log_min_messages": "fatal",
        "log_min_error_statement": "panic",
    }
    for statement in ("SELECT", "RESET ALL", "ALTER ROLE CURRENT_USER RESET ALL"):
        await customer.execute(statement)
        for name, value in bounded.items():
            assert await customer.fetchval(f"SHOW {name}") == value, statement
    kept = await customer.fetchval("SELECT rolconfig FROM pg_roles WHERE rolname = current_user")
    assert {setting.partition("=")[0] for setting in kept} == set(bounded)


LOCKING = (
    "CREATE RULE mine AS ON INSERT TO {} DO INSTEAD NOTHING",
    "CREATE TRIGGER mine BEFORE INSERT ON {} EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "COMMENT ON TABLE {} IS 'mine'",
    "DROP TABLE {}",
    "ALTER TABLE {} RENAME TO mine",
)


@pytest.mark.parametrize("statement", LOCKING)
@pytest.mark.parametrize("table", ["pg_database", "pg_db_role_setting", "ledger.ledger_events"])
async def test_a_statement_that_is_refused_waits_for_no_lock(
    customer: Connection, installation: Installation, statement: str, table: str
) -> None:
    database = await customer.fetchval("SELECT current_database()")
    async with installation.superuser(database) as superuser, superuser.transaction():
        await superuser.execute(f"LOCK TABLE {table} IN ROW EXCLUSIVE MODE")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await customer.execute(statement.format(table), timeout=10)


async def test_what_a_server_leaves_open_is_named(installation: Installation, app: FastAPI) -> None:
    async with components_of(app).find(Catalog).connection() as catalog:
        assert await catalog.fetch(OPEN_RIGHTS) == []
    async with installation.superuser("template1") as as_it_was_made:
        names = [row["name"] for row in await as_it_was_made.fetch(OPEN_RIGHTS)]
    assert "fill the disk with large objects, which no export holds" in names
    assert "see counters of other databases (pg_stat_database)" in names
    assert len(names) == 10


def _listed() -> dict[str, set[str]]:
    """Read the list: names under the kind of right in brackets."""
    listed: dict[str, set[str]] = defaultdict(set)
    kind = ""
    for line in LIST.read_text().splitlines():
        if line.startswith("["):
            kind = line.strip("[]")
        elif line and not line.startswith("#"):
            listed[kind].update(line.split())
    return listed
