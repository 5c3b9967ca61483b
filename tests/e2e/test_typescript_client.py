"""The client in TypeScript: its own tests, and its examples on a running Freehold."""

from pathlib import Path

import pytest

from support.clients import Freehold, Tenant
from support.node import built_client, run

SAID = {
    "balances": """\
appended CHARGE as event 1
cus_42 has $20.00
cus_43 has $90,071,992,547,409.93
cus_44 has $5.50
refused, since it is there already: true
""",
    "history": """\
first: 3000 new, 0 known
second: 0 new, 3000 known
1000 lines come to 1500500
cus_1 has 1500500 in minor units of EUR
cus_2: not-found
""",
}


@pytest.fixture(scope="module")
def client() -> Path:
    return built_client()


def test_it_does_what_its_own_tests_say(client: Path) -> None:
    run(client, "node", "--test", "build/tests/")


@pytest.mark.parametrize("example", SAID)
def test_its_examples_run(client: Path, freehold: Freehold, tenant: Tenant, example: str) -> None:
    environment = {
        "FREEHOLD_INGEST_URL": freehold.addresses.ingest,
        "FREEHOLD_QUERY_URL": freehold.addresses.query,
        "FREEHOLD_API_KEY": tenant.api_key,
    }
    said = run(client, "node", f"build/examples/{example}.js", environment=environment)
    assert said == SAID[example]
