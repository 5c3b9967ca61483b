"""The stack as a whole: up, down, and each of its programs by name.

A person has one, in ``.local`` of the checkout. A test makes others, with own folders and ports.
"""

import os
import shlex
import shutil
import signal
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from freehold_local.credentials import Credentials, keep_credentials, kept_credentials
from freehold_local.database import bootstrap, examine_broker, examine_given
from freehold_local.errors import StackError
from freehold_local.folders import discard, locked, make_state, write_whole
from freehold_local.installation import install_missing
from freehold_local.plan import Plan, Ports
from freehold_local.processes import end_processes, processes_of
from freehold_local.progress import Progress, Silence
from freehold_local.rabbitmq import PrivateRabbitMQ
from freehold_local.readiness import READY_TIMEOUT_S, SICK_TIMEOUT_S, stay_ready, wait_until_ready
from freehold_local.settings import Settings, read_settings
from freehold_local.supervision import ProgramState, Supervisor

DOWN_TIMEOUT_S = 240


class Stack:
    """One Freehold on this machine: Postgres, RabbitMQ and the four services.

    Its programs are ``postgres``, ``epmd``, ``rabbitmq``, ``tenant-manager``, ``ingest``,
    ``projector`` and ``query``, and ``prometheus`` where it is to be observed. Servers given by URL
    are not among them.

    Args:
        state: Its folder.
        environment: The variables with its settings; None for the process's own.
        ports: The usual ports where they are free, or any free ones.
        service_environment: More settings for single services, by their names.
        replicas: How many processes each service has; several need free ports. The second of
            ingest is the program ``ingest-2``.
    """

    def __init__(
        self,
        state: Path,
        environment: Mapping[str, str] | None = None,
        *,
        ports: Ports = "usual",
        service_environment: Mapping[str, Mapping[str, str]] | None = None,
        replicas: int = 1,
    ) -> None:
        self.state = state.resolve()
        self._environment = os.environ if environment is None else environment
        self._ports = ports
        self._service_environment = service_environment or {}
        self._replicas = replicas

    @property
    def env_file(self) -> Path:
        """The variables with which clients reach the stack, as shell assignments."""
        return self.state / "freehold.env"

    def up(self, progress: Progress | None = None) -> bool:
        """Start what is not running, and wait until everything is ready.

        Args:
            progress: Receives progress messages.

        Returns:
            Whether anything had to be started.

        Raises:
            StackError: Something is missing, in the way, or did not get ready in time.
        """
        progress = progress or Silence()
        make_state(self.state)
        with locked(self.state):
            plan = self._plan()
            supervisor = self._supervisor(plan)
            # Processes that a killed supervisor left also have the ports. They are ended below.
            connections = plan.check(is_up=bool(processes_of(self.state)))
            install_missing(
                progress.done,
                postgres=plan.postgres is not None,
                rabbitmq=plan.rabbitmq is not None,
                prometheus=plan.prometheus is not None,
            )
            if plan.settings.postgres_url is not None:
                url = plan.settings.postgres_url
                for doubt in examine_given(url, connections=connections):
                    progress.done(f"doubtful about the server in FREEHOLD_POSTGRES_URL: {doubt}")
            if plan.settings.amqp_url is not None:
                examine_broker(plan.settings.amqp_url, "in FREEHOLD_AMQP_URL")
            is_new = not self._runs_as_planned(supervisor, plan)
            if is_new:
                progress.doing("ending what was left running")
                end_processes(self.state, timeout_s=DOWN_TIMEOUT_S)
                progress.doing("preparing the servers")
                keep_credentials(self._credentials_file, plan.credentials)
                for folder, real in plan.prepare().items():
                    progress.done(f"{folder} stands in {real}: the server cannot enter this folder")
                plan = self._plan()
                supervisor.start(plan.programs)
            started = self._start_all(supervisor, plan, progress, is_new=is_new)
            lines = [f"{name}={shlex.quote(v)}\n" for name, v in plan.client_environment.items()]
            write_whole(self.env_file, "".join(lines), mode=0o600)
            return started

    def down(self, progress: Progress | None = None) -> bool:
        """Stop the stack and keep its data.

        Returns:
            Whether there was anything to stop.

        Raises:
            StackError: A process did not end.
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
        """Stop the stack and delete its data."""
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
        return self._credentials().credential_keys

    @property
    def prometheus_url(self) -> str | None:
        """The URL of its Prometheus; None where it has none."""
        prometheus = self._plan().prometheus
        return None if prometheus is None else prometheus.url

    def publisher(self, *arguments: str) -> str:
        """Run ``deploy/rabbitmq/publisher.sh`` on the stack's broker, and give its output.

        Raises:
            StackError: The broker is not the stack's own, not up, or the script failed.
        """
        rabbitmq = self._plan().rabbitmq
        if rabbitmq is None:
            raise StackError(
                "The broker is not this stack's own. Where its rabbitmqctl is, run:\n"
                f"sh publisher.sh {shlex.join(arguments)}    (deploy/rabbitmq/publisher.sh)"
            )
        return rabbitmq.publisher(*arguments)

    def states(self) -> dict[str, ProgramState]:
        """The state of each program, by its name; empty if the stack is down."""
        supervisor = self._supervisor()
        return supervisor.states() if supervisor.is_answering() else {}

    def processes(self, service: str) -> list[str]:
        """The names of a service's processes; a server has one."""
        services = self._plan().services
        return [name for name in services if services[name] == service] or [service]

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
        """Send a signal to a program. The supervisor restarts one that ends."""
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
        """Wait until programs are ready, all of them by default.

        Raises:
            StackError: One was given up or took too long.
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
        credentials = self._credentials()
        self._refuse_anothers(settings, credentials)
        if settings.operator_token is not None:
            credentials = replace(credentials, operator_token=settings.operator_token)
        return Plan(
            self.state,
            settings,
            credentials,
            ports=self._ports,
            service_environment=self._service_environment,
            replicas=self._replicas,
        )

    def _refuse_anothers(self, settings: Settings, credentials: Credentials) -> None:
        """Refuse settings of another stack, whose ``freehold.env`` the shell has read."""
        catalog = self._environment.get("FREEHOLD_CATALOG_DSN", "")
        chosen = {settings.amqp_url: "FREEHOLD_AMQP_URL"}
        if settings.operator_token != credentials.operator_token:
            chosen[settings.operator_token] = "FREEHOLD_OPERATOR_TOKEN"
        chosen.pop(None, None)
        own = self.env() if self.env_file.exists() else {}
        is_own = catalog == own.get("FREEHOLD_CATALOG_DSN") or (
            credentials.tenant_manager_password in catalog
        )
        if catalog and chosen and not is_own:
            names = " ".join(sorted(chosen.values()))
            raise StackError(
                f"This shell has read the freehold.env of another stack, and {names} would be that "
                "one's.\nUse another shell, or:  "
                f"unset FREEHOLD_CATALOG_DSN {names}"
            )

    def _credentials(self) -> Credentials:
        kept = kept_credentials(self._credentials_file)
        if kept is None and (self.state / "postgres" / "data").exists():
            raise StackError(
                f"{self._credentials_file} is missing, and the tenants' database passwords in "
                f"{self.state / 'postgres'} cannot be read without its credential_keys.\n"
                "Put back the copy you have, or remove the whole folder and start afresh."
            )
        return kept or Credentials()

    @property
    def _credentials_file(self) -> Path:
        return self.state / "secrets.json"

    def _supervisor(self, plan: Plan | None = None) -> Supervisor:
        credentials = self._credentials() if plan is None else plan.credentials
        return Supervisor(self.state, credentials.supervisor_password)

    @staticmethod
    def _runs_as_planned(supervisor: Supervisor, plan: Plan) -> bool:
        if not (plan.is_prepared and supervisor.is_answering()):
            return False
        texts = {**plan.scripts, supervisor.settings_file: supervisor.settings_text(plan.programs)}
        return all(path.exists() and path.read_text() == text for path, text in texts.items())

    @staticmethod
    def _start_all(supervisor: Supervisor, plan: Plan, progress: Progress, *, is_new: bool) -> bool:
        states = supervisor.states()
        asleep = {name for name, state in states.items() if not state.is_running or is_new}
        servers = [program.name for program in plan.programs if program.is_server]
        services = [program.name for program in plan.programs if not program.is_server]
        # tenant-manager first: it makes the roles that the others log in with.
        for group in (servers, services[:1], services[1:]):
            for name in group:
                if name in asleep:
                    supervisor.start_program(name)
            # Programs that were running before get less time.
            timeout_s = SICK_TIMEOUT_S if asleep.isdisjoint(group) else READY_TIMEOUT_S
            wait_until_ready(group, plan, supervisor, progress, is_start=True, timeout_s=timeout_s)
            if group is servers and plan.postgres is not None:
                password = plan.credentials.tenant_manager_password
                bootstrap(plan.postgres.url, password)
        stay_ready(services, plan, supervisor, progress)
        return bool(asleep)
