"""A private stack that every fault is injected into, one after the other."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from freehold_local.stack import Stack
from support.clients import Tenant, reaching
from support.machine import Machine
from support.servers import REPLICAS
from support.stacks import addresses_of, private_stack

# What is waited for elsewhere in minutes is waited for here in seconds; limits are small enough to
# be reached; and nothing is healed by the schedule that is there to heal what no test foresaw.
SETTINGS = {
    "ingest": {
        "FREEHOLD_HEARTBEAT_S": "0.5",
        "FREEHOLD_DEAD_AFTER_S": "2",
        "FREEHOLD_REQUEST_TIMEOUT_S": "8",
        "FREEHOLD_WAITING_EVENTS_MAX": "200",
        "FREEHOLD_IMPORT_PATIENCE_S": "3",
    },
    "projector": {
        "FREEHOLD_RECONCILE_EVERY_S": "86400",
        "FREEHOLD_RETRY_FIRST_S": "0.1",
        "FREEHOLD_RETRY_MOST_S": "1",
        "FREEHOLD_FAULT_ATTEMPTS_MAX": "3",
    },
    "tenant-manager": {
        # Of tenants who are made together, one is given a database and the others are not.
        "FREEHOLD_POOL_SIZE": "1",
        "FREEHOLD_OPERATION_SILENT_S": "3",
        "FREEHOLD_DUMP_BYTES_PER_S": "2000000",
        "FREEHOLD_BACKUP_EVERY_S": "0",
        "FREEHOLD_BACKUP_VERIFY_EVERY_S": "0",
    },
}

TENANT_SERVICES = ("ingest", "projector", "query")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.local)


@pytest.fixture(scope="session")
def fragile_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    # All of them together have no more connections than Postgres allows.
    connections = {"FREEHOLD_CONNECTIONS_MAX": f"{100 // REPLICAS}"}
    settings = {service: connections | SETTINGS.get(service, {}) for service in TENANT_SERVICES}
    folder = tmp_path_factory.mktemp("faults")
    with private_stack(folder, SETTINGS | settings, durable=True, replicas=REPLICAS) as stack:
        yield stack


@pytest.fixture(scope="session")
async def machine_at_large(fragile_stack: Stack) -> AsyncIterator[Machine]:
    async with reaching(addresses_of(fragile_stack)) as freehold:
        yield Machine(fragile_stack, freehold)


@pytest.fixture
async def machine(machine_at_large: Machine) -> Machine:
    """The stack, all of it running again after whatever the test before did."""
    await machine_at_large.wait_until_ready()
    return machine_at_large


@pytest.fixture
async def one_projector(machine: Machine) -> AsyncIterator[None]:
    """A stack where no other process of projector does what the first does not."""
    async with machine.alone("projector"):
        yield


@pytest.fixture
async def tenant(machine: Machine) -> Tenant:
    """A tenant of this test alone, with an empty ledger."""
    return await machine.new_tenant()


@pytest.fixture
async def other_tenant(machine: Machine) -> Tenant:
    """A second tenant."""
    return await machine.new_tenant()
