"""Settings: read once from the environment, every variable prefixed FREEHOLD_.

A misspelt variable would silently leave a default in force, so unknown ones are refused.
"""

import os
import sys
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Annotated, Any, Literal, Self
from urllib.parse import unquote, urlsplit

from pydantic import (
    AfterValidator,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from freehold.database.tls import Tls
from freehold.ledger.clocks import Clock
from freehold.security.key_ring import KeyRing

PREFIX = "FREEHOLD_"

EXIT_REFUSED = 78
"""The exit status for refused settings (EX_CONFIG of sysexits.h): a restart is no use."""

PUBLIC_SECRETS = frozenset(
    {"local-only", "local-only-operator-token", "k1:ZnJlZWhvbGQtbG9jYWwtb25seS1ub3QtYS1zZWNyZXQ="}
)
"""The defaults in docker-compose.yml: public, and only for use on one machine."""

# Postgres stores a timeout as milliseconds in 32 bits, the event loop in 64.
_TIMEOUT_MAX_S = 2_000_000
_DURATION_MAX_S = 10**9
_DAYS_MAX = 36_500
_COUNT_MAX = 2**31 - 1
_BYTES_MAX = 2**53

_SHOWN_CHARACTERS = 80


def _url_of(*schemes: str) -> AfterValidator:
    def check(secret: SecretStr) -> SecretStr:
        try:
            parts = urlsplit(secret.get_secret_value())
            usable = parts.scheme in schemes and ("," in parts.netloc or parts.port != 0)
        except ValueError:
            # Its message may hold the password.
            usable = False
        if not usable:
            raise ValueError(f"this is to look like {schemes[0]}://user:password@host:port/name")
        return secret

    return AfterValidator(check)


def _reached_safely(secret: SecretStr) -> SecretStr:
    Tls.of(secret.get_secret_value())
    return secret


def _sealing_keys(secret: SecretStr) -> SecretStr:
    KeyRing(secret.get_secret_value())
    return secret


PostgresUrl = Annotated[SecretStr, _url_of("postgresql", "postgres")]
AmqpUrl = Annotated[SecretStr, _url_of("amqp", "amqps")]


class SettingsError(ValueError):
    """Settings that a service does not start with.

    Attributes:
        faults: A sentence for each fault, with its variable. None shows a secret.
    """

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


class ServiceSettings(BaseSettings):
    """Settings that every service has. A field `port` is the variable FREEHOLD_PORT."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    host: str = Field(default="127.0.0.1", description="The address to listen on.")
    published_host: str | None = Field(
        default=None,
        min_length=1,
        description="Where that address is published, if not there: for a container, on its host.",
    )
    port: int = Field(ge=1, le=65535, description="The port to listen on.")
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "json", "console"] = Field(
        default="auto", description="`auto` is console at a terminal and JSON elsewhere."
    )
    catalog_dsn: Annotated[PostgresUrl, AfterValidator(_reached_safely)] = Field(
        description="The catalog, as this service's own role. Its TLS is that of every server."
    )
    credential_keys: Annotated[SecretStr, AfterValidator(_sealing_keys)] = Field(
        description="Keys that seal tenants' credentials: id:base64 of 32 bytes, comma-separated."
    )
    request_timeout_s: float = Field(
        default=10.0,
        gt=0,
        description="A request's body must arrive within this time (else 408), and its answer is"
        " given within the same time after that (else 503).",
    )
    requests_in_flight_max: int = Field(
        default=2_000, ge=1, description="More requests at once are answered 503."
    )
    all_bodies_bytes_max: int = Field(
        default=128 * 2**20,
        ge=2**20,
        description="Bytes of all request bodies held at once; more are answered 503.",
    )
    clock_difference_max_s: float = Field(
        default=60.0,
        ge=1,
        description="How far this service's clock and a Postgres server's may differ. Beyond it"
        " nothing is written or decided by them.",
    )
    shutdown_timeout_s: float = Field(
        default=15.0, gt=0, description="How long accepted work may take after SIGTERM."
    )

    @field_validator("*")
    @classmethod
    def _is_within_reason(cls, value: Any, info: ValidationInfo) -> Any:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if is_number and value > (most := _most(info.field_name or "")):
            raise ValueError(f"this is to be at most {most}")
        return value

    @model_validator(mode="after")
    def _keeps_public_secrets_at_home(self) -> Self:
        where = "host" if self.published_host is None else "published_host"
        public = sorted(
            _variable(name)
            for name in type(self).model_fields
            if isinstance(secret := getattr(self, name), SecretStr)
            and not _secrets_in(secret).isdisjoint(PUBLIC_SECRETS)
        )
        if public and not _is_loopback(getattr(self, where)):
            raise ValueError(
                f"{', '.join(public)}: a public default, and {_variable(where)}="
                f"{getattr(self, where)} can be reached from other machines; set your own secrets"
            )
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Use only the values that `read` passes."""
        return (init_settings,)

    @property
    def tls(self) -> Tls:
        """How connections to Postgres are encrypted."""
        return Tls.of(self.catalog_dsn.get_secret_value())

    @property
    def clock(self) -> Clock:
        """This service's clock, with the limit on how far others may differ."""
        return Clock(self.clock_difference_max_s)

    @classmethod
    def variables(cls) -> frozenset[str]:
        """Name the environment variables that these settings are read from."""
        return frozenset(map(_variable, cls.model_fields))

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Self:
        """Read the settings out of environment variables.

        Raises:
            SettingsError: A variable is unknown or missing, or its value is not allowed.
        """
        given = {name.upper(): value for name, value in environment.items()}
        faults = [
            f"{name} is not a setting of this service"
            for name in sorted(given)
            if name.startswith(PREFIX) and name not in cls.variables()
        ]
        fields: dict[str, Any] = {
            name: given[v] for name in cls.model_fields if (v := _variable(name)) in given
        }
        try:
            settings = cls(**fields)
        except ValidationError as error:
            faults += [cls._fault(dict(fault)) for fault in error.errors()]
        if faults:
            raise SettingsError(faults)
        return settings

    @classmethod
    def from_environment(cls) -> Self:
        """Read the process's own environment; end the process with a line for each fault."""
        try:
            return cls.read(os.environ)
        except SettingsError as error:
            for fault in error.faults:
                print(f"settings refused: {fault}", file=sys.stderr)  # noqa: T201
            sys.exit(EXIT_REFUSED)

    @classmethod
    def _fault(cls, fault: dict[str, Any]) -> str:
        message = fault["msg"].removeprefix("Value error, ")
        if not fault["loc"]:
            return str(message)
        name = str(fault["loc"][0])
        is_shown = fault["type"] != "missing" and "SecretStr" not in repr(
            cls.model_fields[name].annotation
        )
        shown = f", not {str(fault['input'])[:_SHOWN_CHARACTERS]!r}" if is_shown else ""
        return f"{_variable(name)}: {message}{shown}"


def _variable(field: str) -> str:
    return f"{PREFIX}{field}".upper()


def _most(field: str) -> int:
    if field.endswith("_days"):
        return _DAYS_MAX
    if field.endswith("timeout_s"):
        return _TIMEOUT_MAX_S
    if "bytes" in field:
        return _BYTES_MAX
    return _DURATION_MAX_S if field.endswith("_s") else _COUNT_MAX


def _secrets_in(secret: SecretStr) -> set[str]:
    """The secrets that a setting holds: itself, a list of keys, or a URL with a password."""
    text = secret.get_secret_value()
    password = urlsplit(text).password if "://" in text else None
    return {unquote(password)} if password else {part.strip() for part in text.split(",")}


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class TenantSettings(ServiceSettings):
    """Settings of a service that works in tenants' databases."""

    connections_max: int = Field(
        default=40, ge=1, description="Open connections to all tenants' databases together."
    )
    connections_per_tenant_max: int = Field(default=4, ge=1)
    connection_idle_s: float = Field(
        default=60.0, gt=0, description="A tenant's connection unused for this long is closed."
    )
    transactions_in_flight_max: int = Field(
        default=4,
        ge=1,
        description="Tenant transactions at once: beyond the cores they only wait for each other.",
    )
