"""Where the driver's errors become problems: a lost or late database is answered 503, never 500.

Only errors that say "not now" are translated. Those that speak of the data or of our own mistakes
pass through, since coming again would not help.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg
import structlog

from freehold.contracts.problems import Problem, overloaded, unavailable

_log = structlog.get_logger(__name__)

_BUSY = (
    TimeoutError,
    asyncpg.QueryCanceledError,
    asyncpg.LockNotAvailableError,
    asyncpg.TransactionRollbackError,
    asyncpg.TooManyConnectionsError,
    asyncpg.OutOfMemoryError,
)
_LOST = (
    OSError,
    asyncpg.PostgresConnectionError,
    # Shut down, starting up, dropped: whatever an operator's hand does to a server.
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.PostgresSystemError,
    # A primary that has just become a standby.
    asyncpg.ReadOnlySQLTransactionError,
)
DRIVER_ERRORS = (
    asyncpg.InterfaceError,
    # A connection used in the moment between its server's farewell and its end.
    asyncpg.InternalClientError,
)
"""What the driver itself raises; most often the connection was lost."""
_NOT_READY = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InvalidSchemaNameError,
    asyncpg.UndefinedTableError,
    asyncpg.UndefinedFunctionError,
    asyncpg.InsufficientPrivilegeError,
)


def is_passing(error: BaseException) -> bool:
    """Say whether coming again may help: a database is lost, late or has too much to do."""
    # ValueError is the driver's own word for arguments that do not fit.
    return isinstance(error, (*_BUSY, *_LOST, *DRIVER_ERRORS)) and not isinstance(error, ValueError)


@contextmanager
def database_failures(what: str = "the tenant's database") -> Iterator[None]:
    """Turn a database's failures into problems; wrap around acquiring a connection and using it.

    Args:
        what: Names the database to the client and in the log.

    Raises:
        Problem: overloaded, where it did not answer in time or has too much to do; unavailable,
            where it is lost, or not set up as this release needs it.
    """
    try:
        yield
    except (*_BUSY, *_LOST, *_NOT_READY, *DRIVER_ERRORS) as error:
        problem = _problem(error, what)
        if problem is None:
            raise
        _log.warning("database failed", database=what, fault=repr(error))
        raise problem from error


def _problem(error: BaseException, what: str) -> Problem | None:
    if isinstance(error, ValueError):
        # The driver's own word for arguments that do not fit, although it is an InterfaceError.
        return None
    if isinstance(error, _BUSY):
        return overloaded(f"{what} did not answer in time")
    if isinstance(error, _NOT_READY):
        return unavailable(f"{what} is not ready for this release")
    return unavailable(f"{what} does not answer")
