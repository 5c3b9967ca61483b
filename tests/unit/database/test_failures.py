"""A server that cannot serve now is a problem with a time to come again, and never a 500."""

import asyncpg
import pytest

from freehold.contracts.errors import Outage, Overloaded, Unavailable
from freehold.database.failures import database_failures, is_passing


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (asyncpg.DiskFullError, Unavailable, "has no room left on its disk"),
        (asyncpg.PostgresIOError, Unavailable, "does not answer"),
        (asyncpg.InsufficientResourcesError, Unavailable, "does not answer"),
        (asyncpg.ConfigurationLimitExceededError, Unavailable, "does not answer"),
        (asyncpg.ReadOnlySQLTransactionError, Unavailable, "does not answer"),
        (asyncpg.CrashShutdownError, Unavailable, "does not answer"),
        (asyncpg.CannotConnectNowError, Unavailable, "does not answer"),
        (asyncpg.OutOfMemoryError, Overloaded, "did not answer in time"),
        (asyncpg.TooManyConnectionsError, Overloaded, "did not answer in time"),
    ],
)
def test_a_server_at_its_bounds_is_named_to_the_client(
    error: type[asyncpg.PostgresError], kind: type[Outage], message: str
) -> None:
    raised = error("as the server says it")
    with (
        pytest.raises(kind, match=f"the ledger {message}") as caught,
        database_failures("the ledger"),
    ):
        raise raised
    assert caught.value.retry_after_s
    assert is_passing(raised)


def test_what_is_wrong_with_the_data_passes_through() -> None:
    with pytest.raises(asyncpg.CheckViolationError), database_failures():
        raise asyncpg.CheckViolationError("a mistake of ours")
