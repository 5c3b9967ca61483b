"""The plan of a stack: its servers, its ports, and the variables of each service.

It follows from the settings and the stack's folder alone. So a plan made while the stack runs shows
whether that still runs as planned.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Literal
from urllib.parse import quote, urlsplit

from freehold_local.credentials import Credentials
from freehold_local.database import MANAGER
from freehold_local.errors import StackError
from freehold_local.ports import choose_ports, remember_ports, remembered_ports, why_not
from freehold_local.postgres import MAX_CONNECTIONS, PrivatePostgres
from freehold_local.postgres import USUAL_PORT as POSTGRES_PORT
from freehold_local.programs import Program, write_script
from freehold_local.prometheus import USUAL_PORT as PROMETHEUS_PORT
from freehold_local.prometheus import PrivatePrometheus
from freehold_local.rabbitmq import USUAL_PORT as AMQP_PORT
from freehold_local.rabbitmq import PrivateRabbitMQ
from freehold_local.servers import PrivateServer
from freehold_local.services import (
    client_environment,
    service_environments,
    service_program,
    service_script,
)
from freehold_local.settings import USUAL_PORTS, Settings, port_setting
from freehold_local.values import check_connections, check_values, connections_wanted

Ports = Literal["usual", "free"]

# Stand for private servers that are not made yet, while values are checked.
ANY_POSTGRES = "postgresql://user:password@127.0.0.1:5432/postgres"
ANY_BROKER = "amqp://user:password@127.0.0.1:5672/"


class Plan:
    """The plan of one stack.

    Args:
        state: The stack's folder.
        settings: The settings.
        credentials: The stack's passwords and keys.
        ports: The usual ports where they are free, or any free ones.
        service_environment: More settings for single services, by their names.
        replicas: How many processes each service has; several need free ports.
    """

    def __init__(
        self,
        state: Path,
        settings: Settings,
        credentials: Credentials,
        *,
        ports: Ports,
        service_environment: Mapping[str, Mapping[str, str]],
        replicas: int = 1,
    ) -> None:
        self.state = state
        self.settings = settings
        self.credentials = credentials
        self._ports = ports
        self._more = service_environment
        # The service of each process. The first process has the service's name.
        self.services = {
            service if number == 1 else f"{service}-{number}": service
            for service in USUAL_PORTS
            for number in range(1, replicas + 1)
        }
        usual = ports == "usual"
        self.postgres = (
            PrivatePostgres(
                state / "postgres", owner=state, usual_port=POSTGRES_PORT if usual else None
            )
            if settings.postgres_url is None
            else None
        )
        self.rabbitmq = (
            PrivateRabbitMQ(
                state / "rabbitmq", owner=state, usual_port=AMQP_PORT if usual else None
            )
            if settings.amqp_url is None
            else None
        )
        self.prometheus = (
            PrivatePrometheus(
                state / "prometheus", owner=state, usual_port=PROMETHEUS_PORT if usual else None
            )
            if settings.observe
            else None
        )

    @property
    def servers(self) -> dict[str, PrivateServer]:
        """The private servers, in the order of starting, by name."""
        named: dict[str, PrivateServer | None] = {
            "postgres": self.postgres,
            "rabbitmq": self.rabbitmq,
            "prometheus": self.prometheus,
        }
        return {name: server for name, server in named.items() if server is not None}

    @property
    def is_prepared(self) -> bool:
        """Whether ``prepare`` was done for these servers."""
        return all(server.is_prepared for server in self.servers.values())

    @property
    def programs(self) -> list[Program]:
        """Every program, in the order of starting."""
        servers = [program for server in self.servers.values() for program in server.programs()]
        return servers + [service_program(name, self.state) for name in self.services]

    @property
    def service_ports(self) -> Mapping[str, int]:
        """The port of each process of a service."""
        if self._ports == "usual":
            return self.settings.ports
        return remembered_ports(self.state / "ports.json")

    @property
    def postgres_url(self) -> str:
        """tenant-manager's URL of the server."""
        if self.postgres is None:
            return self.settings.postgres_url or ""
        parts = urlsplit(self.postgres.url)
        address = parts.netloc.rpartition("@")[2]
        login = f"{MANAGER}:{quote(self.credentials.tenant_manager_password, safe='')}"
        return parts._replace(netloc=f"{login}@{address}").geturl()

    @property
    def amqp_url(self) -> str:
        """The services' URL of the broker."""
        return self.settings.amqp_url or "" if self.rabbitmq is None else self.rabbitmq.url

    @property
    def environments(self) -> dict[str, dict[str, str]]:
        """The settings of each process of a service, by its name."""
        environments = self._environments(self.postgres_url, self.amqp_url)
        return {
            name: environments[service] | {"FREEHOLD_PORT": str(self.service_ports[name])}
            for name, service in self.services.items()
        }

    def _environments(self, postgres_url: str, amqp_url: str) -> dict[str, dict[str, str]]:
        environments = service_environments(
            self.settings,
            self.credentials,
            {**USUAL_PORTS, **self.service_ports},
            state=self.state,
            postgres_url=postgres_url,
            amqp_url=amqp_url,
        )
        for service, more in self._more.items():
            environments[service] |= more
        return environments

    @property
    def client_environment(self) -> dict[str, str]:
        """The variables with which clients reach the running stack."""
        return client_environment(self.environments, self.service_ports, amqp_url=self.amqp_url)

    @property
    def scripts(self) -> dict[Path, str]:
        """The text of each service process's start script, by its path."""
        return {
            service_program(name, self.state).script: service_script(
                self.services[name], self.state, environment
            )
            for name, environment in self.environments.items()
        }

    def check(self, *, is_up: bool) -> int:
        """Check values, folders and ports, before anything is stopped or made.

        Args:
            is_up: Whether the stack runs, and so has its ports.

        Returns:
            The most connections to Postgres that the services open.

        Raises:
            StackError: A value is invalid, a folder cannot be written, or a port is taken.
        """
        settings = check_values(
            self._environments(
                self.settings.postgres_url or ANY_POSTGRES, self.settings.amqp_url or ANY_BROKER
            )
        )
        wanted = connections_wanted(settings)
        if self.postgres is not None:
            check_connections(wanted, MAX_CONNECTIONS)
        if self._ports == "usual":
            ours = remembered_ports(self.state / "ports.json").values() if is_up else ()
            self._check_ports(ours)
        return wanted

    def prepare(self) -> dict[Path, Path]:
        """Make the stack's files, and choose its ports. The stack must be down.

        Returns:
            The servers' folders that had to be elsewhere, with their real paths.

        Raises:
            StackError: A service's port is taken, or a server cannot be prepared.
        """
        if self._ports == "free":
            choose_ports(self.state / "ports.json", dict.fromkeys(self.services))
        else:
            self._check_ports(())
            remember_ports(self.state / "ports.json", self.settings.ports)
        if self.prometheus is not None:
            self.prometheus.watch(
                (service, self.service_ports[name]) for name, service in self.services.items()
            )
        for server in self.servers.values():
            server.prepare()
        for folder in ("logs", "services"):
            (self.state / folder).mkdir(mode=0o700, exist_ok=True)
        for path, text in self.scripts.items():
            write_script(path, text, None)
        return {
            server.folder: server.folder.readlink()
            for server in self.servers.values()
            if server.folder.is_symlink()
        }

    def _check_ports(self, ours: Collection[int]) -> None:
        has: dict[int, str] = {}
        for server in self.servers.values():
            if server.is_prepared:
                has[server.port] = server.title
        for service, port in self.settings.ports.items():
            fault = f"{has[port]} has it" if port in has else None
            if fault is None and port not in ours:
                fault = why_not(port)
            if fault is not None:
                raise StackError(
                    f"Port {port} on 127.0.0.1, which {service} is to have, is taken: {fault}.\n"
                    "End the program that has it, or choose another: "
                    f"{port_setting(service)}=… make up"
                )
            has[port] = service
