"""Links that sign a person in to a tenant's console, once."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from freehold.contracts.events import Request
from freehold.contracts.times import UtcTime
from freehold_tenant_manager.contracts.names import KeyId

_EXPIRES_IN_S = 900
_EXPIRES_IN_MAX_S = 86_400

_LINK_EXAMPLE: dict[str, Any] = {
    "path": "/console/sign-in?link=mZ0nqW5RrTt0c1T9m4h2uC3xk8yGQ1v7bJ6dLZ5sXoE",
    "key_id": "0123456789abcdef",
    "expires_at": "2026-03-01T12:15:00.000000Z",
}


class NewSignInLink(Request):
    """How long a link can be used."""

    model_config = ConfigDict(json_schema_extra={"examples": [{}, {"expires_in_s": 3600}]})

    expires_in_s: Annotated[int, Field(ge=1, le=_EXPIRES_IN_MAX_S)] = _EXPIRES_IN_S


class SignInLink(BaseModel):
    """A link. Whoever has it is signed in as its API key, once."""

    model_config = ConfigDict(frozen=True, json_schema_extra={"examples": [_LINK_EXAMPLE]})

    path: Annotated[str, Field(pattern=r"^/console/sign-in\?link=[A-Za-z0-9_-]{43}$")] = Field(
        description="Below the address of query."
    )
    key_id: KeyId
    expires_at: UtcTime
