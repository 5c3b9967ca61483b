"""Projector's settings."""

from typing import Self

from pydantic import Field, model_validator

from freehold.settings import AmqpUrl, TenantSettings


class Settings(TenantSettings):
    """The settings of a projector process, from its environment."""

    port: int = Field(default=8083, ge=1, le=65535, description="Health and metrics only.")
    amqp_url: AmqpUrl = Field(description="The broker that doorbells come from.")
    prefetch: int = Field(
        default=500, ge=1, le=65535, description="Doorbells taken and not acknowledged yet."
    )
    project_events_max: int = Field(
        default=50_000, ge=1, description="Events that one call of project applies at most."
    )
    work_timeout_s: float = Field(
        default=300.0, gt=0, description="Bounds one call in a tenant's database."
    )
    retry_first_s: float = Field(default=0.2, gt=0)
    retry_most_s: float = Field(default=30.0, gt=0)
    fault_attempts_max: int = Field(
        default=6, ge=1, description="Tries before a doorbell that fails is parked."
    )
    outage_attempts_max: int = Field(
        # With the longest pause between them: below the broker's own limit of 30 minutes for an
        # acknowledgement.
        default=40,
        ge=1,
        description="The same while a database does not answer.",
    )
    hold_expiry_poll_s: float = Field(
        default=1.0, gt=0, description="How often the catalog is asked whose holds expire."
    )
    reconcile_every_s: float = Field(
        default=3600.0, gt=0, description="How often each tenant is reconciled."
    )
    reconcile_poll_s: float = Field(
        default=5.0, gt=0, description="How often the catalog is asked who is due."
    )

    @model_validator(mode="after")
    def _waits_longer_and_longer(self) -> Self:
        if self.retry_first_s > self.retry_most_s:
            raise ValueError("FREEHOLD_RETRY_FIRST_S must not be above FREEHOLD_RETRY_MOST_S")
        return self
