"""Fixtures for all tests. Servers start when the first test asks for one."""

import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator

import hypothesis
import pytest
import structlog
from playwright.async_api import Browser

from freehold.ledger.client import Connection
from support.browser import CHROMIUM, chromium
from support.ledgers import Ledger, Ledgers, rolled_back
from support.servers import given, postgres_server, rabbitmq_server
from support.stacks import given_addresses

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
hypothesis.settings.load_profile(given("PROFILE", "quick"))

# A shell that starts us in the background has us ignore these, and each process that we start would
# inherit that (POSIX, Shell Command Language, 2.9.3.1): a test could interrupt none of them.
for _number in (signal.SIGINT, signal.SIGQUIT):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(
            _number, signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL
        )

# Fixtures whose tests stay with one worker: each worker would have a stack of its own. A stack that
# runs elsewhere serves several workers; only its broker's queues are one test's at a time.
_STACKS = ("fragile_stack", "broker_url" if given_addresses(os.environ) else "addresses")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of a file with one worker, and so all that share a stack: each has but one.

    Before xdist looks for groups, or it would see none. What takes longest begins first, or the
    others would wait for it in the end: the shared stacks, then the longest files.
    """
    ranks: dict[pytest.Item, int] = {}
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        stack = next((stack for stack in _STACKS if stack in fixtures), None)
        item.add_marker(pytest.mark.xdist_group(stack or str(item.path)))
        ranks[item] = -item.path.stat().st_size if stack is None else -sys.maxsize
    items.sort(key=ranks.__getitem__)


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


@pytest.fixture(scope="session")
async def empty_ledger(ledgers: Ledgers) -> AsyncIterator[Ledger]:
    """An empty ledger that tests share; each undoes what it does there."""
    async with ledgers.fresh() as ledger:
        yield ledger


@pytest.fixture
async def connection(empty_ledger: Ledger) -> AsyncIterator[Connection]:
    """A superuser's connection to that ledger, in a transaction that is rolled back."""
    async with empty_ledger.connection() as connection, rolled_back(connection):
        yield connection


@pytest.fixture
async def own_connection(ledger: Ledger) -> AsyncIterator[Connection]:
    """A superuser's connection to a ledger of its own, where a test commits."""
    async with ledger.connection() as connection:
        yield connection


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    """A browser that all tests of a worker share; each page has a profile of its own."""
    if CHROMIUM is None:
        pytest.skip("this machine has no chromium")
    async with chromium() as browser:
        yield browser
