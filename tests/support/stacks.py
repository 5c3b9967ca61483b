"""The running Freehold that a test asks: one that is given by its URLs, or a private one."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from freehold_local.ports import LOOPBACK, remembered_ports
from freehold_local.postgres import PrivatePostgres
from freehold_local.stack import Stack
from support.servers import no_longer_wait_for_the_disk


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the services listen, and what an operator shows."""

    tenant_manager: str
    ingest: str
    query: str
    operator_token: str
    projector: str | None = None
    """None where it is not known. It serves only health and metrics."""
    amqp: str | None = None
    """The broker; None where it is not known."""

    @property
    def operator(self) -> dict[str, str]:
        """The environment of an operator at a terminal."""
        environment = {
            "FREEHOLD_INGEST_URL": self.ingest,
            "FREEHOLD_QUERY_URL": self.query,
            "FREEHOLD_TENANT_MANAGER_URL": self.tenant_manager,
            "FREEHOLD_OPERATOR_TOKEN": self.operator_token,
        }
        if self.projector is not None:
            environment["FREEHOLD_PROJECTOR_URL"] = self.projector
        return environment


def given_addresses(environment: Mapping[str, str]) -> Addresses | None:
    """The stack that the environment names, if it names one."""
    try:
        return Addresses(
            tenant_manager=environment["FREEHOLD_TENANT_MANAGER_URL"],
            ingest=environment["FREEHOLD_INGEST_URL"],
            query=environment["FREEHOLD_QUERY_URL"],
            operator_token=environment["FREEHOLD_OPERATOR_TOKEN"],
            projector=environment.get("FREEHOLD_PROJECTOR_URL"),
            amqp=environment.get("FREEHOLD_AMQP_URL"),
        )
    except KeyError:
        return None


def addresses_of(stack: Stack) -> Addresses:
    """Where a stack of this machine listens."""
    projector_port = remembered_ports(stack.state / "ports.json")["projector"]
    environment = {**stack.env(), "FREEHOLD_PROJECTOR_URL": f"http://{LOOPBACK}:{projector_port}"}
    addresses = given_addresses(environment)
    if addresses is None:
        raise LookupError(f"the stack in {stack.state} does not say where it is")
    return addresses


@contextmanager
def private_stack(
    folder: Path,
    service_environment: Mapping[str, Mapping[str, str]] | None = None,
    *,
    durable: bool,
    replicas: int = 1,
    observe: bool = False,
) -> Iterator[Stack]:
    """Have a Freehold of one's own for a while; only its logs outlive it, in `folder`.

    Args:
        folder: Where it keeps everything.
        service_environment: More settings for single services, by their names.
        durable: Whether Postgres waits for the disk; where nothing crashes it need not.
        replicas: How many processes each service has.
        observe: Whether Prometheus watches it.
    """
    # What the shell has set is about some other stack.
    stack = Stack(
        folder / "stack",
        {"FREEHOLD_OBSERVE": "1"} if observe else {},
        ports="free",
        service_environment=service_environment,
        replicas=replicas,
    )
    try:
        stack.up()
        if not durable:
            no_longer_wait_for_the_disk(PrivatePostgres(stack.state / "postgres").url)
        yield stack
    finally:
        if (stack.state / "logs").is_dir():
            shutil.copytree(stack.state / "logs", folder / "logs")
        stack.discard()
