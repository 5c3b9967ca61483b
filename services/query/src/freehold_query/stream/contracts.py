"""What a stream sends beside balances."""

from pydantic import BaseModel, ConfigDict, Field

from freehold.contracts.values import Epoch


class Restart(BaseModel):
    """The data of `event: restart`: the ledger was restored, and all balances known so far end."""

    model_config = ConfigDict(frozen=True, json_schema_extra={"examples": [{"epoch": 2}]})

    epoch: Epoch = Field(description="Counts the tenant's restores, from 1.")
