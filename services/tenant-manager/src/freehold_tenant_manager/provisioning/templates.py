"""The template: a database with an empty ledger, of which every tenant's is a copy.

It is named after the migrations that made it, and has that name only once complete and sealed.
Then nobody can connect to it any more: a session there would hold up every creation.
"""

import structlog

from freehold.ledger.client import Connection
from freehold.ledger.schema import LEDGER_DIGEST, LEDGER_MIGRATIONS, LEDGER_SCHEMA
from freehold_tenant_manager.locks import Lock, locked
from freehold_tenant_manager.migration.migrating import migrate
from freehold_tenant_manager.server import Server
from freehold_tenant_manager.statements import (
    NEW_DATABASE,
    TEMPLATE_OWNER,
    drop_database,
    execute_formatted,
    execute_with,
)

_log = structlog.get_logger(__name__)

TEMPLATE = f"freehold_template_{LEDGER_DIGEST[:12]}"
TEMPLATE_OWNER_ROLE = "freehold_template_owner"
_IN_THE_MAKING = f"{TEMPLATE}_in_the_making"
_TIMEOUT_S = 60.0


async def ensure_template(connection: Connection, server: Server) -> None:
    """Make the template, unless it exists. What a crash left of an earlier try is dropped first.

    Args:
        connection: To the catalog's database, where all replicas take their locks.
        server: Where the template is made.
    """
    async with locked(connection, Lock.TEMPLATE, timeout_s=_TIMEOUT_S):
        exists: bool = await connection.fetchval(
            "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", TEMPLATE
        )
        if exists:
            return
        await drop_database(connection, _IN_THE_MAKING, timeout_s=_TIMEOUT_S)
        await execute_with(
            connection,
            TEMPLATE_OWNER,
            {"freehold.template_owner": TEMPLATE_OWNER_ROLE},
            timeout_s=_TIMEOUT_S,
        )
        # The database is ours, and only what is in it is the owner role's: REASSIGN OWNED in a
        # tenant's database would otherwise give the template itself away.
        await _run(connection, NEW_DATABASE, _IN_THE_MAKING)
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
        await migrate(connection, LEDGER_MIGRATIONS, LEDGER_SCHEMA)
        await _run(
            connection, "REVOKE ALL ON ALL FUNCTIONS IN SCHEMA %I FROM PUBLIC", LEDGER_SCHEMA
        )
        await connection.execute("RESET ROLE")
        await _run(
            connection, "REVOKE CREATE ON DATABASE %I FROM %I", _IN_THE_MAKING, TEMPLATE_OWNER_ROLE
        )
        # Copies start with rows that never need freezing again, and with the planner informed.
        await connection.execute("VACUUM (FREEZE, ANALYZE)", timeout=_TIMEOUT_S)


async def _seal(connection: Connection) -> None:
    async with connection.transaction():
        await _run(connection, "ALTER DATABASE %I RENAME TO %I", _IN_THE_MAKING, TEMPLATE)
        await _run(
            connection, "ALTER DATABASE %I IS_TEMPLATE true ALLOW_CONNECTIONS false", TEMPLATE
        )


async def _run(connection: Connection, template: str, *names: str) -> None:
    await execute_formatted(connection, template, *names, timeout_s=_TIMEOUT_S)
