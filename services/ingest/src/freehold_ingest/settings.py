"""Ingest's settings."""

from pydantic import Field, SecretStr

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
    waiting_events_max: int = Field(
        default=50_000, ge=1, description="Events waiting for one tenant; more are answered 503."
    )
    all_waiting_events_max: int = Field(
        default=200_000, ge=1, description="The same for all tenants together."
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
