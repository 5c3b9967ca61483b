"""Settings of query, read once from the environment."""

import re
from typing import Self

from pydantic import Field, field_validator, model_validator

from freehold.settings import AmqpUrl, TenantSettings

# Scheme, host and port, in lower case and without a slash at the end (RFC 6454, section 6.2).
_ORIGIN = re.compile(r"https?://(?:[a-z0-9.-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")


class Settings(TenantSettings):
    """What an operator may choose. A field `port` is the variable FREEHOLD_PORT."""

    port: int = Field(default=8082, ge=1, le=65535, description="The port to listen on.")
    database_timeout_s: float = Field(
        default=4.0,
        gt=0,
        description="Bounds one call of a database, with the waits for a connection and a permit."
        " A request for balances may wait for the call before its own.",
    )

    amqp_url: AmqpUrl | None = Field(
        default=None,
        description="The broker that tells live streams of changes. Without it they look each"
        " second.",
    )
    streams_max: int = Field(
        default=2_000, ge=1, description="Live streams at once; more are answered 503."
    )
    streams_per_tenant_max: int = Field(
        default=1_000, ge=1, description="Those of one tenant; more are answered 429."
    )
    stream_heartbeat_s: float = Field(
        default=15.0, gt=0, description="A stream is silent for no longer than this."
    )
    cors_origins: str = Field(
        default="",
        description="Origins whose pages may read, with commas: https://app.example.com; * is any.",
    )

    tenant_manager_url: str | None = Field(
        default=None,
        description="Tenant-manager as browsers reach it: https://manage.example.com. The console"
        " then lets a tenant download the whole ledger.",
    )

    @field_validator("tenant_manager_url")
    @classmethod
    def _is_an_origin(cls, text: str | None) -> str | None:
        text = (text or "").rstrip("/") or None
        if text is not None and not _ORIGIN.fullmatch(text):
            raise ValueError("the address is an origin: https://manage.example.com")
        return text

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, text: str) -> str:
        if text not in ("", "*") and not all(map(_ORIGIN.fullmatch, text.split(","))):
            raise ValueError("origins are written as browsers do: https://app.example.com, or *")
        return text

    @property
    def origins(self) -> list[str]:
        """The origins in `cors_origins`."""
        return self.cors_origins.split(",") if self.cors_origins else []

    @model_validator(mode="after")
    def _answers_in_time(self) -> Self:
        if self.database_timeout_s >= self.request_timeout_s:
            raise ValueError("FREEHOLD_DATABASE_TIMEOUT_S must be below FREEHOLD_REQUEST_TIMEOUT_S")
        return self
