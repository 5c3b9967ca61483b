"""The driver's errors as the domain's: a lost or late database is an outage, never a fault of ours.

Only errors that may pass are translated. Errors in the data or in our own code pass through: trying
again would not help.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg
import structlog

from freehold.contracts.errors import ClocksDisagree, Outage, Overloaded, Unavailable
from freehold.ledger.clocks import DISAGREEMENT
from freehold.observability.metrics import CLOCKS_DISAGREED

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
    # The server is starting, shutting down, or its database was dropped.
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.PostgresSystemError,
    # The primary has just become a standby.
    asyncpg.ReadOnlySQLTransactionError,
)
DRIVER_ERRORS = (
    asyncpg.InterfaceError,
    # The connection was used while its server closed it.
    asyncpg.InternalClientError,
)
"""Errors of the driver itself, mostly for a lost connection."""
_NOT_READY = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InvalidSchemaNameError,
    asyncpg.UndefinedTableError,
    asyncpg.UndefinedFunctionError,
    asyncpg.InsufficientPrivilegeError,
)


def is_passing(error: BaseException) -> bool:
    """Say whether trying again may help: the database is lost, late or overloaded."""
    # The driver's InterfaceErrors for unfit arguments are ValueErrors too.
    return isinstance(error, (*_BUSY, *_LOST, *DRIVER_ERRORS)) and not isinstance(error, ValueError)


@contextmanager
def database_failures(what: str = "the tenant's database") -> Iterator[None]:
    """Turn a database's failures into outages. Wraps acquiring and using a connection.

    Args:
        what: Names the database to the client and in the log.

    Raises:
        Overloaded: It did not answer in time, or has too much to do.
        Unavailable: It is lost, or not set up as this release needs it.
        ClocksDisagree: It compared its clock with ours (`agreed_now`), and they differ.
    """
    try:
        yield
    except (*_BUSY, *_LOST, *_NOT_READY, *DRIVER_ERRORS) as error:
        outage = _outage(error, what)
        if outage is None:
            raise
        _log.warning("database failed", database=what, fault=repr(error))
        raise outage from error
    except asyncpg.UnknownPostgresError as error:
        if error.sqlstate != DISAGREEMENT:
            raise
        CLOCKS_DISAGREED.inc()
        _log.warning("clocks disagree", database=what, fault=str(error))
        raise ClocksDisagree(
            f"{error}; nothing was written, and nothing is until they agree"
        ) from (error)


def _outage(error: BaseException, what: str) -> Outage | None:
    if isinstance(error, ValueError):
        # The driver's InterfaceErrors for unfit arguments.
        return None
    if isinstance(error, asyncpg.DiskFullError):
        return Unavailable(f"{what} has no room left on its disk")
    if isinstance(error, _BUSY):
        return Overloaded(f"{what} did not answer in time")
    if isinstance(error, _NOT_READY):
        return Unavailable(f"{what} is not ready for this release")
    return Unavailable(f"{what} does not answer")
