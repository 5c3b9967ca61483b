"""The stack as a whole: up, down, and each of its programs by name.

A person has one, in ``.local`` of their checkout; a test makes others beside it, each in a folder
and on ports of its own.
"""

import os
import shlex
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path

from freehold_local.credentials import keep_credentials
from freehold_local.database import examine_given, make_manager_role
from freehold_local.errors import StackError
from freehold_local.folders import discard, locked, make_state, write_whole
from freehold_local.installation import install_missing
from freehold_local.plan import Plan, Ports
from freehold_local.processes import end_processes, processes_of
from freehold_local.progress import Progress, Silence
from freehold_local.rabbitmq import PrivateRabbitMQ
from freehold_local.readiness import wait_until_ready
from freehold_local.settings import read_settings
from freehold_local.supervision import ProgramState, Supervisor

DOWN_TIMEOUT_S = 240


class Stack:
    """One Freehold on this machine: Postgres, RabbitMQ and the four services.

    Its programs are ``postgres``, ``epmd``, ``rabbitmq``, ``tenant-manager``, ``ingest``,
    ``projector`` and ``query``; servers that were given to it by URL are not among them.

    Args:
        state: The folder for all that it keeps.
        environment: Where its settings are read from; the process's own environment if None.
        ports: The usual ports where they are free, or any free ones.
        service_environment: More settings for single services, by their names.
    """

    def __init__(
        self,
        state: Path,
        environment: Mapping[str, str] | None = None,
        *,
        ports: Ports = "usual",
        service_environment: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        self.state = state.resolve()
        self._environment = os.environ if environment is None else environment
        self._ports = ports
        self._service_environment = service_environment or {}

    @property
    def env_file(self) -> Path:
        """What a person or a test needs to talk to the stack, as a shell reads it."""
        return self.state / "freehold.env"

    def up(self, progress: Progress | None = None) -> bool:
        """Start whatever of the stack is not running, and wait until all of it is ready.

        Args:
            progress: Told what happens meanwhile.

        Returns:
            Whether anything had to be started.

        Raises:
            StackError: Something is missing, in the way, or did not get ready in time.
        """
        progress = progress or Silence()
        make_state(self.state)
        with locked(self.state):
            plan = self._plan()
            install_missing(
                progress.done,
                postgres=plan.postgres is not None,
                rabbitmq=plan.rabbitmq is not None,
            )
            if plan.settings.postgres_url is not None:
                examine_given(plan.settings.postgres_url)
            supervisor = self._supervisor()
            if not self._runs_as_planned(supervisor, plan):
                progress.doing("ending what was left running")
                end_processes(self.state, timeout_s=DOWN_TIMEOUT_S)
                progress.doing("preparing the servers")
                plan = self._plan()
                for folder, real in plan.prepare().items():
                    progress.done(f"{folder} stands in {real}: the server cannot enter this folder")
                supervisor.start(plan.programs)
            started = self._start_all(supervisor, plan, progress)
            lines = [f"{name}={shlex.quote(v)}\n" for name, v in plan.client_environment.items()]
            write_whole(self.env_file, "".join(lines), mode=0o600)
            return started

    def down(self, progress: Progress | None = None) -> bool:
        """Stop all that belongs to the stack, and keep its data.

        Returns:
            Whether there was anything to stop.

        Raises:
            StackError: Something would not end.
        """
        progress = progress or Silence()
        if not self.state.is_dir():
            return False
        with locked(self.state):
            if not processes_of(self.state):
                return False
            progress.doing("stopping the services, then the servers")
            end_processes(self.state, timeout_s=DOWN_TIMEOUT_S)
            return True

    def discard(self) -> None:
        """End the stack and delete all that it kept, its data with it."""
        end_processes(self.state, timeout_s=DOWN_TIMEOUT_S, in_order=False)
        for server in ("postgres", "rabbitmq"):
            discard(self.state / server)
        shutil.rmtree(self.state, ignore_errors=True)

    def env(self) -> dict[str, str]:
        """The variables in ``env_file``.

        Raises:
            StackError: The stack was never up.
        """
        try:
            words = shlex.split(self.env_file.read_text())
        except FileNotFoundError:
            raise StackError(f"There is no {self.env_file} yet: `make up` first.") from None
        return dict(word.split("=", 1) for word in words)

    @property
    def credential_keys(self) -> str:
        """The keys that seal the tenants' credentials."""
        return keep_credentials(self._credentials_file).credential_keys

    def states(self) -> dict[str, ProgramState]:
        """What the supervisor knows of each program, by its name; empty where the stack is down."""
        supervisor = self._supervisor()
        return supervisor.states() if supervisor.is_answering() else {}

    def pid(self, name: str) -> int:
        """The process id of a running program.

        Raises:
            StackError: It is not running.
        """
        state = self.states().get(name)
        if state is None or state.pid is None:
            raise StackError(f"{name} is not running.")
        return state.pid

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a program; one that ends by it is started again at once."""
        os.kill(self.pid(name), number)

    def stop(self, name: str) -> None:
        """Stop a program and leave it stopped."""
        programs = {program.name: program for program in self._plan().programs}
        self._supervisor().stop_program(programs[name])

    def start(self, name: str) -> None:
        """Start a program that was stopped, and wait until it is ready."""
        self._supervisor().start_program(name)
        self.wait_until_ready(name)

    def wait_until_ready(self, *names: str) -> None:
        """Wait until programs answer, also while they are being started again; all if none named.

        Raises:
            StackError: One of them gave up or took too long.
        """
        plan = self._plan()
        names = names or tuple(program.name for program in plan.programs)
        wait_until_ready(names, plan, self._supervisor(), Silence())

    def _plan(self) -> Plan:
        rabbitmq = PrivateRabbitMQ(self.state / "rabbitmq")
        settings = read_settings(
            self._environment,
            private_amqp_password=rabbitmq.password if rabbitmq.is_prepared else None,
        )
        return Plan(
            self.state,
            settings,
            keep_credentials(self._credentials_file, operator_token=settings.operator_token),
            ports=self._ports,
            service_environment=self._service_environment,
        )

    @property
    def _credentials_file(self) -> Path:
        return self.state / "secrets.json"

    def _supervisor(self) -> Supervisor:
        password = keep_credentials(self._credentials_file).supervisor_password
        return Supervisor(self.state, password)

    @staticmethod
    def _runs_as_planned(supervisor: Supervisor, plan: Plan) -> bool:
        if not (plan.is_prepared and supervisor.is_answering()):
            return False
        texts = {**plan.scripts, supervisor.settings_file: supervisor.settings_text(plan.programs)}
        return all(path.exists() and path.read_text() == text for path, text in texts.items())

    @staticmethod
    def _start_all(supervisor: Supervisor, plan: Plan, progress: Progress) -> bool:
        states = supervisor.states()
        asleep = {name for name, state in states.items() if not state.is_running}
        servers = [program.name for program in plan.programs if program.is_server]
        services = [program.name for program in plan.programs if not program.is_server]
        for group in (servers, services):
            for name in group:
                if name in asleep:
                    supervisor.start_program(name)
            wait_until_ready(group, plan, supervisor, progress)
            if group is servers and plan.postgres is not None:
                password = plan.credentials.tenant_manager_password
                make_manager_role(plan.postgres.url, password)
        return bool(asleep)
