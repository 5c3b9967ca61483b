"""Watches customers' sessions on the whole server.

All tenants share the server. Most bounds of a customer's role are defaults that a session may lift,
and some statements need no right at all, such as LISTEN and changes of the role's own settings. So
sessions that hold up others are ended. Any number of processes may watch.
"""

from datetime import timedelta

import asyncpg
import structlog

from freehold.database.queries import load_queries
from freehold.ledger.client import Connection
from freehold.tenants.catalog import Catalog
from freehold_tenant_manager.metrics import CUSTOMER_SESSIONS_ENDED, NOTIFICATION_QUEUE_USAGE
from freehold_tenant_manager.server.roles import CUSTOMER, CustomerBounds, role_settings
from freehold_tenant_manager.server.sessions import end_sessions, entitled_to_end
from freehold_tenant_manager.server.statements import (
    CUSTOMER_BOUNDS,
    execute_formatted,
    execute_with,
)

_QUERIES = load_queries("freehold_tenant_manager.server", "queries.sql")

_log = structlog.get_logger(__name__)

WATCH_EVERY_S = 2.0
_TIMEOUT_S = 5.0
_QUEUE_USAGE_MAX = 0.02
_SETTINGS_CHARACTERS_MAX = 16_384
_ROLES_AT_ONCE = 100
_LOCKED_OUT = timedelta(minutes=10)
_CHANGES_MAX = 10
_CHANGES_FORGOTTEN = 1 / 30


class CustomerSessions:
    """Ends sessions that hold up others, and keeps customers' roles bounded."""

    def __init__(self, catalog: Catalog, bounds: CustomerBounds, *, sessions_max: int) -> None:
        """Set what a session may use, and how many sessions all customers may have together."""
        self._catalog = catalog
        self._bounds = bounds
        self._sessions_max = sessions_max
        self._changes: dict[str, tuple[str, float]] = {}

    async def watch(self) -> bool:
        """Do one round; always return False, so that the next follows after a pause.

        Raises:
            Unavailable: The catalog does not answer.
        """
        async with self._catalog.connection() as connection:
            await self._end_sessions(connection)
            await self._bound_roles(connection)
        return False

    async def _end_sessions(self, connection: Connection) -> None:
        usage: float = await connection.fetchval(
            "SELECT pg_notification_queue_usage()", timeout=_TIMEOUT_S
        )
        NOTIFICATION_QUEUE_USAGE.set(usage)
        is_filling = usage > _QUEUE_USAGE_MAX
        if is_filling:
            _log.warning("the server's queue of notifications fills", usage=usage)
        rows = await connection.fetch(_QUERIES["roles_with_sessions"], timeout=_TIMEOUT_S)
        if not rows:
            return
        roles = [row["role_name"] for row in rows]
        async with entitled_to_end(connection, roles):
            ended = await connection.fetch(
                _QUERIES["end_customer_sessions"],
                roles,
                timedelta(seconds=self._bounds.transaction_s),
                timedelta(seconds=self._bounds.idle_in_transaction_s),
                timedelta(seconds=self._bounds.idle_s),
                self._sessions_max,
                is_filling,
                timeout=_TIMEOUT_S,
            )
        for row in ended:
            CUSTOMER_SESSIONS_ENDED.labels(row["reason"]).inc()
            _log.warning("customer's session ended", role=row["usename"], reason=row["reason"])
        for role in {row["usename"] for row in ended if row["reason"] == "lock"}:
            await self._lock_out(connection, role, "others waited for its locks")
        for role in await self._changing(connection, roles):
            await self._lock_out(connection, role, "it changed its settings all the time")

    async def _changing(self, connection: Connection, roles: list[str]) -> list[str]:
        """Give the roles whose settings changed in more rounds than a person would change them.

        Each change leaves a dead row in a shared table of the server, as long as the settings are.
        """
        rows = await connection.fetch(_QUERIES["settings_marks"], roles, timeout=_TIMEOUT_S)
        changing = []
        for role, mark in rows:
            known, changes = self._changes.get(role, (mark, 0.0))
            changes = max(0.0, changes - _CHANGES_FORGOTTEN) + (mark != known)
            if changes > _CHANGES_MAX:
                changing.append(role)
                changes = 0.0
            self._changes[role] = (mark, changes)
        return changing

    async def _lock_out(self, connection: Connection, role: str, why: str) -> None:
        """Refuse a role's password for a while, and end its sessions, which would reconnect."""
        _log.warning("customer locked out for a while", role=role, why=why)
        await execute_formatted(
            connection, "ALTER ROLE %I VALID UNTIL 'now'", role, timeout_s=_TIMEOUT_S
        )
        async with entitled_to_end(connection, [role]):
            await end_sessions(connection, [role])

    async def _bound_roles(self, connection: Connection) -> None:
        """Bound roles, reset settings that are too long, and end lockouts in time."""
        rows = await connection.fetch(
            _QUERIES["roles_to_mend"],
            self._bounds.temp_files,
            _SETTINGS_CHARACTERS_MAX,
            _ROLES_AT_ONCE,
            _LOCKED_OUT,
            timeout=_TIMEOUT_S,
        )
        for row in rows:
            try:
                await self._bound_role(connection, row)
            except (asyncpg.PostgresError, TimeoutError):
                # It may be changing itself at this moment. The other roles do not wait for it.
                _log.warning("customer's role not bounded", role=row["role_name"], exc_info=True)

    async def _bound_role(self, connection: Connection, row: asyncpg.Record) -> None:
        role: str = row["role_name"]
        if row["is_out"]:
            await execute_formatted(
                connection, "ALTER ROLE %I VALID UNTIL 'infinity'", role, timeout_s=_TIMEOUT_S
            )
        if row["is_hoard"]:
            _log.warning("customer's settings removed: they are too long", role=role)
            await execute_formatted(
                connection, "ALTER ROLE %I RESET ALL", role, timeout_s=_TIMEOUT_S
            )
            for database in row["in_databases"] or ():
                await execute_formatted(
                    connection,
                    "ALTER ROLE %I IN DATABASE %I RESET ALL",
                    role,
                    database,
                    timeout_s=_TIMEOUT_S,
                )
        settings = role_settings(role.removesuffix(f"_{CUSTOMER}")) | self._bounds.settings()
        await execute_with(connection, CUSTOMER_BOUNDS, settings, timeout_s=_TIMEOUT_S)
