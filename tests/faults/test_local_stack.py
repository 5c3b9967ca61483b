"""The stack of this machine: a quiet first start, a bad value, a folder that is moved."""

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import aio_pika
import pytest

from freehold.messaging.fitness import UnfitBrokerError, examine
from freehold_local.errors import StackError
from freehold_local.processes import wait_until_ended
from freehold_local.rabbitmq import PrivateRabbitMQ
from freehold_local.settings import SERVICE_SETTINGS, port_setting
from freehold_local.stack import Stack
from support.stacks import private_stack
from support.waiting import PATIENCE_S

QUEUE = "test.kept"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with private_stack(tmp_path_factory.mktemp("local"), durable=True) as stack:
        yield stack


def chosen(stack: Stack, **environment: str) -> Stack:
    """The same stack, with other settings."""
    return Stack(stack.state, environment, ports="free")


def pids(stack: Stack) -> dict[str, int | None]:
    return {name: state.pid for name, state in stack.states().items()}


def test_a_first_start_is_quiet(stack: Stack) -> None:
    logs = stack.state / "logs"
    for service in SERVICE_SETTINGS:
        lines = [json.loads(line) for line in (logs / f"{service}.log").read_text().splitlines()]
        assert [line for line in lines if line["level"] not in {"debug", "info"}] == []
    text = (logs / "postgres.log").read_text()
    assert [word for word in ("FATAL", "ERROR", "WARNING", "PANIC") if word in text] == []


@pytest.mark.parametrize(
    ("environment", "fault"),
    [
        ({"FREEHOLD_POOL_SIZE": "abc"}, r"FREEHOLD_POOL_SIZE: .*'abc' \(tenant-manager\)"),
        ({"FREEHOLD_OPERATOR_TOKEN": "short"}, "FREEHOLD_OPERATOR_TOKEN: "),
        ({"FREEHOLD_REQUEST_TIMEOUT_S": "1e9"}, r"(?s)\(tenant-manager, ingest, .*Nothing was"),
        ({"FREEHOLD_CONNECTIONS_MAX": "1000"}, "and it allows 500: lower FREEHOLD_CONNECTIONS_MAX"),
        ({"FREEHOLD_STORAGE_URL": "file:///proc/no"}, "FREEHOLD_STORAGE_URL: /proc/no cannot be"),
        ({"FREEHOLD_AMQP_URL": "amqp://a:b@127.0.0.1:1/"}, "in FREEHOLD_AMQP_URL does not answer"),
        ({"FREEHOLD_POSTGRES_URL": "postgresql://a:b@127.0.0.1:1/x"}, "does not let us in"),
    ],
)
def test_a_bad_value_stops_nothing_that_runs(
    stack: Stack, environment: dict[str, str], fault: str
) -> None:
    before = pids(stack), (stack.state / "secrets.json").read_text()
    with pytest.raises(StackError, match=fault):
        chosen(stack, **environment).up()
    assert (pids(stack), (stack.state / "secrets.json").read_text()) == before
    assert None not in before[0].values()


def test_a_running_stack_that_is_not_ready_is_not_reported_as_up(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("freehold_local.stack.SICK_TIMEOUT_S", 1)
    stack.signal("query", signal.SIGSTOP)
    try:
        with pytest.raises(StackError, match="query does not get ready: no answer"):
            stack.up()
    finally:
        stack.signal("query", signal.SIGCONT)
    assert not stack.up()


def test_leftovers_of_a_killed_supervisor_are_ended_and_a_service_that_cannot_start_is_given_up(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    ports = json.loads((stack.state / "ports.json").read_text())
    settings = {port_setting(service): str(port) for service, port in ports.items()}
    left = stack.pid("ingest")
    supervisor = int((stack.state / "supervisord.pid").read_text())
    os.kill(supervisor, signal.SIGKILL)
    assert wait_until_ended([supervisor], timeout_s=PATIENCE_S)
    # A reserved address (RFC 5737), which passes every check of values.
    elsewhere = {"query": {"FREEHOLD_HOST": "203.0.113.1"}}
    monkeypatch.setattr("freehold_local.readiness.READY_TIMEOUT_S", 1_000)
    again = Stack(stack.state, settings, service_environment=elsewhere)
    with pytest.raises(StackError, match=r"(?s)query does not get ready.*203\.0\.113\.1"):
        again.up()
    assert again.pid("ingest") != left
    assert json.loads((stack.state / "ports.json").read_text()) == ports


def test_a_brokers_user_without_the_services_rights_is_named(stack: Stack) -> None:
    broker = PrivateRabbitMQ(stack.state / "rabbitmq", owner=stack.state)
    url = broker.publisher("add", "unfit").split()[-1]
    with pytest.raises(UnfitBrokerError, match="access to exchange"):
        asyncio.run(examine(url, timeout_s=30))


def test_queues_and_data_survive_a_move(stack: Stack) -> None:
    # The broker goes on although the services did not start.
    asyncio.run(_put(stack.env()["FREEHOLD_AMQP_URL"]))
    home, elsewhere = stack.state, stack.state.with_name("elsewhere")
    tokens = stack.env()["FREEHOLD_OPERATOR_TOKEN"]
    try:
        stack.down()
        _move(stack, elsewhere)
        stack.up()
        assert asyncio.run(_take(stack.env()["FREEHOLD_AMQP_URL"])) == b"kept"
        # And under everything that runs in it: nothing of that may be left beside the new ones.
        _move(stack, home)
        assert stack.up()
        assert stack.env()["FREEHOLD_OPERATOR_TOKEN"] == tokens
        assert not [process for process in _command_lines() if bytes(elsewhere) in process]
    finally:
        if stack.state != home:
            stack.down()
            _move(stack, home)


def _move(stack: Stack, folder: Path) -> None:
    stack.state.rename(folder)
    stack.state = folder


def _command_lines() -> list[bytes]:
    return [file.read_bytes() for file in Path("/proc").glob("[0-9]*/cmdline") if file.exists()]


async def _put(url: str) -> None:
    async with await aio_pika.connect(url, timeout=10) as connection:
        channel = await connection.channel()
        await channel.declare_queue(QUEUE, durable=True, arguments={"x-queue-type": "quorum"})
        message = aio_pika.Message(b"kept", delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
        await channel.default_exchange.publish(message, QUEUE, timeout=10)


async def _take(url: str) -> bytes:
    async with await aio_pika.connect(url, timeout=10) as connection:
        channel = await connection.channel()
        queue = await channel.get_queue(QUEUE, ensure=False)
        message = await queue.get(no_ack=True, timeout=10)
        return message.body
