"""What one stack consists of: which servers, which ports, what each service is told.

All of it follows from the person's settings and from what the stack's folder remembers, so a plan
made while the stack runs tells whether it runs as it should.
"""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Literal
from urllib.parse import quote, urlsplit

from freehold_local.credentials import Credentials
from freehold_local.database import MANAGER
from freehold_local.errors import StackError
from freehold_local.ports import choose_ports, is_free, remembered_ports
from freehold_local.postgres import USUAL_PORT as POSTGRES_PORT
from freehold_local.postgres import PrivatePostgres
from freehold_local.programs import Program, write_script
from freehold_local.rabbitmq import USUAL_PORT as AMQP_PORT
from freehold_local.rabbitmq import PrivateRabbitMQ
from freehold_local.services import (
    client_environment,
    service_environments,
    service_program,
    service_script,
)
from freehold_local.settings import USUAL_PORTS, Settings, port_setting

Ports = Literal["usual", "free"]


class Plan:
    """What one stack consists of.

    Args:
        state: The stack's folder.
        settings: What the person chose.
        credentials: The stack's passwords and keys.
        ports: The usual ports where they are free, or any free ones.
        service_environment: More settings for single services, by their names.
    """

    def __init__(
        self,
        state: Path,
        settings: Settings,
        credentials: Credentials,
        *,
        ports: Ports,
        service_environment: Mapping[str, Mapping[str, str]],
    ) -> None:
        self.state = state
        self.settings = settings
        self.credentials = credentials
        self._ports = ports
        self._more = service_environment
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

    @property
    def is_prepared(self) -> bool:
        """Whether ``prepare`` was done for servers like these."""
        servers = (self.postgres, self.rabbitmq)
        return all(server is None or server.is_prepared for server in servers)

    @property
    def programs(self) -> list[Program]:
        """Every program of the stack, in the order in which they are started."""
        servers = [] if self.postgres is None else [self.postgres.program()]
        servers += [] if self.rabbitmq is None else self.rabbitmq.programs()
        return servers + [service_program(service, self.state) for service in USUAL_PORTS]

    @cached_property
    def service_ports(self) -> Mapping[str, int]:
        """Each service's port."""
        if self._ports == "usual":
            return self.settings.ports
        return remembered_ports(self.state / "ports.json")

    @property
    def postgres_url(self) -> str:
        """tenant-manager's way in to the server."""
        if self.postgres is None:
            return self.settings.postgres_url or ""
        parts = urlsplit(self.postgres.url)
        place = parts.netloc.rpartition("@")[2]
        login = f"{MANAGER}:{quote(self.credentials.tenant_manager_password, safe='')}"
        return parts._replace(netloc=f"{login}@{place}").geturl()

    @property
    def amqp_url(self) -> str:
        """The services' way in to the broker."""
        return self.settings.amqp_url or "" if self.rabbitmq is None else self.rabbitmq.url

    @property
    def environments(self) -> dict[str, dict[str, str]]:
        """The settings of each service, by its name."""
        environments = service_environments(
            self.settings,
            self.credentials,
            self.service_ports,
            state=self.state,
            postgres_url=self.postgres_url,
            amqp_url=self.amqp_url,
        )
        for service, more in self._more.items():
            environments[service] |= more
        return environments

    @property
    def client_environment(self) -> dict[str, str]:
        """What a person or a test needs to talk to the running stack."""
        return client_environment(self.environments, self.service_ports, amqp_url=self.amqp_url)

    @property
    def scripts(self) -> dict[Path, str]:
        """The text of each service's start script, by its path."""
        return {
            service_program(service, self.state).script: service_script(
                service, self.state, environment
            )
            for service, environment in self.environments.items()
        }

    def prepare(self) -> dict[Path, Path]:
        """Make what the stack needs on disk, and choose its ports; nothing of it may be running.

        Returns:
            The servers' folders that had to stand elsewhere, and where they stand.

        Raises:
            StackError: A service's port is taken, or a server cannot be prepared.
        """
        if self._ports == "free":
            choose_ports(self.state / "ports.json", dict.fromkeys(USUAL_PORTS))
        else:
            self._check_ports()
        servers = [server for server in (self.postgres, self.rabbitmq) if server is not None]
        for server in servers:
            server.prepare()
        for folder in ("logs", "services"):
            (self.state / folder).mkdir(mode=0o700, exist_ok=True)
        for path, text in self.scripts.items():
            write_script(path, text, None)
        return {
            server.folder: server.folder.readlink()
            for server in servers
            if server.folder.is_symlink()
        }

    def _check_ports(self) -> None:
        for service, port in self.settings.ports.items():
            if not is_free(port):
                name = port_setting(service)
                raise StackError(
                    f"Port {port} on 127.0.0.1, which {service} is to have, is taken.\n"
                    f"End the program that has it, or choose another: {name}=… make up"
                )
