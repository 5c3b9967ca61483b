"""Ingest's settings."""

from typing import Self

from pydantic import Field, SecretStr, model_validator

from freehold.service.settings import TenantSettings


class Settings(TenantSettings):
    """What an ingest process is told by its environment."""

    port: int = Field(default=8081, ge=1, le=65535)
    amqp_url: SecretStr = Field(description="The broker that doorbells go to.")
    body_bytes_max: int = Field(
        default=16 * 2**20, ge=1024, description="Larger request bodies are answered 413."
    )
    append_events_max: int = Field(
        default=1024, ge=1, description="Events of several requests that go into one append."
    )
    tenant_events_per_s: int = Field(
        default=50_000,
        ge=1,
        description="Events accepted of one tenant in a second, unless the catalog says otherwise;"
        " more are answered 429.",
    )
    tenant_requests_max: int = Field(
        default=512,
        ge=1,
        description="Requests of one tenant worked on at once, unless the catalog says otherwise;"
        " more are answered 429.",
    )
    waiting_events_max: int = Field(
        default=50_000, ge=1, description="Events waiting for one tenant; more are answered 503."
    )
    all_waiting_events_max: int = Field(
        default=200_000, ge=1, description="The same for all tenants together."
    )
    import_patience_s: float = Field(
        default=30.0,
        gt=0,
        description="How long an import waits for more bytes, or for a ledger that is lost.",
    )
    heartbeat_s: float = Field(
        default=1.0, gt=0, description="How often the relay says that this process lives."
    )
    dead_after_s: float = Field(
        default=5.0, gt=0, description="Without a heartbeat for so long, others take over."
    )
    idle_mark_s: float = Field(
        default=30.0, gt=0, description="A tenant's mark is removed when idle for so long."
    )
    inbound_prefetch: int = Field(
        default=200,
        ge=1,
        le=65535,
        description="Messages of freehold.inbound taken and not acknowledged yet.",
    )

    @model_validator(mode="after")
    def _holds_a_body(self) -> Self:
        if self.body_bytes_max > self.all_bodies_bytes_max:
            raise ValueError("body_bytes_max must not be above all_bodies_bytes_max")
        return self
