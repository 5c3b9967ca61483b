"""Settings of query, read once from the environment."""

from typing import Self

from pydantic import Field, model_validator

from freehold.service.settings import TenantSettings


class Settings(TenantSettings):
    """What an operator may choose. A field `port` is the variable FREEHOLD_PORT."""

    port: int = Field(default=8082, ge=1, le=65535, description="The port to listen on.")
    database_timeout_s: float = Field(
        default=4.0,
        gt=0,
        description="Bounds one call of a database, with connecting and waiting for its place; "
        "balances may have waited for the call before theirs.",
    )

    @model_validator(mode="after")
    def _answers_in_time(self) -> Self:
        if self.database_timeout_s >= self.request_timeout_s:
            raise ValueError("database_timeout_s must be shorter than request_timeout_s")
        return self
