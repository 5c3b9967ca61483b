"""The settings of the stack, read from environment variables."""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from freehold.settings import PREFIX, ServiceSettings
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

# Settings of the whole stack.
OBSERVE = "FREEHOLD_OBSERVE"
CHOICES = frozenset(
    {"FREEHOLD_POSTGRES_URL", "FREEHOLD_AMQP_URL", "FREEHOLD_OPERATOR_TOKEN", OBSERVE}
)

# Made by the stack; they cannot be set.
MADE = frozenset(
    {
        "FREEHOLD_HOST",
        "FREEHOLD_PUBLISHED_HOST",
        "FREEHOLD_PORT",
        "FREEHOLD_CATALOG_DSN",
        "FREEHOLD_CREDENTIAL_KEYS",
        "FREEHOLD_INGEST_PASSWORD",
        "FREEHOLD_PROJECTOR_PASSWORD",
        "FREEHOLD_QUERY_PASSWORD",
    }
)

# Used by clients of a stack: `freehold.env`, the command `freehold`, the tests.
CLIENTS = frozenset(
    {
        "FREEHOLD_TENANT_MANAGER_URL",
        "FREEHOLD_INGEST_URL",
        "FREEHOLD_QUERY_URL",
        "FREEHOLD_PROJECTOR_URL",
        "FREEHOLD_CATALOG_DSN",
        "FREEHOLD_API_KEY",
        "FREEHOLD_PUBLISHER_URL",
        "FREEHOLD_OPERATOR_TOKEN_FILE",
    }
)
TESTS_PREFIX = "FREEHOLD_TEST_"

# Where traces go (OpenTelemetry): handed on to every service.
TRACES_PREFIX = "OTEL_"


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of the stack.

    Attributes:
        postgres_url: An own server, with a role of CREATEDB and CREATEROLE; None for a private one.
        amqp_url: An own broker; None for a private one.
        operator_token: An own token; None for the one made by the stack.
        ports: Each service's port.
        observe: Whether Prometheus runs with the stack.
        for_services: For each service its own variables, handed on unchanged.
    """

    postgres_url: str | None
    amqp_url: str | None
    operator_token: str | None
    ports: Mapping[str, int]
    observe: bool
    for_services: Mapping[str, Mapping[str, str]]


def port_setting(service: str) -> str:
    """The name of the setting that moves a service's port."""
    return f"FREEHOLD_{service.upper().replace('-', '_')}_PORT"


def read_settings(environment: Mapping[str, str], *, private_amqp_password: str | None) -> Settings:
    """Read the settings from environment variables; an empty one counts as not set.

    Args:
        environment: The variables.
        private_amqp_password: The private broker's password, if there is one. A shell that has read
            ``freehold.env`` has that broker's URL, which is then not taken for an own broker.

    Raises:
        StackError: A setting has an invalid value, or an unknown name.
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
        observe=_observe(environment),
        for_services=_for_services(environment),
    )


def _for_services(environment: Mapping[str, str]) -> dict[str, dict[str, str]]:
    given = {
        name: value
        for name, value in environment.items()
        if name.startswith(PREFIX) and not name.startswith(TESTS_PREFIX) and value
    }
    handed_on = {
        service: settings.variables() - CHOICES - MADE - CLIENTS
        for service, settings in SERVICE_SETTINGS.items()
    }
    ours = CHOICES | CLIENTS | {port_setting(service) for service in USUAL_PORTS}
    faults = [
        f"{name} cannot be set here: "
        + ("the stack makes its own." if name in MADE else "no service has such a setting.")
        for name in sorted(given.keys() - ours.union(*handed_on.values()))
    ]
    if faults:
        raise StackError("\n".join([*faults, "services/guides/settings.md lists what can be set."]))
    traces = {n: value for n, value in environment.items() if n.startswith(TRACES_PREFIX)}
    return {
        service: {name: value for name, value in given.items() if name in known} | traces
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


def _observe(environment: Mapping[str, str]) -> bool:
    value = environment.get(OBSERVE) or "0"
    if value not in {"0", "1"}:
        raise StackError(f"{OBSERVE} is to be 1 or 0, not {value!r}.")
    return value == "1"


def _port(environment: Mapping[str, str], service: str) -> int:
    name = port_setting(service)
    value = environment.get(name) or str(USUAL_PORTS[service])
    if not value.isascii() or not value.isdecimal() or not 1 <= int(value) <= 65535:
        raise StackError(f"{name} is to be a port from 1 to 65535, not {value!r}.")
    return int(value)
