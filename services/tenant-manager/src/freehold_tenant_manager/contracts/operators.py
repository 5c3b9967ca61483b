"""Operators: who they are, what they may do, and the requests that make and end them."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from typing_extensions import TypeAliasType

from freehold.contracts.events import Request
from freehold.contracts.fields import Instant
from freehold.contracts.times import UtcTime
from freehold.contracts.values import Cursor
from freehold_tenant_manager.contracts.names import (
    OperatorName,
    OperatorTokenText,
    ShownOperatorName,
)
from freehold_tenant_manager.contracts.tenants import to_come

_EXPIRY = "The token stops working then, before the year 9999; left out, it works until revoked."
_LAST_USED = "When the token was used last, to within an hour; null where it was not used yet."

_CREATED_EXAMPLE: dict[str, Any] = {
    "name": "jane.doe",
    "role": "operator",
    "token": "fo_0123456789abcdef_" + "0123456789abcdef" * 4,
    "created_at": "2026-03-01T12:00:00.000000Z",
    "expires_at": "2126-03-01T12:00:00.000000Z",
}
_OPERATOR_EXAMPLE: dict[str, Any] = {
    "name": "jane.doe",
    "role": "operator",
    "created_at": "2026-03-01T12:00:00.000000Z",
    "expires_at": "2126-03-01T12:00:00.000000Z",
    "revoked_at": None,
    "last_used_at": "2026-03-02T08:30:00.000000Z",
}
_CALLER_EXAMPLE: dict[str, Any] = {"name": "jane.doe", "role": "operator", "credential": "token"}


class Role(StrEnum):
    """What an operator may do. Each role may do what those before it may."""

    VIEWER = "viewer"
    """Read what is no secret."""
    OPERATOR = "operator"
    """Change, and read secrets."""
    OWNER = "owner"
    """Destroy, and manage operators."""

    def covers(self, needed: "Role") -> bool:
        """Say whether this role may do what another may."""
        roles = list(Role)
        return roles.index(self) >= roles.index(needed)


Credential = TypeAliasType("Credential", Literal["token", "session", "oidc", "link"])
"""By what an operator is known: a token, or a session of the console. A session began with a
token, with a sign-in at the identity provider (OpenID Connect), or with a one-time link."""


class NewOperator(Request):
    """An operator to make."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"name": "jane.doe", "role": "operator", "expires_at": "2126-03-01T12:00:00Z"},
                {"name": "deploy-pipeline", "role": "viewer"},
            ]
        }
    )

    name: OperatorName
    role: Role
    expires_at: Annotated[Instant, AfterValidator(to_come)] | None = Field(
        default=None, description=_EXPIRY
    )


class NewOperatorToken(Request):
    """A token to make in place of an operator's, which ends at once."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"expires_at": "2126-03-01T12:00:00Z"}, {}]}
    )

    expires_at: Annotated[Instant, AfterValidator(to_come)] | None = Field(
        default=None, description=_EXPIRY
    )


class CreatedOperator(BaseModel):
    """An operator with a new token; `token` is shown this once."""

    model_config = ConfigDict(frozen=True, json_schema_extra={"examples": [_CREATED_EXAMPLE]})

    name: OperatorName
    role: Role
    token: OperatorTokenText = Field(repr=False)
    created_at: UtcTime
    expires_at: UtcTime | None


class OperatorEntry(BaseModel):
    """An operator without the token."""

    model_config = ConfigDict(frozen=True, json_schema_extra={"examples": [_OPERATOR_EXAMPLE]})

    name: OperatorName
    role: Role
    created_at: UtcTime
    expires_at: UtcTime | None
    revoked_at: UtcTime | None
    last_used_at: UtcTime | None = Field(description=_LAST_USED)

    @property
    def status(self) -> Literal["valid", "expired", "revoked"]:
        """Whether the token works."""
        if self.revoked_at is not None:
            return "revoked"
        if self.expires_at is not None and self.expires_at <= datetime.now(UTC):
            return "expired"
        return "valid"


class OperatorPage(BaseModel):
    """A page of operators in order of their names, revoked ones included."""

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={"examples": [{"data": [_OPERATOR_EXAMPLE], "next_cursor": None}]},
    )

    data: list[OperatorEntry]
    next_cursor: Cursor | None


class CallingOperator(BaseModel):
    """Who a request's token stands for."""

    model_config = ConfigDict(frozen=True, json_schema_extra={"examples": [_CALLER_EXAMPLE]})

    name: ShownOperatorName = Field(description="`root` with the token of the settings.")
    role: Role
    credential: Credential
