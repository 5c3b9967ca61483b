"""Settings: read once from the environment, every variable prefixed FREEHOLD_.

A misspelt variable would silently leave a default in force, so unknown ones are refused.
"""

import os
import sys
from typing import Literal, Self

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "FREEHOLD_"


class ServiceSettings(BaseSettings):
    """Settings that every service has. A field `port` is the variable FREEHOLD_PORT."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    host: str = Field(default="127.0.0.1", description="The address to listen on.")
    port: int = Field(ge=1, le=65535, description="The port to listen on.")
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "json", "console"] = Field(
        default="auto", description="`auto` is console at a terminal and JSON elsewhere."
    )
    catalog_dsn: SecretStr = Field(description="The catalog, as this service's own role.")
    credential_keys: SecretStr = Field(
        description="Keys that seal tenants' credentials: id:base64 of 32 bytes, comma-separated."
    )
    request_timeout_s: float = Field(
        default=10.0, gt=0, description="A request is answered within this time, if only with 503."
    )
    requests_in_flight_max: int = Field(
        default=2_000, ge=1, description="More requests at once are answered 503."
    )
    all_bodies_bytes_max: int = Field(
        default=128 * 2**20,
        ge=2**20,
        description="Request bodies held at once, all told; more are answered 503.",
    )
    shutdown_timeout_s: float = Field(
        default=15.0, gt=0, description="How long accepted work may take after SIGTERM."
    )

    @classmethod
    def variables(cls) -> frozenset[str]:
        """Name the environment variables that these settings are read from."""
        return frozenset(f"{PREFIX}{name}".upper() for name in cls.model_fields)

    @classmethod
    def from_environment(cls) -> Self:
        """Read the settings, or end the process with a message that names each fault."""
        faults = [
            f"{name} is not a setting of this service"
            for name in sorted(os.environ)
            if name.upper().startswith(PREFIX) and name.upper() not in cls.variables()
        ]
        try:
            settings = cls()
        except ValidationError as error:
            faults += [
                f"{PREFIX}{'_'.join(map(str, fault['loc'])).upper()}: {fault['msg']}"
                for fault in error.errors(include_input=False)
            ]
        if faults:
            sys.exit("settings refused:\n  " + "\n  ".join(faults))
        return settings


class TenantSettings(ServiceSettings):
    """Settings of a service that works in tenants' databases."""

    connections_max: int = Field(
        default=40, ge=1, description="Open connections to tenants' databases, all told."
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
