"""Tenants' databases, each with its roles: made step by step, and removed.

Every step may be repeated, and so may the whole, after it was cut short anywhere. Who works on
which is for the callers to settle.
"""

import asyncio
import secrets
from collections.abc import Mapping
from hashlib import sha256

import asyncpg
import structlog

from freehold.contracts.problems import unavailable
from freehold.ledger.client import Connection
from freehold.ledger.schema import LEDGER_DIGEST, LEDGER_GRANTS
from freehold.tenancy.failures import database_failures
from freehold_tenant_manager.provisioning.roles import role_settings, verifier_settings
from freehold_tenant_manager.provisioning.templates import (
    TEMPLATE,
    TEMPLATE_OWNER_ROLE,
    ensure_template,
)
from freehold_tenant_manager.server import Server
from freehold_tenant_manager.statements import (
    NEW_EMPTY_DATABASE,
    NEW_TENANT_DATABASE,
    TENANT_HANDOVER,
    TENANT_LOGIN_MEMBERSHIP,
    TENANT_MEMBERSHIP,
    TENANT_OPENING,
    TENANT_ROLES,
    TENANT_ROLES_DROPPED,
    drop_database,
    execute_formatted,
    execute_with,
)

_log = structlog.get_logger(__name__)

_TIMEOUT_S = 30.0
# It waits for a checkpoint of the whole server.
_DROP_TIMEOUT_S = 300.0
_CLONE_ATTEMPTS = 3
_CLONE_PAUSE_S = 0.2
# How the server marks a database whose dropping was interrupted.
_INVALID = -2
_NAME_BYTES = 8

_MADE_OF = (
    LEDGER_DIGEST,
    LEDGER_GRANTS,
    NEW_TENANT_DATABASE,
    TENANT_ROLES,
    TENANT_OPENING,
    TENANT_HANDOVER,
)
MADE_AS = sha256("\0".join(_MADE_OF).encode()).hexdigest()
"""Names all that goes into a database here: two that are made otherwise never have the same."""


def new_database_name() -> str:
    """Make a name for a database. It says nothing: names leak through the system catalogs."""
    return f"fh_{secrets.token_hex(_NAME_BYTES)}"


class TenantDatabases:
    """Makes and removes databases, with their roles, on one server."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def make(
        self, connection: Connection, name: str, schema: str, passwords: Mapping[str, str]
    ) -> None:
        """Make a database with an empty ledger, or go on with making it.

        Args:
            connection: To the catalog's database, outside of a transaction.
            name: The database's, and the prefix of its roles' names.
            schema: Where in it the ledger is.
            passwords: Those of its login roles, by service.

        Raises:
            Problem: overloaded or unavailable, where the new database does not answer as it should.
            asyncpg.PostgresError: The server refused a step.
        """
        await self._make_roles(connection, name, passwords)
        await self._make_database(connection, name)
        await execute_with(connection, TENANT_OPENING, role_settings(name), timeout_s=_TIMEOUT_S)
        with database_failures():
            await self._hand_over(name, schema)

    async def make_empty(
        self, connection: Connection, name: str, passwords: Mapping[str, str]
    ) -> None:
        """Make a database for a dump to be restored into. We stay a member of its owner's role."""
        await self._make_roles(connection, name, passwords)
        await execute_formatted(
            connection, NEW_EMPTY_DATABASE, name, f"{name}_owner", timeout_s=_TIMEOUT_S
        )
        await execute_with(connection, TENANT_OPENING, role_settings(name), timeout_s=_TIMEOUT_S)

    async def remove(self, connection: Connection, name: str) -> None:
        """Remove a database and its roles, or whatever there is of them, whoever is in it.

        Raises:
            Problem: unavailable, where somebody else than its roles is in it and does not leave.
        """
        settings = role_settings(name)
        script = TENANT_MEMBERSHIP + TENANT_LOGIN_MEMBERSHIP
        await execute_with(connection, script, settings, timeout_s=_TIMEOUT_S)
        try:
            await drop_database(connection, name, timeout_s=_DROP_TIMEOUT_S)
        except asyncpg.ObjectInUseError as error:
            raise unavailable("somebody is still connected to this database") from error
        await execute_with(connection, TENANT_ROLES_DROPPED, settings, timeout_s=_TIMEOUT_S)

    async def _make_roles(
        self, connection: Connection, name: str, passwords: Mapping[str, str]
    ) -> None:
        settings = role_settings(name) | verifier_settings(passwords)
        script = TENANT_ROLES + TENANT_MEMBERSHIP
        await execute_with(connection, script, settings, timeout_s=_TIMEOUT_S)

    async def _make_database(self, connection: Connection, name: str) -> None:
        """Copy the template, unless that was done. A copy is there whole or not at all."""
        row = await connection.fetchrow(
            "SELECT datconnlimit FROM pg_database WHERE datname = $1", name
        )
        if row is not None and row["datconnlimit"] == _INVALID:
            await execute_formatted(connection, "DROP DATABASE %I", name, timeout_s=_TIMEOUT_S)
            row = None
        if row is not None:
            return
        names = (name, f"{name}_owner", TEMPLATE)
        for attempt in range(1, _CLONE_ATTEMPTS + 1):
            try:
                await execute_formatted(
                    connection, NEW_TENANT_DATABASE, *names, timeout_s=_TIMEOUT_S
                )
            except (asyncpg.ObjectInUseError, asyncpg.InvalidCatalogNameError) as error:
                if attempt == _CLONE_ATTEMPTS:
                    raise
                _log.warning("template not ready", database=TEMPLATE, fault=str(error))
                await ensure_template(connection, self._server)
                await asyncio.sleep(_CLONE_PAUSE_S * attempt)
            else:
                return

    async def _hand_over(self, name: str, schema: str) -> None:
        """Give everything in the database to its owner, who gives the services their rights."""
        async with (
            self._server.connection(name, search_path=f"{schema}, pg_temp") as connection,
            connection.transaction(),
        ):
            await execute_with(
                connection,
                TENANT_HANDOVER + LEDGER_GRANTS,
                role_settings(name) | {"freehold.template_owner": TEMPLATE_OWNER_ROLE},
                timeout_s=_TIMEOUT_S,
            )
            await connection.execute("RESET ROLE")
            await execute_formatted(
                connection, "REVOKE %I FROM CURRENT_USER", f"{name}_owner", timeout_s=_TIMEOUT_S
            )
