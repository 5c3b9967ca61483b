"""The template: a database with an empty ledger, which every tenant's database is a copy of.

Its name contains the digest of the SQL that made it. It gets that name when it is complete and
closed to connections: a session there would block every creation.
"""

import structlog

from freehold.database.queries import load_queries, load_script
from freehold.ledger.client import Connection
from freehold.ledger.schema import LEDGER_SCHEMA, LEDGER_SOURCE
from freehold_tenant_manager.server.locks import Lock, locked
from freehold_tenant_manager.server.migrator import migrate
from freehold_tenant_manager.server.server import Server
from freehold_tenant_manager.server.statements import (
    create_database,
    database_exists,
    drop_database,
    execute_formatted,
    execute_with,
)

_PACKAGE = "freehold_tenant_manager.provisioning"
_QUERIES = load_queries(_PACKAGE, "queries.sql")
_TEMPLATE_OWNER = load_script(_PACKAGE, "template_owner.sql")

_log = structlog.get_logger(__name__)

TEMPLATE = f"freehold_template_{LEDGER_SOURCE.digest[:12]}"
TEMPLATE_OWNER_ROLE = "freehold_template_owner"
_IN_THE_MAKING = f"{TEMPLATE}_in_the_making"
_TIMEOUT_S = 60.0


async def ensure_template(connection: Connection, server: Server) -> None:
    """Make the template, unless it exists. Leftovers of an earlier try are dropped first.

    All replicas take their locks in the catalog's database, which `connection` leads to.
    """
    async with locked(connection, Lock.TEMPLATE, timeout_s=_TIMEOUT_S):
        if await database_exists(connection, TEMPLATE, timeout_s=_TIMEOUT_S):
            return
        await drop_database(connection, _IN_THE_MAKING, timeout_s=_TIMEOUT_S)
        await execute_with(
            connection,
            _TEMPLATE_OWNER,
            {"freehold.template_owner": TEMPLATE_OWNER_ROLE},
            timeout_s=_TIMEOUT_S,
        )
        # The owner role owns the database's content, not the database: REASSIGN OWNED in a copy
        # would otherwise reassign the template as well.
        await create_database(connection, _IN_THE_MAKING, timeout_s=_TIMEOUT_S)
        await _run(connection, "REVOKE ALL ON DATABASE %I FROM PUBLIC", _IN_THE_MAKING)
        await _fill(server)
        await _seal(connection)
    _log.info("template made", database=TEMPLATE)


async def _fill(server: Server) -> None:
    async with server.connection(_IN_THE_MAKING) as connection:
        await connection.execute("DROP SCHEMA public")
        await _run(
            connection, "GRANT CREATE ON DATABASE %I TO %I", _IN_THE_MAKING, TEMPLATE_OWNER_ROLE
        )
        await _run(connection, "SET ROLE %I", TEMPLATE_OWNER_ROLE)
        await migrate(connection, LEDGER_SOURCE, LEDGER_SCHEMA)
        await _run(
            connection, "REVOKE ALL ON ALL FUNCTIONS IN SCHEMA %I FROM PUBLIC", LEDGER_SCHEMA
        )
        await connection.execute("RESET ROLE")
        await _run(
            connection, "REVOKE CREATE ON DATABASE %I FROM %I", _IN_THE_MAKING, TEMPLATE_OWNER_ROLE
        )
        # Copies start with frozen rows and with statistics for the planner.
        vacuum: str = await connection.fetchval(_QUERIES["vacuum_command"])
        await connection.execute(vacuum, timeout=_TIMEOUT_S)


async def _seal(connection: Connection) -> None:
    async with connection.transaction():
        await _run(connection, "ALTER DATABASE %I RENAME TO %I", _IN_THE_MAKING, TEMPLATE)
        await _run(
            connection, "ALTER DATABASE %I IS_TEMPLATE true ALLOW_CONNECTIONS false", TEMPLATE
        )


async def _run(connection: Connection, template: str, *names: str) -> None:
    await execute_formatted(connection, template, *names, timeout_s=_TIMEOUT_S)
