"""Which ledgers this release works with; of those it does not, the answer names the versions."""

import pytest

from freehold.contracts.problems import LEDGER_VERSION_UNSUPPORTED, Problem
from freehold.ledger.schema import LEDGER_VERSION, LEDGER_VERSION_MIN
from freehold.tenancy.connections import TenantConnections
from freehold.tenancy.homes import Home

NOWHERE = 1
"""A port that nobody listens on: whoever is refused has not even knocked."""


def home(schema_version: int, services_version_min: int = 0) -> Home:
    return Home(
        "acme",
        1,
        "127.0.0.1",
        NOWHERE,
        "db",
        "ledger",
        schema_version,
        "role",
        "password",
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
    with pytest.raises(Problem) as raised:
        async with connections.use(refused):
            pass
    await connections.close()
    problem = raised.value
    assert problem.kind is LEDGER_VERSION_UNSUPPORTED
    assert int(problem.headers["Retry-After"]) > 0
    for version in named:
        assert f" {version}" in problem.detail
