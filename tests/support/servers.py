"""The Postgres and the RabbitMQ that a test session runs on.

In this order: a server that already runs and is named by FREEHOLD_TEST_POSTGRES_URL or
FREEHOLD_TEST_AMQP_URL; a container, where a Docker engine answers; a private one made of the
programs on this machine. FREEHOLD_TEST_SERVERS=docker or =local allows one of the last two only.
"""

import asyncio
import logging
import os
import secrets
import socket
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import asyncpg


def given(name: str, default: str = "") -> str:
    """Read the variable FREEHOLD_TEST_<name>, and take it out of the environment.

    Services refuse FREEHOLD_ variables that they do not know, so those that a test starts must not
    inherit ours. Without the prefix it stays, for the workers of pytest-xdist.
    """
    value = os.environ.pop(
        f"FREEHOLD_TEST_{name}", os.environ.get(f"TESTS_OF_FREEHOLD_{name}", default)
    )
    os.environ[f"TESTS_OF_FREEHOLD_{name}"] = value
    return value


POSTGRES_URL = given("POSTGRES_URL")
AMQP_URL = given("AMQP_URL")
KIND = given("SERVERS")
# How many processes of each service the faults are injected into.
REPLICAS = int(given("REPLICAS", "1"))
# A publisher of the stack that runs elsewhere, for the end-to-end tests.
PUBLISHER_URL = given("PUBLISHER_URL")

POSTGRES_VERSION = 17
POSTGRES_IMAGE = f"postgres:{POSTGRES_VERSION}"
RABBITMQ_IMAGE = "rabbitmq:4-management"
# For servers that forget everything when they end, whatever becomes of the machine.
_NOT_DURABLE = ("fsync=off", "full_page_writes=off")
START_TIMEOUT_S = 120
POLL_S = 0.1

Start = Callable[[ExitStack], str]
Result = TypeVar("Result")

logger = logging.getLogger(__name__)


@contextmanager
def postgres_server(folder: Path) -> Iterator[str]:
    """Run a Postgres for a while, and yield its superuser's URL.

    It forgets everything when it ends, and so need not wait for the disk: never test there that
    something survives a crash.
    """
    with _server(
        POSTGRES_URL, _postgres_container, lambda stack: _own_postgres(stack, folder)
    ) as url:
        yield url


@contextmanager
def another_postgres_server(folder: Path) -> Iterator[str]:
    """Run one more, which is empty, whatever the session's own is."""
    with _server("", _postgres_container, lambda stack: _own_postgres(stack, folder)) as url:
        yield url


@contextmanager
def rabbitmq_server(folder: Path) -> Iterator[str]:
    """Run a RabbitMQ for a while, and yield its URL."""
    with _server(AMQP_URL, _rabbitmq_container, lambda stack: _own_rabbitmq(stack, folder)) as url:
        yield url


def no_longer_wait_for_the_disk(url: str) -> None:
    """Have a running Postgres, whose superuser's URL this is, forget everything in a crash."""
    _execute(url, *(f"ALTER SYSTEM SET {s}" for s in _NOT_DURABLE), "SELECT pg_reload_conf()")


@contextmanager
def _server(given_url: str, container: Start, own: Start) -> Iterator[str]:
    if KIND not in {"", "docker", "local"}:
        raise ValueError(f"FREEHOLD_TEST_SERVERS is docker, local or not set, and not {KIND!r}")
    with ExitStack() as stack:
        if given_url:
            yield given_url
        elif KIND == "docker":
            yield container(stack)
        elif KIND == "local":
            yield own(stack)
        else:
            yield _container_or_own(stack, container, own)


def _container_or_own(stack: ExitStack, container: Start, own: Start) -> str:
    if _engine_listens():
        url = _container_or_none(stack, container)
        if url is not None:
            return url
    return own(stack)


def _engine_listens() -> bool:
    """Whether a Docker engine is there at all. Asked by ourselves: its client leaks a socket."""
    host = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    if not host.startswith("unix://"):
        return True
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(POLL_S)
        return probe.connect_ex(host.removeprefix("unix://")) == 0


def _container_or_none(stack: ExitStack, container: Start) -> str | None:
    from docker.errors import DockerException  # type: ignore[import-untyped]

    with ExitStack() as attempt:
        try:
            url = container(attempt)
        except (DockerException, OSError, RuntimeError) as error:
            # No image and no way to fetch it, or nothing that can be reached in it.
            logger.warning("no container, so this machine's own programs: %s", error)
            return None
        stack.push(attempt.pop_all())
        return url


def _postgres_container(stack: ExitStack) -> str:
    _require_client_programs()
    password = secrets.token_urlsafe(12)
    host, port = _run_container(
        stack,
        POSTGRES_IMAGE,
        5432,
        {"POSTGRES_PASSWORD": password},
        " ".join(["postgres -c max_connections=200", *(f"-c {s}" for s in _NOT_DURABLE)]),
    )
    url = f"postgresql://postgres:{password}@{host}:{port}/postgres"
    _wait(lambda: _answers_queries(url), POSTGRES_IMAGE)
    return url


def _require_client_programs() -> None:
    """See that databases on such a server can be dumped from here.

    Raises:
        RuntimeError: They cannot: pg_dump is older than the server, or missing.
    """
    from freehold.contracts.errors import DomainError
    from freehold_tenant_manager.dumps.client_programs import ClientPrograms

    try:
        _run(ClientPrograms().find("pg_dump", POSTGRES_VERSION))
    except DomainError as error:
        raise RuntimeError(error.detail) from None


def _own_postgres(stack: ExitStack, folder: Path) -> str:
    from freehold_local.folders import discard
    from freehold_local.postgres import PrivatePostgres
    from freehold_local.processes import end_processes
    from freehold_local.servers import STOP_TIMEOUT_S

    server = PrivatePostgres(folder / "postgres")
    stack.callback(discard, server.folder)
    stack.callback(server.stop)
    stack.callback(end_processes, server.folder, timeout_s=STOP_TIMEOUT_S, in_order=False)
    server.start()
    no_longer_wait_for_the_disk(server.url)
    return server.url


def _rabbitmq_container(stack: ExitStack) -> str:
    from freehold_local.rabbitmq import speaks_amqp

    password = secrets.token_urlsafe(12)
    host, port = _run_container(
        stack,
        RABBITMQ_IMAGE,
        5672,
        {"RABBITMQ_DEFAULT_USER": "freehold", "RABBITMQ_DEFAULT_PASS": password},
    )
    _wait(lambda: speaks_amqp(host, port), RABBITMQ_IMAGE)
    return f"amqp://freehold:{password}@{host}:{port}/"


def _own_rabbitmq(stack: ExitStack, folder: Path) -> str:
    from freehold_local.folders import discard
    from freehold_local.rabbitmq import PrivateRabbitMQ

    server = PrivateRabbitMQ(folder / "rabbitmq")
    stack.callback(discard, server.folder)
    stack.callback(server.stop)
    server.start()
    return server.url


def _run_container(
    stack: ExitStack, image: str, port: int, environment: dict[str, str], command: str | None = None
) -> tuple[str, int]:
    from testcontainers.core.config import testcontainers_config
    from testcontainers.core.container import DockerContainer

    # Its clean-up container would be one more image to fetch; ours end with the session.
    testcontainers_config.ryuk_disabled = True
    container = DockerContainer(image, command=command, env=environment, ports=[port])
    stack.callback(container.stop)
    container.start()
    return container.get_container_host_ip(), container.get_exposed_port(port)


def _wait(ready: Callable[[], bool], image: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while not ready():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{image} did not get ready in {START_TIMEOUT_S} s")
        time.sleep(POLL_S)


def _answers_queries(url: str) -> bool:
    try:
        _execute(url, "SELECT 1")
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return False
    return True


def _execute(url: str, *statements: str) -> None:
    async def connect_and_execute() -> None:
        connection = await asyncpg.connect(url, timeout=5)
        try:
            for statement in statements:
                await connection.execute(statement, timeout=5)
        finally:
            await connection.close(timeout=5)

    _run(connect_and_execute())


def _run(work: Coroutine[Any, Any, Result]) -> Result:
    """Run something in a thread of its own, away from the event loop of the tests."""
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(asyncio.run, work).result()
