"""Waiting until the stack's programs answer, and saying why where one does not."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

import httpx

from freehold_local.errors import StackError
from freehold_local.plan import Plan
from freehold_local.ports import LOOPBACK
from freehold_local.processes import tail
from freehold_local.progress import Progress
from freehold_local.services import service_url
from freehold_local.supervision import Supervisor

READY_TIMEOUT_S = 180
ANSWER_TIMEOUT_S = 5
ANSWER_MAX_CHARACTERS = 500
POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Check:
    """How one program is asked whether it is ready.

    Attributes:
        port: Where it listens.
        unreadiness: Answers why it is not ready, or None when it is.
    """

    port: int
    unreadiness: Callable[[], str | None]


def checks(plan: Plan) -> Mapping[str, Check]:
    """How each program of a stack that can be asked is asked, by its name."""
    found = {
        service: Check(port, partial(_service_unreadiness, port))
        for service, port in plan.service_ports.items()
    }
    for name, server in (("postgres", plan.postgres), ("rabbitmq", plan.rabbitmq)):
        if server is not None:
            found[name] = Check(server.port, partial(_server_unreadiness, server.is_ready))
    return found


def wait_until_ready(
    names: Iterable[str], plan: Plan, supervisor: Supervisor, progress: Progress
) -> None:
    """Wait until programs are ready; one that cannot be asked counts as ready.

    Args:
        names: Which of them.
        plan: The stack that they belong to.
        supervisor: Knows which of them has no hope left.
        progress: Told of each that is ready.

    Raises:
        StackError: One of them gave up or took too long; the message ends with its log.
    """
    known = checks(plan)
    waiting = {name: known[name] for name in names if name in known}
    deadline = time.monotonic() + READY_TIMEOUT_S
    while waiting:
        progress.doing(f"waiting for {', '.join(waiting)}")
        states = supervisor.states()
        for name, check in list(waiting.items()):
            reason = check.unreadiness()
            if reason is None:
                progress.done(f"{name} on {LOOPBACK}:{check.port}")
                del waiting[name]
            elif states[name].is_given_up or time.monotonic() > deadline:
                log = plan.state / "logs" / f"{name}.log"
                raise StackError(
                    f"{name} does not get ready: {reason}\n{tail(log)}\n"
                    f"All of its log: {log}\nWhat did start goes on running; `make down` ends it."
                )
        time.sleep(POLL_S)


def _service_unreadiness(port: int) -> str | None:
    try:
        # The machine's proxy settings are for the world outside.
        answer = httpx.get(f"{service_url(port)}/readyz", timeout=ANSWER_TIMEOUT_S, trust_env=False)
    except httpx.HTTPError as error:
        return f"no answer on port {port} ({type(error).__name__})"
    if answer.status_code == httpx.codes.OK:
        return None
    return f"{answer.status_code}: {answer.text[:ANSWER_MAX_CHARACTERS]}"


def _server_unreadiness(is_ready: Callable[[], bool]) -> str | None:
    return None if is_ready() else "it does not answer yet"
