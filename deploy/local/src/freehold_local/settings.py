"""What the person who starts the stack has chosen, read from the environment once."""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from freehold.service.settings import PREFIX, ServiceSettings
from freehold_ingest.settings import Settings as IngestSettings
from freehold_local.errors import StackError
from freehold_projector.settings import Settings as ProjectorSettings
from freehold_query.settings import Settings as QuerySettings
from freehold_tenant_manager.settings import Settings as TenantManagerSettings

# Each service's own settings, in the order they are started.
SERVICE_SETTINGS: Mapping[str, type[ServiceSettings]] = {
    "tenant-manager": TenantManagerSettings,
    "ingest": IngestSettings,
    "projector": ProjectorSettings,
    "query": QuerySettings,
}

# The port each service has unless its setting moves it.
USUAL_PORTS: Mapping[str, int] = {
    service: settings.model_fields["port"].default for service, settings in SERVICE_SETTINGS.items()
}

# Chosen for the whole stack, and said to its services in its own words.
CHOICES = frozenset({"FREEHOLD_POSTGRES_URL", "FREEHOLD_AMQP_URL", "FREEHOLD_OPERATOR_TOKEN"})

# Made by the stack, and not to be chosen.
MADE = frozenset(
    {
        "FREEHOLD_HOST",
        "FREEHOLD_PORT",
        "FREEHOLD_CATALOG_DSN",
        "FREEHOLD_CREDENTIAL_KEYS",
        "FREEHOLD_INGEST_PASSWORD",
        "FREEHOLD_PROJECTOR_PASSWORD",
        "FREEHOLD_QUERY_PASSWORD",
    }
)

# Of those who talk to a stack: its own `freehold.env`, the command `freehold`, the tests.
CLIENTS = frozenset(
    {
        "FREEHOLD_TENANT_MANAGER_URL",
        "FREEHOLD_INGEST_URL",
        "FREEHOLD_QUERY_URL",
        "FREEHOLD_PROJECTOR_URL",
        "FREEHOLD_CATALOG_DSN",
        "FREEHOLD_API_KEY",
        "FREEHOLD_OPERATOR_TOKEN_FILE",
    }
)
TESTS_PREFIX = "FREEHOLD_TEST_"


@dataclass(frozen=True, slots=True)
class Settings:
    """The choices of the person who starts the stack.

    Attributes:
        postgres_url: A server of their own, as a role with CREATEDB and CREATEROLE; None: private.
        amqp_url: A broker of their own; None: private.
        operator_token: A token of their own; None: the one that is kept.
        ports: Each service's port.
        for_services: What is handed on as it is, by the service: all that it knows itself.
    """

    postgres_url: str | None
    amqp_url: str | None
    operator_token: str | None
    ports: Mapping[str, int]
    for_services: Mapping[str, Mapping[str, str]]


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
        StackError: A setting has a value that cannot be meant, or nobody knows its name.
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
        for_services=_for_services(environment),
    )


def _for_services(environment: Mapping[str, str]) -> dict[str, dict[str, str]]:
    given = {
        name: value
        for name, value in environment.items()
        if name.startswith(PREFIX) and not name.startswith(TESTS_PREFIX) and value
    }
    handed_on = {
        service: settings.variables() - CHOICES - MADE
        for service, settings in SERVICE_SETTINGS.items()
    }
    ours = CHOICES | CLIENTS | {port_setting(service) for service in USUAL_PORTS}
    faults = [
        f"{name} cannot be set here: "
        + ("the stack makes its own." if name in MADE else "no service has such a setting.")
        for name in sorted(given.keys() - ours.union(*handed_on.values()))
    ]
    if faults:
        raise StackError("\n".join([*faults, "deploy/README.md says what can be set."]))
    return {
        service: {name: value for name, value in given.items() if name in known}
        for service, known in handed_on.items()
    }


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
