"""One running Freehold for all end-to-end tests: the one that the environment names, or our own."""

import os
from collections.abc import AsyncIterator, Iterator

import pytest

from freehold_local.stack import Stack
from support.clients import Freehold, Tenant, reaching
from support.servers import PUBLISHER_URL
from support.stacks import Addresses, addresses_of, given_addresses, private_stack
from support.upstream import Upstream, upstream_of


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack | None]:
    """A stack of our own; None where the environment names another."""
    if given_addresses(os.environ) is not None:
        yield None
        return
    with private_stack(
        tmp_path_factory.mktemp("e2e"),
        # The guides' pages have an origin of their own.
        {"query": {"FREEHOLD_CORS_ORIGINS": "*"}},
        durable=False,
    ) as stack:
        yield stack


@pytest.fixture(scope="session")
def addresses(stack: Stack | None) -> Addresses:
    addresses = given_addresses(os.environ) if stack is None else addresses_of(stack)
    assert addresses is not None
    return addresses


@pytest.fixture(scope="session")
async def freehold(addresses: Addresses) -> AsyncIterator[Freehold]:
    async with reaching(addresses) as freehold:
        yield freehold


@pytest.fixture
async def tenant(freehold: Freehold) -> Tenant:
    """A tenant of this test alone, with an empty ledger."""
    return await freehold.new_tenant()


@pytest.fixture
async def other_tenant(freehold: Freehold) -> Tenant:
    """A second tenant."""
    return await freehold.new_tenant()


@pytest.fixture(scope="session")
async def refused_tenant(freehold: Freehold) -> Tenant:
    """A tenant whom nothing is ever accepted from: their ledger must stay empty."""
    return await freehold.new_tenant()


@pytest.fixture
def operator(addresses: Addresses) -> dict[str, str]:
    """The environment of an operator at a terminal."""
    return addresses.operator


@pytest.fixture
def broker_url(addresses: Addresses) -> str:
    """The stack's own broker."""
    if addresses.amqp is None:
        pytest.skip("where the stack's broker is, is not known")
    return addresses.amqp


@pytest.fixture(scope="session")
def publisher_url(stack: Stack | None) -> str:
    """The broker as an app reaches it that may publish to `freehold.inbound`, and no more."""
    if stack is not None:
        return stack.publisher("add", "billing").strip()
    if not PUBLISHER_URL:
        pytest.skip("FREEHOLD_TEST_PUBLISHER_URL does not name a publisher of this stack")
    return PUBLISHER_URL


@pytest.fixture
async def upstream(broker_url: str) -> AsyncIterator[Upstream]:
    async with upstream_of(broker_url) as upstream:
        yield upstream
