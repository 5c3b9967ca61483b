"""One running Freehold for all end-to-end tests: the one that the environment names, or our own."""

import os
from collections.abc import AsyncIterator, Iterator

import pytest

from support.clients import Freehold, Tenant, reaching
from support.stacks import Addresses, addresses_of, given_addresses, private_stack
from support.upstream import Upstream, upstream_of


@pytest.fixture(scope="session")
def addresses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Addresses]:
    given = given_addresses(os.environ)
    if given is not None:
        yield given
        return
    with private_stack(tmp_path_factory.mktemp("e2e"), durable=False) as stack:
        yield addresses_of(stack)


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
    """Somebody else."""
    return await freehold.new_tenant()


@pytest.fixture(scope="session")
async def refused_tenant(freehold: Freehold) -> Tenant:
    """A tenant whom nothing is ever accepted from: their ledger must stay empty."""
    return await freehold.new_tenant()


@pytest.fixture
def operator(addresses: Addresses) -> dict[str, str]:
    """The environment of an operator at a terminal."""
    return {
        "FREEHOLD_INGEST_URL": addresses.ingest,
        "FREEHOLD_TENANT_MANAGER_URL": addresses.tenant_manager,
        "FREEHOLD_OPERATOR_TOKEN": addresses.operator_token,
    }


@pytest.fixture
def broker_url(addresses: Addresses) -> str:
    """The stack's own broker."""
    if addresses.amqp is None:
        pytest.skip("the stack does not tell where its broker is")
    return addresses.amqp


@pytest.fixture
async def upstream(broker_url: str) -> AsyncIterator[Upstream]:
    async with upstream_of(broker_url) as upstream:
        yield upstream
