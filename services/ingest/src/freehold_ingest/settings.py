"""Ingest's settings."""

from typing import Self

from pydantic import Field, model_validator

from freehold.settings import AmqpUrl, TenantSettings


class Settings(TenantSettings):
    """The environment of an ingest process."""

    port: int = Field(default=8081, ge=1, le=65535)
    amqp_url: AmqpUrl = Field(description="The broker that doorbells go to.")
    body_bytes_max: int = Field(
        default=16 * 2**20, ge=1024, description="Larger request bodies are answered 413."
    )
    append_events_max: int = Field(
        default=1024, ge=1, description="Events of several requests that go into one append."
    )
    tenant_events_per_s: int = Field(
        default=50_000,
        ge=1,
        description="Events accepted of one tenant in a second; more are answered 429. The catalog"
        " may set another limit.",
    )
    tenant_requests_max: int = Field(
        default=512,
        ge=1,
        description="Requests of one tenant worked on at once; more are answered 429. The catalog"
        " may set another limit.",
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
        default=30.0, gt=0, description="A tenant's lease is released after this idle time."
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
            raise ValueError(
                "FREEHOLD_BODY_BYTES_MAX must not be above FREEHOLD_ALL_BODIES_BYTES_MAX"
            )
        return self

    @model_validator(mode="after")
    def _outlives_heartbeats(self) -> Self:
        if self.dead_after_s <= self.heartbeat_s:
            raise ValueError("FREEHOLD_DEAD_AFTER_S must be above FREEHOLD_HEARTBEAT_S")
        return self
