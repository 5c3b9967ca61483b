"""The client in TypeScript: its own tests, and its example on a running Freehold."""

from pathlib import Path

import pytest

from support.clients import Freehold, Tenant
from support.node import built_client, run

SAID = """\
appended CHARGE as event 1
cus_42 has $20.00
cus_43 has $90,071,992,547,409.93
cus_44 has $5.50
refused, since it is there already: true
"""


@pytest.fixture(scope="module")
def client() -> Path:
    return built_client()


def test_it_does_what_its_own_tests_say(client: Path) -> None:
    run(client, "node", "--test", "build/tests/")


def test_its_example_runs(client: Path, freehold: Freehold, tenant: Tenant) -> None:
    environment = {
        "FREEHOLD_INGEST_URL": freehold.addresses.ingest,
        "FREEHOLD_QUERY_URL": freehold.addresses.query,
        "FREEHOLD_API_KEY": tenant.api_key,
    }
    assert run(client, "node", "build/examples/balances.js", environment=environment) == SAID
