"""Which ledgers this release works with; of those it does not, the answer names the versions."""

import pytest

from freehold.contracts.errors import DomainError, LedgerVersionUnsupported
from freehold.ledger.schema import LEDGER_VERSION, LEDGER_VERSION_MIN
from freehold.tenants.connections import TenantConnections
from freehold.tenants.homes import Home
from support.homes import new_home

NOWHERE = 1
"""A port without a server: the refused home was not even connected to."""


def home(schema_version: int, services_version_min: int = 0) -> Home:
    return new_home(
        port=NOWHERE,
        host="127.0.0.1",
        schema_version=schema_version,
        services_version_min=services_version_min,
    )


@pytest.mark.parametrize(
    "served",
    [
        home(LEDGER_VERSION_MIN),
        home(LEDGER_VERSION),
        home(LEDGER_VERSION, LEDGER_VERSION),
        # The next release has added to it, and has not taken anything away yet.
        home(LEDGER_VERSION + 2),
        home(LEDGER_VERSION + 2, LEDGER_VERSION),
    ],
)
def test_a_ledger_that_has_what_is_needed_is_served(served: Home) -> None:
    served.require_known_version()


@pytest.mark.parametrize(
    ("refused", "named"),
    [
        (home(LEDGER_VERSION_MIN - 1), (LEDGER_VERSION_MIN - 1, LEDGER_VERSION_MIN)),
        (
            home(LEDGER_VERSION + 2, LEDGER_VERSION + 1),
            (LEDGER_VERSION + 2, LEDGER_VERSION + 1, LEDGER_VERSION),
        ),
    ],
    ids=["too old", "too new"],
)
async def test_no_connection_is_lent_to_any_other(refused: Home, named: tuple[int, ...]) -> None:
    connections = TenantConnections(
        application="test", connections_max=1, per_tenant_max=1, idle_s=60, timeout_s=5
    )
    with pytest.raises(DomainError) as raised:
        async with connections.use(refused):
            pass
    await connections.close()
    problem = raised.value
    assert isinstance(problem, LedgerVersionUnsupported)
    assert problem.retry_after_s
    for version in named:
        assert f" {version}" in problem.detail
