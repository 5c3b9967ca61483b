"""Fixtures for all tests. Servers start when the first test asks for one."""

import os
from collections.abc import AsyncIterator, Iterator

import hypothesis
import pytest
import structlog

from freehold.ledger.client import Connection
from support.ledgers import Ledger, Ledgers
from support.servers import postgres_server, rabbitmq_server

# A quick run is the same each time; a thorough one looks further, somewhere else each time.
hypothesis.settings.register_profile(
    "quick",
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=50,
    stateful_step_count=30,
    report_multiple_bugs=False,
)
hypothesis.settings.register_profile(
    "thorough", deadline=None, max_examples=500, stateful_step_count=60, print_blob=True
)
# As services do: the variables of every frame, which structlog shows unless told otherwise, take
# many seconds to print where a payload is among them.
structlog.configure(
    processors=[
        *structlog.get_config()["processors"][:-1],
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
    ]
)
hypothesis.settings.load_profile(os.environ.pop("FREEHOLD_TEST_PROFILE", "quick"))

# Stacks that many files of tests share.
_STACKS = ("addresses", "fragile_stack")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of a file with one worker, and so all that share a stack: each has but one.

    Before xdist looks for groups, or it would see none.
    """
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        group = next((stack for stack in _STACKS if stack in fixtures), str(item.path))
        item.add_marker(pytest.mark.xdist_group(group))


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The superuser's way into a Postgres that forgets everything when the session ends."""
    with postgres_server(tmp_path_factory.mktemp("servers")) as url:
        yield url


@pytest.fixture(scope="session")
def amqp_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The way into a RabbitMQ that forgets everything when the session ends."""
    with rabbitmq_server(tmp_path_factory.mktemp("servers")) as url:
        yield url


@pytest.fixture(scope="session")
async def ledgers(postgres_url: str) -> AsyncIterator[Ledgers]:
    ledgers = Ledgers(postgres_url)
    await ledgers.make_template()
    yield ledgers
    await ledgers.drop_template()


@pytest.fixture
async def ledger(ledgers: Ledgers) -> AsyncIterator[Ledger]:
    """An empty ledger in a database of its own."""
    async with ledgers.fresh() as ledger:
        yield ledger


@pytest.fixture
async def connection(ledger: Ledger) -> AsyncIterator[Connection]:
    """A superuser's connection to that ledger."""
    async with ledger.connection() as connection:
        yield connection
