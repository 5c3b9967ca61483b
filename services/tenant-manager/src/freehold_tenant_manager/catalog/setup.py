"""Sets the catalog up at every start: database, schema, the services' logins, this server's row.

Safe to repeat and to run in several replicas at once. Nothing here runs as a superuser.
"""

from contextlib import suppress

import asyncpg
import structlog

from freehold.ledger.client import Connection
from freehold.tenancy.catalog import CATALOG_SCHEMA
from freehold_tenant_manager.locks import Lock, locked
from freehold_tenant_manager.migration.migrating import migrate
from freehold_tenant_manager.provisioning.scram import scram_verifier
from freehold_tenant_manager.provisioning.templates import ensure_template
from freehold_tenant_manager.server import Server
from freehold_tenant_manager.settings import Settings
from freehold_tenant_manager.statements import (
    CATALOG_GRANTS,
    CATALOG_MIGRATIONS,
    NEW_DATABASE,
    SERVICE_LOGIN,
    execute_formatted,
    execute_with,
)

_log = structlog.get_logger(__name__)

_MAINTENANCE_DATABASE = "postgres"
_STATEMENT_TIMEOUT_S = 30.0
_WAIT_TIMEOUT_S = 120.0


async def set_up(server: Server, settings: Settings) -> None:
    """Bring the server to where this release needs it.

    Raises:
        OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, MigrationError: It is
            not there yet; what was done stays, and another try goes on from there.
    """
    await _make_database(server, settings.catalog_name)
    # Other replicas wait for the lock, and then find everything done.
    async with (
        server.connection(settings.catalog_name, search_path=CATALOG_SCHEMA) as connection,
        locked(connection, Lock.SETUP, timeout_s=_WAIT_TIMEOUT_S),
    ):
        await execute_formatted(
            connection,
            "REVOKE ALL ON DATABASE %I FROM PUBLIC",
            settings.catalog_name,
            timeout_s=_STATEMENT_TIMEOUT_S,
        )
        await migrate(connection, CATALOG_MIGRATIONS, CATALOG_SCHEMA)
        await _make_logins(connection, settings.service_passwords)
        await _write_cluster(connection, settings)
        await ensure_template(connection, server)
        await _warn_of_open_databases(connection)


async def _make_database(server: Server, name: str) -> None:
    # The maintenance database, which may be closed to us, is needed for a missing catalog only.
    with suppress(asyncpg.InvalidCatalogNameError):
        async with server.connection(name):
            return
    # DuplicateDatabase, or where both were in the middle of it UniqueViolation: another replica was
    # faster.
    with suppress(asyncpg.DuplicateDatabaseError, asyncpg.UniqueViolationError):
        async with server.connection(_MAINTENANCE_DATABASE) as connection:
            await execute_formatted(connection, NEW_DATABASE, name, timeout_s=_STATEMENT_TIMEOUT_S)


async def _make_logins(connection: Connection, passwords: dict[str, str]) -> None:
    for service, password in passwords.items():
        await execute_with(
            connection,
            SERVICE_LOGIN,
            {
                "freehold.role": f"freehold_{service}",
                "freehold.verifier": scram_verifier(password),
            },
            timeout_s=_STATEMENT_TIMEOUT_S,
        )
    await connection.execute(CATALOG_GRANTS, timeout=_STATEMENT_TIMEOUT_S)


async def _write_cluster(connection: Connection, settings: Settings) -> None:
    host, port = settings.cluster_address
    await connection.execute(
        "INSERT INTO clusters AS c (cluster, region, host, port) VALUES ($1, $2, $3, $4)"
        " ON CONFLICT ON CONSTRAINT clusters_pkey DO UPDATE"
        " SET region = excluded.region, host = excluded.host, port = excluded.port"
        " WHERE (c.region, c.host, c.port)"
        " IS DISTINCT FROM (excluded.region, excluded.host, excluded.port)",
        settings.cluster,
        settings.region,
        host,
        port,
        timeout=_STATEMENT_TIMEOUT_S,
    )


async def _warn_of_open_databases(connection: Connection) -> None:
    """Name the databases of others that tenants' roles can connect to: we cannot close those."""
    rows = await connection.fetch(
        "SELECT datname FROM pg_database"
        " WHERE datallowconn AND has_database_privilege('public', oid, 'CONNECT')"
        " ORDER BY datname",
        timeout=_STATEMENT_TIMEOUT_S,
    )
    if rows:
        _log.warning(
            "every role can connect to these databases; their owners should revoke that",
            databases=[row["datname"] for row in rows],
        )
