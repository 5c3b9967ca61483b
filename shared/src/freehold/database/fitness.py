"""Whether Freehold can rely on a Postgres server.

It relies on sessions: on locks and LISTEN that outlast a transaction, on prepared statements, and
on a connection's parameters (search_path, timeouts). A pooler such as PgBouncer in transaction mode
gives each transaction another session and drops parameters: timeouts and locks would silently not
hold.
"""

import asyncio
from contextlib import AsyncExitStack, suppress
from secrets import token_hex
from typing import Any

import asyncpg

from freehold.ledger.client import SESSION_SETTINGS, Connection

POSTGRES_VERSIONS = range(15, 19)

_NOTICE_TIMEOUT_S = 5.0
_CLOSE_TIMEOUT_S = 2.0
_POOLER = (
    "a pooler such as PgBouncer stands before PostgreSQL and {fault}; "
    "name the server itself: Freehold has few connections, and pools of its own"
)
_PARAMETERS = {**SESSION_SETTINGS, "search_path": "freehold_examined", "statement_timeout": "59s"}
_PARAMETERS_DROPPED = _POOLER.format(
    fault="drops parameters of a connection ({names}: timeouts would not hold)"
)
_SESSIONS_SHARED = _POOLER.format(
    fault="gives a session to several clients (its pool_mode is not session: locks, LISTEN and "
    "prepared statements would not hold)"
)
_NO_NOTICES = _POOLER.format(fault="passes on no notices (LISTEN)")

# Values that settings must not have, and what they would cause.
_UNFIT = {
    ("synchronous_commit", "off"): "synchronous_commit is off: a crash would lose events that were"
    " acknowledged; set it to on",
    ("default_transaction_read_only", "on"): "default_transaction_read_only is on: nothing can be"
    " written",
}
_DOUBTFUL = {
    ("fsync", "off"): "fsync is off: a crash of the machine loses acknowledged events, and may"
    " destroy all data",
    ("full_page_writes", "off"): "full_page_writes is off: a crash of the machine may destroy data",
}


class UnfitServerError(Exception):
    """Freehold cannot rely on a server that answers. The message says why and has no secret."""


async def examine(
    dsn: str, *, timeout_s: float, holds_text: bool = False, **overrides: Any
) -> list[str]:
    """Check that Freehold can rely on a server.

    Args:
        dsn: A database of the server.
        timeout_s: Bounds connecting, and each statement.
        holds_text: Whether that database is the catalog, whose encoding is UTF-8.
        overrides: The database, host or port to use in place of the DSN's.

    Returns:
        A sentence for each doubt.

    Raises:
        UnfitServerError: It cannot.
        OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError: The server does not
            answer, or refuses the login.
    """
    async with AsyncExitStack() as stack:
        try:
            one = await _connect(stack, dsn, timeout_s, overrides, _PARAMETERS)
            doubts = await _examine_settings(one, holds_text=holds_text)
            other = await _connect(stack, dsn, timeout_s, overrides, {})
            await _examine_sessions(one, other)
        except asyncpg.ProtocolViolationError as error:
            # PgBouncer's message for an unknown parameter; Postgres has another.
            if "unsupported startup parameter" not in str(error):
                raise
            raise UnfitServerError(
                _POOLER.format(fault=f"refuses a connection's parameters ({error})")
            ) from error
        except (
            asyncpg.InvalidSQLStatementNameError,
            asyncpg.DuplicatePreparedStatementError,
        ) as error:
            raise UnfitServerError(_SESSIONS_SHARED) from error
        return doubts


async def _connect(
    stack: AsyncExitStack, dsn: str, timeout_s: float, overrides: Any, parameters: dict[str, str]
) -> Connection:
    connection: Connection = await asyncpg.connect(
        dsn,
        **overrides,
        timeout=timeout_s,
        command_timeout=timeout_s,
        server_settings={"application_name": "freehold-examining", **parameters},
    )
    stack.push_async_callback(_close, connection)
    return connection


async def _close(connection: Connection) -> None:
    with suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        await connection.close(timeout=_CLOSE_TIMEOUT_S)


async def _examine_settings(connection: Connection, *, holds_text: bool) -> list[str]:
    version = connection.get_server_version().major
    if version not in POSTGRES_VERSIONS:
        raise UnfitServerError(
            f"it is PostgreSQL {version}; {POSTGRES_VERSIONS[0]} to {POSTGRES_VERSIONS[-1]} will do"
        )
    names = {*_PARAMETERS, *(name for name, _ in (*_UNFIT, *_DOUBTFUL)), "server_encoding"}
    rows = await connection.fetch(
        "SELECT name, current_setting(name) AS value FROM unnest($1::text[]) AS settings (name)",
        sorted(names),
    )
    values = {row["name"]: row["value"] for row in rows}
    # The server reports DateStyle with an addition.
    dropped = sorted(n for n, value in _PARAMETERS.items() if not values[n].startswith(value))
    if dropped:
        raise UnfitServerError(_PARAMETERS_DROPPED.format(names=", ".join(dropped)))
    if holds_text and values["server_encoding"] != "UTF8":
        raise UnfitServerError(
            f"the catalog's database has the encoding {values['server_encoding']}; it is to be UTF8"
        )
    if await connection.fetchval("SELECT pg_is_in_recovery()"):
        raise UnfitServerError("it is a standby and takes no writes; name the primary")
    for setting in values.items():
        if setting in _UNFIT:
            raise UnfitServerError(_UNFIT[setting])
    return [sentence for setting, sentence in _DOUBTFUL.items() if setting in values.items()]


async def _examine_sessions(one: Connection, other: Connection) -> None:
    session = "SELECT pg_backend_pid()"
    pid = await one.fetchval(session)
    async with other.transaction():
        # A pooler gives this transaction the session that the first client has just used.
        if await other.fetchval(session) == pid or await one.fetchval(session) != pid:
            raise UnfitServerError(_SESSIONS_SHARED)
    heard = asyncio.Event()
    channel = f"freehold_examined_{token_hex(8)}"
    await one.add_listener(channel, lambda *_: heard.set())
    await other.execute(f'NOTIFY "{channel}"')
    try:
        async with asyncio.timeout(_NOTICE_TIMEOUT_S):
            await heard.wait()
    except TimeoutError:
        raise UnfitServerError(_NO_NOTICES) from None
