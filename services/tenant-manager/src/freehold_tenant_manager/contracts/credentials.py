"""Passwords of a tenant's own database roles: the customer's connection string, and rotation.

Only tenant-manager answers with these, and only to the operator. The customer's password is the
only one that is ever shown.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypeAliasType

from freehold.contracts.events import Request
from freehold.contracts.times import UtcTime
from freehold_tenant_manager.contracts.names import Identifier

Service = TypeAliasType(
    "Service", Literal["ingest", "projector", "query", "manager", "backup", "auditor"]
)

_CREDENTIALS_EXAMPLE: dict[str, Any] = {
    "dsn": "postgresql://fh_0a1b2c3d4e5f6071_auditor:Yk3…@db.example.com:5432/fh_0a1b2c3d4e5f6071",
    "host": "db.example.com",
    "port": 5432,
    "database": "fh_0a1b2c3d4e5f6071",
    "schema": "ledger",
    "user": "fh_0a1b2c3d4e5f6071_auditor",
    "password": "Yk3…",
}


class CustomerCredentials(BaseModel):
    """How a customer reaches their own database: read-only, with `ledger.verify()` and the rest."""

    model_config = ConfigDict(
        frozen=True, serialize_by_alias=True, json_schema_extra={"examples": [_CREDENTIALS_EXAMPLE]}
    )

    dsn: str = Field(repr=False, description="All of it as one connection string (libpq).")
    host: str
    port: Annotated[int, Field(ge=1, le=65_535)]
    database: Identifier
    schema_name: Identifier = Field(
        alias="schema", description="The ledger's tables and functions."
    )
    user: Identifier
    password: str = Field(repr=False)


class NewPasswords(Request):
    """Which of a tenant's roles are to get a new password."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"service": "auditor"}, {"service": None}, {}]}
    )

    service: Service | None = Field(
        default=None, description="`auditor` is the customer's own; left out or null, all of them."
    )


class RotatedCredentials(BaseModel):
    """Whose passwords were replaced. The old ones open nothing any more."""

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={
            "examples": [{"services": ["auditor"], "rotated_at": "2026-03-01T12:00:00.000000Z"}]
        },
    )

    services: list[Service]
    rotated_at: UtcTime
