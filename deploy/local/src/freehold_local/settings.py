"""What the person who starts the stack has chosen, read from the environment once."""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from freehold_local.errors import StackError

# Each service and the port it has unless its setting moves it, in the order they are started.
USUAL_PORTS = {"tenant-manager": 8080, "ingest": 8081, "projector": 8083, "query": 8082}


@dataclass(frozen=True, slots=True)
class Settings:
    """The choices of the person who starts the stack.

    Attributes:
        postgres_url: A server of their own, as a role with CREATEDB and CREATEROLE; None: private.
        amqp_url: A broker of their own; None: private.
        operator_token: A token of their own; None: the one that is kept.
        ports: Each service's port.
        for_services: Settings handed on to every service as they are.
    """

    postgres_url: str | None
    amqp_url: str | None
    operator_token: str | None
    ports: Mapping[str, int]
    for_services: Mapping[str, str]


def port_setting(service: str) -> str:
    """The name of the setting that moves a service's port."""
    return f"FREEHOLD_{service.upper().replace('-', '_')}_PORT"


def read_settings(environment: Mapping[str, str], *, private_amqp_password: str | None) -> Settings:
    """Read the choices from environment variables; an empty one counts as not set.

    Args:
        environment: Where they are read from.
        private_amqp_password: The private broker's password, where there is one. A shell that has
            read the stack's own ``freehold.env`` names that broker, which is no choice at all.

    Raises:
        StackError: A setting has a value that cannot be meant.
    """
    amqp_url = _url(environment, "FREEHOLD_AMQP_URL", ("amqp", "amqps"))
    if amqp_url and private_amqp_password:
        is_ours = urlsplit(amqp_url).password == private_amqp_password
        amqp_url = None if is_ours else amqp_url
    return Settings(
        postgres_url=_url(environment, "FREEHOLD_POSTGRES_URL", ("postgresql", "postgres")),
        amqp_url=amqp_url,
        operator_token=environment.get("FREEHOLD_OPERATOR_TOKEN") or None,
        ports={service: _port(environment, service) for service in USUAL_PORTS},
        for_services={
            name: environment[name]
            for name in ("FREEHOLD_LOG_LEVEL", "FREEHOLD_LOG_FORMAT")
            if environment.get(name)
        },
    )


def _url(environment: Mapping[str, str], name: str, schemes: tuple[str, ...]) -> str | None:
    value = environment.get(name)
    if not value:
        return None
    try:
        parts = urlsplit(value)
        usable = parts.scheme in schemes and parts.hostname and parts.username
    except ValueError:
        usable = None
    if not usable:
        raise StackError(
            f"{name} is not usable: it is to look like {schemes[0]}://user:password@host:port/"
        )
    return value


def _port(environment: Mapping[str, str], service: str) -> int:
    name = port_setting(service)
    value = environment.get(name) or str(USUAL_PORTS[service])
    if not value.isascii() or not value.isdecimal() or not 1 <= int(value) <= 65535:
        raise StackError(f"{name} is to be a port from 1 to 65535, not {value!r}.")
    return int(value)
