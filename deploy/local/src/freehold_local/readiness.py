"""Waiting until the stack's programs are ready, with the reason where one is not."""

import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial

import httpx

from freehold_local.errors import StackError
from freehold_local.plan import Plan
from freehold_local.ports import LOOPBACK
from freehold_local.processes import tail
from freehold_local.progress import Progress
from freehold_local.services import service_url
from freehold_local.supervision import ProgramState, Supervisor

READY_TIMEOUT_S = 180
ANSWER_TIMEOUT_S = 5
ANSWER_MAX_CHARACTERS = 500
POLL_S = 0.25

# A start is given up after this many exits, or after a service has given a reason for this long.
# Once ready, all services must stay ready for STEADY_S.
EXITS_MAX = 3
REASON_TIMEOUT_S = 8
STEADY_S = 2
SICK_TIMEOUT_S = 30

# With less disk space servers fail, and may be unable to log it.
ROOM_LEAST_MIB = 100


@dataclass(frozen=True, slots=True)
class Unreadiness:
    """Why a program is not ready.

    Attributes:
        reason: The reason, for a person.
        is_known: Whether the program itself gave it; else it may just be starting.
    """

    reason: str
    is_known: bool = False


@dataclass(frozen=True, slots=True)
class Check:
    """The readiness check of one program.

    Attributes:
        port: Its port.
        unreadiness: Returns why it is not ready, or None. The argument says whether optional
            dependencies count, too.
    """

    port: int
    unreadiness: Callable[[bool], Unreadiness | None]


@dataclass(slots=True)
class _Hope:
    """What has been seen of an unready program."""

    begun: float = field(default_factory=time.time)
    exits: set[int] = field(default_factory=set)
    reason_since: float | None = None

    def is_gone(self, state: ProgramState, unreadiness: Unreadiness) -> bool:
        """Record its state; return whether waiting is useless."""
        if state.exit_status > 0 and state.ended_at >= int(self.begun):
            self.exits.add(state.ended_at)
        if not unreadiness.is_known:
            self.reason_since = None
        elif self.reason_since is None:
            self.reason_since = time.monotonic()
        return len(self.exits) >= EXITS_MAX or (
            self.reason_since is not None
            and time.monotonic() - self.reason_since > REASON_TIMEOUT_S
        )


def checks(plan: Plan) -> Mapping[str, Check]:
    """The readiness checks of a stack's programs, by name."""
    found = {
        service: Check(port, partial(_service_unreadiness, port))
        for service, port in plan.service_ports.items()
    }
    for name, server in plan.servers.items():
        found[name] = Check(server.port, partial(_server_unreadiness, server.is_ready))
    return found


def wait_until_ready(
    names: Iterable[str],
    plan: Plan,
    supervisor: Supervisor,
    progress: Progress,
    *,
    is_start: bool = False,
    timeout_s: float = READY_TIMEOUT_S,
) -> None:
    """Wait until programs are ready; one without a check counts as ready.

    Args:
        names: The programs.
        plan: Their stack.
        supervisor: The supervisor, which knows whether it has given one up.
        progress: Receives a message for each ready program.
        is_start: Whether this is an undisturbed start. Then optional dependencies must answer, too,
            and a program that exits repeatedly is given up.
        timeout_s: The deadline.

    Raises:
        StackError: One was given up or took too long; the message ends with its log.
    """
    known = checks(plan)
    waiting = {name: (known[name], _Hope()) for name in names if name in known}
    deadline = time.monotonic() + timeout_s
    while waiting:
        progress.doing(f"waiting for {', '.join(waiting)}")
        unready = {}
        for name, (check, _) in list(waiting.items()):
            unreadiness = check.unreadiness(is_start)
            if unreadiness is None:
                progress.done(f"{name} on {LOOPBACK}:{check.port}")
                del waiting[name]
            else:
                unready[name] = unreadiness
        states = supervisor.states() if unready else {}
        for name, unreadiness in unready.items():
            _, hope = waiting[name]
            if (
                states[name].is_given_up
                or (is_start and hope.is_gone(states[name], unreadiness))
                or time.monotonic() > deadline
            ):
                raise _failure(name, plan, unreadiness)
        if waiting:
            time.sleep(POLL_S)


def stay_ready(
    names: Iterable[str], plan: Plan, supervisor: Supervisor, progress: Progress
) -> None:
    """Wait until all programs have been ready for STEADY_S at once.

    Raises:
        StackError: One was given up or took too long; the message ends with its log.
    """
    known = checks(plan)
    progress.doing("checking that it stays ready")
    deadline = time.monotonic() + SICK_TIMEOUT_S
    steady_since = time.monotonic()
    while time.monotonic() - steady_since < STEADY_S:
        time.sleep(POLL_S)
        for name in names:
            unreadiness = known[name].unreadiness(True)
            if unreadiness is not None:
                steady_since = time.monotonic()
                if supervisor.states()[name].is_given_up or steady_since > deadline:
                    raise _failure(name, plan, unreadiness)


def _failure(name: str, plan: Plan, unreadiness: Unreadiness) -> StackError:
    log = plan.state / "logs" / f"{name}.log"
    left = shutil.disk_usage(plan.state).free // 2**20
    room = f"The disk of {plan.state} has {left} MiB left.\n" if left < ROOM_LEAST_MIB else ""
    return StackError(
        f"{name} does not get ready: {unreadiness.reason}\n{tail(log)}\n{room}"
        f"All of its log: {log}\nWhat did start goes on running; `make down` ends it."
    )


def _service_unreadiness(port: int, all_checks: bool) -> Unreadiness | None:
    try:
        # On loopback: no proxy, and no loading of certificates (20 ms).
        answer = httpx.get(
            f"{service_url(port)}/readyz",
            timeout=ANSWER_TIMEOUT_S,
            trust_env=False,
            verify=False,  # noqa: S501
        )
        document = answer.json()
    except (httpx.HTTPError, ValueError) as error:
        return Unreadiness(f"no answer on port {port} ({type(error).__name__})")
    is_ready = answer.status_code == httpx.codes.OK
    lacking = [name for name, answers in document.get("checks", {}).items() if not answers]
    if is_ready and not (all_checks and lacking):
        return None
    reasons = document.get("reasons", {})
    if reasons:
        said = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
        return Unreadiness(said, is_known=True)
    said = f"waiting for {', '.join(lacking)}" if lacking else answer.text[:ANSWER_MAX_CHARACTERS]
    return Unreadiness(f"{answer.status_code}: {said}")


def _server_unreadiness(is_ready: Callable[[], bool], _: bool) -> Unreadiness | None:
    return None if is_ready() else Unreadiness("it does not answer yet")
