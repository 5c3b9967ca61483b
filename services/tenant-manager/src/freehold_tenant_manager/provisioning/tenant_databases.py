"""Makes and removes tenants' databases, each with its roles.

Every step can be repeated, and so can the whole after a crash. Callers ensure that one process at a
time works on a database.
"""

import asyncio
import secrets
from collections.abc import Mapping
from hashlib import sha256

import asyncpg
import structlog

from freehold.contracts.errors import Unavailable
from freehold.database.failures import database_failures
from freehold.database.queries import load_queries, load_script
from freehold.ledger.client import Connection
from freehold.ledger.schema import LEDGER_GRANTS, LEDGER_SOURCE
from freehold_tenant_manager.provisioning.templates import (
    TEMPLATE,
    TEMPLATE_OWNER_ROLE,
    ensure_template,
)
from freehold_tenant_manager.server.roles import (
    USUAL_BOUNDS,
    CustomerBounds,
    role_settings,
    verifier_settings,
)
from freehold_tenant_manager.server.server import Server
from freehold_tenant_manager.server.statements import (
    CUSTOMER_BOUNDS,
    TENANT_LOGIN_MEMBERSHIP,
    TENANT_MEMBERSHIP,
    TENANT_OPENING,
    TENANT_ROLES,
    TENANT_ROLES_DROPPED,
    create_database,
    drop_database,
    execute_formatted,
    execute_with,
)

_PACKAGE = "freehold_tenant_manager.provisioning"
_QUERIES = load_queries(_PACKAGE, "queries.sql")
_HANDOVER = load_script(_PACKAGE, "handover.sql")
# Closed until PUBLIC's rights are taken away (tenant_opening.sql). A small database is copied
# through the write-ahead log in half the time that copying its files takes.
_NEW_TENANT_DATABASE = (
    "CREATE DATABASE %I OWNER %I TEMPLATE %I STRATEGY wal_log ALLOW_CONNECTIONS false"
)

_log = structlog.get_logger(__name__)

# DROP DATABASE waits for a checkpoint of the whole server.
_DROP_TIMEOUT_S = 300.0
_CLONE_ATTEMPTS = 3
_CLONE_PAUSE_S = 0.2
# The server's mark of a database whose dropping was interrupted.
_INVALID = -2
_NAME_BYTES = 8

_MADE_OF = (
    LEDGER_SOURCE.digest,
    LEDGER_GRANTS,
    _NEW_TENANT_DATABASE,
    TENANT_ROLES,
    CUSTOMER_BOUNDS,
    TENANT_OPENING,
    _HANDOVER,
)
MADE_AS = sha256("\0".join(_MADE_OF).encode()).hexdigest()
"""A digest of everything that a database is made of."""


def new_database_name() -> str:
    """Make a random name for a database: names are visible in the system catalogs."""
    return f"fh_{secrets.token_hex(_NAME_BYTES)}"


class TenantDatabases:
    """Makes and removes databases, with their roles, on one server."""

    def __init__(self, server: Server, bounds: CustomerBounds = USUAL_BOUNDS) -> None:
        self._server = server
        self._bounds = bounds

    async def make(
        self, connection: Connection, name: str, schema: str, passwords: Mapping[str, str]
    ) -> None:
        """Make a database with an empty ledger, or continue making it.

        Args:
            connection: To the catalog's database, outside of a transaction.
            name: The database's name, and the prefix of its roles' names.
            schema: The ledger's schema.
            passwords: Of its login roles, by service.

        Raises:
            Overloaded, Unavailable: The new database does not answer.
            asyncpg.PostgresError: The server refused a step.
        """
        await self._make_roles(connection, name, passwords)
        await self._make_database(connection, name)
        await execute_with(connection, TENANT_OPENING, role_settings(name))
        with database_failures():
            await self._hand_over(name, schema)

    async def make_empty(
        self, connection: Connection, name: str, passwords: Mapping[str, str]
    ) -> None:
        """Make an empty database for a restore. Our role stays a member of its owner's role."""
        await self._make_roles(connection, name, passwords)
        await create_database(connection, name, f"{name}_owner", is_open=False)
        await execute_with(connection, TENANT_OPENING, role_settings(name))

    async def remove(self, connection: Connection, name: str) -> None:
        """Remove what exists of a database and its roles, and end the roles' sessions.

        Raises:
            Unavailable: Another role's session stays connected.
        """
        settings = role_settings(name)
        script = TENANT_MEMBERSHIP + TENANT_LOGIN_MEMBERSHIP
        await execute_with(connection, script, settings)
        try:
            await drop_database(connection, name, timeout_s=_DROP_TIMEOUT_S)
        except asyncpg.ObjectInUseError as error:
            raise Unavailable("another role is still connected to this database") from error
        await execute_with(connection, TENANT_ROLES_DROPPED, settings)

    async def _make_roles(
        self, connection: Connection, name: str, passwords: Mapping[str, str]
    ) -> None:
        settings = role_settings(name) | verifier_settings(passwords) | self._bounds.settings()
        script = TENANT_ROLES + CUSTOMER_BOUNDS + TENANT_MEMBERSHIP
        await execute_with(connection, script, settings)

    async def _make_database(self, connection: Connection, name: str) -> None:
        """Copy the template, unless the copy exists: it is complete if it does."""
        limit: int | None = await connection.fetchval(_QUERIES["find_connection_limit"], name)
        if limit == _INVALID:
            await execute_formatted(connection, "DROP DATABASE %I", name)
        elif limit is not None:
            return
        names = (name, f"{name}_owner", TEMPLATE)
        for attempt in range(1, _CLONE_ATTEMPTS + 1):
            try:
                await execute_formatted(connection, _NEW_TENANT_DATABASE, *names)
            except (asyncpg.ObjectInUseError, asyncpg.InvalidCatalogNameError) as error:
                if attempt == _CLONE_ATTEMPTS:
                    raise
                _log.warning("template not ready", database=TEMPLATE, fault=str(error))
                await ensure_template(connection, self._server)
                await asyncio.sleep(_CLONE_PAUSE_S * attempt)
            else:
                return

    async def _hand_over(self, name: str, schema: str) -> None:
        """Make the owner role own the database's content, and give the services their rights."""
        async with (
            self._server.connection(name, search_path=f"{schema}, pg_temp") as connection,
            connection.transaction(),
        ):
            await execute_with(
                connection,
                _HANDOVER + LEDGER_GRANTS,
                role_settings(name) | {"freehold.template_owner": TEMPLATE_OWNER_ROLE},
            )
            await connection.execute("RESET ROLE")
            await execute_formatted(connection, "REVOKE %I FROM CURRENT_USER", f"{name}_owner")
